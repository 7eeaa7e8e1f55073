"""Coming back: with a good cursor to any node nothing is missing, with a bad one that is told."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from tests.harness import NotifyServer, RedisServer, SSEClient, eventually
from tests.integration.api import SETTINGS, Api
from tests.integration.conftest import BOTH_WAYS, Serve

SAFE = re.compile(r"[A-Za-z0-9._-]{1,128}")  # sent by a browser without a preflight


def stream(server: NotifyServer, user: str = "42", cursor: str = "", query: str = "") -> SSEClient:
    """A stream of `user` that begins after `cursor`."""
    client = SSEClient(f"{server.url}/notify{query}", token=f"token-{user}")
    client.last_event_id = cursor
    return client


def seen(client: SSEClient) -> list[Any]:
    """The data of each event, and ``gap: <reason>`` for each gap."""
    found = []
    for event in client.events:
        content = json.loads(event.data)
        if event.event == "aionotify.gap":
            found.append(f"gap: {content['reason']}")
        elif event.event == "message":
            found.append(content["data"])
    return found


async def expect(client: SSEClient, *events: Any) -> None:
    """The client has seen exactly this."""
    await client.wait_for(lambda _: len(seen(client)) >= len(events))
    assert seen(client) == list(events)


def own(*data: Any, user: str = "42") -> list[dict[str, Any]]:
    return [{"recipient_id": user, "data": each} for each in data]


@BOTH_WAYS
async def test_a_client_goes_on_at_another_node(serve: Serve) -> None:
    """It gets what it missed, once and in order, broadcasts in their place, and then what comes."""
    one, other = await serve(SETTINGS), await serve(SETTINGS)
    api = Api(one)
    async with stream(one) as client:
        await api.publish(*own("a"))
        await expect(client, "a")
        cursor = client.last_event_id
    await api.publish(*own("b"), *own("all c", user="*"), *own("not mine", user="7"), *own("d"))
    async with stream(other, cursor=cursor) as client:
        await expect(client, "b", "all c", "d")
        await api.publish(*own("all e", user="*"), *own("f"))
        await expect(client, "b", "all c", "d", "all e", "f")


@BOTH_WAYS
async def test_every_event_is_a_place_to_go_on_from(serve: Serve) -> None:
    """Whether it came live or from an inbox: after each of them comes exactly the rest."""
    server = await serve(SETTINGS)
    names = ["a", "all b", "c", "all d", "e"]
    async with stream(server) as live:
        for name in names:
            await Api(server).publish(*own(name, user="*" if " " in name else "42"))
        await expect(live, *names)
    async with stream(server, cursor=live.events[0].id) as resumed:
        await expect(resumed, *names)
    for client in (live, resumed):
        assert len({event.id for event in client.events}) == 1 + len(names)
        for index, event in enumerate(client.events[:-1]):
            async with stream(server, cursor=event.id) as again:
                await expect(again, *names[index:])


async def test_cursors_are_safe_for_a_header_of_another_origin(serve: Serve) -> None:
    """Of control events as well."""
    server = await serve(SETTINGS)
    async with stream(server, cursor="nonsense") as client:
        await Api(server).publish(*own("a"), *own("b", user="*"))
        await client.wait_for(lambda _: len(seen(client)) == 3)
        assert all(SAFE.fullmatch(event.id) for event in client.events)


async def test_the_header_counts_more_than_the_address(serve: Serve) -> None:
    """EventSource repeats the address it was given, whatever it has seen since."""
    server = await serve(SETTINGS)
    async with stream(server) as client:
        await Api(server).publish(*own("a", "b"))
        await expect(client, "a", "b")
    _, first, second = client.events
    query = f"?last_event_id={first.id}"
    async with (
        stream(server, query=query) as by_address,
        stream(server, query=query, cursor=second.id) as by_header,
    ):
        await Api(server).publish(*own("c"))
        await expect(by_address, "b", "c")
        await expect(by_header, "c")


BAD = (
    "x",
    "0",
    "-1",
    "1...",
    "1.0.0.aaaa",
    "1.00000000000000.00000000000000.aaaa",
    "2.0660f81aea472b.0660f81aea5626.iwoh",
    "ffffffffffffffff",
    "1.0660f81aea472b.0660f81aea5626.iwoh" * 3,
    "\u2028",
    "a b",
    "é",
    "9" * 5000,
)


NAMES = ("last_event_id", "lastEventId", "lastEventID")


@pytest.mark.parametrize(
    ("header", "query", "due"),
    [
        *(pytest.param("", f"{name}={{a}}", "bc", id=name) for name in NAMES),
        ("{b}", "last_event_id={a}&lastEventId={a}&lastEventID={a}", "c"),
        ("", "lastEventID={b}&lastEventId={a}&x=1", "bc"),
        ("", "lastEventId={b}&last_event_id={a}", "bc"),
        ("", "last_event_id=&lastEventId=&lastEventID={b}", "c"),
        ("", "last_event_id=nonsense&lastEventId=%00&lastEventID={b}", "c"),
        ("nonsense", "lastEventId={b}", "c"),
        ("", "lastEventId={a}&lastEventId={b}", "c"),
        ("", "lastEventId={b}&lastEventId=nonsense", "c"),
    ],
)
async def test_the_first_position_that_is_one_counts(
    serve: Serve, header: str, query: str, due: str
) -> None:
    """The header's, then the query's by the order of its names; of one name the last."""
    server = await serve(SETTINGS)
    async with stream(server) as client:
        await Api(server).publish(*own("a", "b", "c"))
        await expect(client, "a", "b", "c")
    _, *events = client.events
    ids = {name: event.id for name, event in zip("abc", events, strict=True)}
    async with stream(server, cursor=header.format(**ids), query=f"?{query.format(**ids)}") as back:
        await Api(server).publish(*own("d"))
        await expect(back, *due, "d")


@pytest.mark.parametrize("where", ["header", *NAMES])
async def test_a_cursor_that_is_none_is_a_gap(serve: Serve, where: str) -> None:
    """Then comes what there is; never an error page."""
    server = await serve(SETTINGS)
    await Api(server).publish(*own("a"))
    for bad in BAD:
        client = stream(server, cursor=bad)
        if where != "header":
            quoted = "".join(f"%{byte:02x}" for byte in bad.encode()[:2000])
            client = stream(server, query=f"?{where}={quoted}")
        async with client:
            assert client.status == 200, bad
            await expect(client, "gap: unknown", "a")


async def test_a_cursor_of_the_future_or_of_nowhere_is_a_gap(serve: Serve) -> None:
    """Well formed, with the user's own tag, but forged."""
    server = await serve(SETTINGS)
    await Api(server).publish(*own("a"))
    async with stream(server) as client:
        await client.wait_for(lambda events: events)
    version, epoch, _, _, tag = client.last_event_id.split(".")
    for position, told in (
        ("00000000000000", ["gap: unknown", "a"]),
        ("ffffffffffffff", ["gap: lost"]),
        ("20000000000000", ["gap: lost"]),
    ):
        forged = f"{version}.{epoch}.{position}.{position}.{tag}"
        async with stream(server, cursor=forged) as client:
            await expect(client, *told)


async def test_a_cursor_of_another_user_shows_none_of_their_events(serve: Serve) -> None:
    """The next user of the same browser gets a gap, and events of his own."""
    server = await serve(SETTINGS)
    api = Api(server)
    async with stream(server, "7") as client:
        await api.publish(*own("secret 1", user="7"))
        await expect(client, "secret 1")
    await api.publish(*own("secret 2", user="7"), *own("mine"))
    async with stream(server, "42", cursor=client.last_event_id) as other:
        await api.publish(*own("mine, too"))
        await expect(other, "gap: unknown", "mine", "mine, too")


async def test_an_event_that_is_no_longer_kept_is_a_gap(serve: Serve) -> None:
    """After it the client is where its inbox begins, and goes on from there without another."""
    server = await serve({**SETTINGS, "inbox.max_events": 2})
    api = Api(server)
    async with stream(server) as client:
        await client.wait_for(lambda events: events)
    await api.publish(*own(1, 2, 3))
    async with stream(server, cursor=client.last_event_id) as client:
        await expect(client, "gap: trimmed", 2, 3)
    [gap] = [event for event in client.events if event.event == "aionotify.gap"]
    async with stream(server, cursor=gap.id) as client:
        await expect(client, 2, 3)


async def test_a_gap_in_both_inboxes_is_told_once(serve: Serve) -> None:
    """There is one thing to do about it: to ask the application anew."""
    server = await serve(SETTINGS)
    await Api(server).publish(*own("a"), *own("all b", user="*"))
    async with stream(server, cursor="nonsense") as client:
        await expect(client, "gap: unknown", "a", "all b")


async def test_ephemeral_events_are_for_those_who_are_there(
    serve: Serve, redis_server: RedisServer
) -> None:
    """They have no id, so a client that comes back after one goes on where it was before."""
    server = await serve(SETTINGS)
    async with stream(server) as client:
        await Api(server).publish(*own("durable"))
        await expect(client, "durable")
        cursor = client.last_event_id
        redis_server.cli("PUBLISH", "push_notifications", json.dumps(own("ephemeral")[0]))
        await expect(client, "durable", "ephemeral")
        assert client.last_event_id == cursor
        [frame] = [each for each in bytes(client.raw).split(b"\n\n") if b'"ephemeral"' in each]
        assert b"id:" not in frame
    await Api(server).publish(*own("next"))
    async with stream(server, cursor=client.last_event_id) as client:
        await expect(client, "next")


async def test_a_new_client_gets_what_comes_and_nothing_older(serve: Serve) -> None:
    """And as soon as it has an answer, it misses nothing."""
    server = await serve(SETTINGS)
    api = Api(server)
    await api.publish(*own("old"), *own("old, for all", user="*"))
    async with stream(server) as client:
        await api.publish(*own("new"))
        await expect(client, "new")


async def test_a_private_server_keeps_its_events_over_a_restart(
    serve: Serve, tmp_path: Path
) -> None:
    """An orderly end or SIGKILL: with a directory for its data, embedded:// is durable."""
    settings = {
        **SETTINGS,
        "redis.url": "embedded://",
        "redis.data_dir": str(tmp_path / "data"),
        "server.drain": 0.1,
    }
    server = await serve(settings)
    async with stream(server) as client:
        await Api(server).publish(*own(1))
        await expect(client, 1)
    cursor = client.last_event_id
    await Api(server).publish(*own(2))
    assert await server.terminate() == 0
    server = await serve(settings)
    await Api(server).publish(*own(3))
    await server.kill()
    server = await serve(settings)
    async with stream(server, cursor=cursor) as client:
        await Api(server).publish(*own(4))
        await expect(client, 2, 3, 4)


async def test_no_key_is_left_without_an_end(serve: Serve, redis_server: RedisServer) -> None:
    """Whatever a node does: streams, tickets, presence, publishing with and without a key."""
    server = await serve(SETTINGS)
    api = Api(server)
    async with stream(server), stream(server, cursor="nonsense") as client:
        await api.publish(*own("a"), {"recipient_id": ["1", "2"], "id": "k"}, *own("b", user="*"))
        await api.publish({"recipient_id": ["1", "2"], "id": "k"})
        await api.presence("42")
        await api.close_streams("42")
        await client.wait_end()
    keys = {*redis_server.cli("KEYS", "*")} - {"aionotify:epoch"}
    assert len([key for key in keys if key.startswith("aionotify:{")]) == 6
    await eventually(lambda: all(redis_server.cli("TTL", key) > 0 for key in keys))
