"""GET /inbox and PUT /inbox/read: the list of what a user was told, and what of it is read."""

import asyncio
import json
import shlex
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import pytest

from aionotify.events import cursor
from aionotify.web.services import Services
from tests.deploy.proxies import service
from tests.docs.snippets import snippet
from tests.embedded import embedded
from tests.harness import RedisServer, SSEClient, eventually
from tests.integration.talk import Answer, ask, messages

READER, PUBLISHER = "reader-key-0123456789", "publisher-key-0123456789"
SCOPED = "scoped-key-0123456789"
ADMIN = {
    "publish_keys": [
        PUBLISHER,
        {"key": READER, "rights": ["read"]},
        {"key": SCOPED, "rights": ["read"], "recipients": "shop:"},
    ]
}

pytestmark = pytest.mark.asyncio(loop_factories=["asyncio"])


class Node:
    """A node, and what a user asks it."""

    def __init__(self, url: str, services: Services) -> None:
        self.url, self.services = url, services

    async def publish(self, recipient: str, **members: Any) -> str:
        """Publish an event; return its id."""
        found = await self.services.publisher.publish({"recipient_id": recipient, **members})
        return found.event_id

    async def ask(self, query: str = "", user: str = "42", **more: Any) -> Answer:
        return await ask(self.url, f"/inbox{query}", token=f"token-{user}", **more)

    async def page(self, query: str = "", user: str = "42") -> Any:
        answer = await self.ask(query, user)
        assert answer.status == 200, answer
        return answer.json

    async def ids(self, query: str = "", user: str = "42") -> list[str]:
        return [event["event_id"] for event in (await self.page(query, user))["events"]]

    async def read(self, body: object, user: str = "42") -> Answer:
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        return await ask(self.url, "/inbox/read", "PUT", token=f"token-{user}", data=data)

    async def unread(self, body: object, user: str = "42") -> int:
        answer = await self.read(body, user)
        assert answer.status == 200, answer
        return int(answer.json["unread"])

    def stream(self, query: str = "", user: str = "42", *, after: str = "") -> SSEClient:
        client = SSEClient(f"{self.url}/notify{query}", token=f"token-{user}")
        client.last_event_id = after
        return client


async def opening(client: SSEClient) -> Any:
    """What a stream tells as it begins."""
    await client.wait_events(1)
    assert client.events[0].event == "aionotify.open"
    return json.loads(client.events[0].data)


@pytest.fixture
async def node(redis_server: RedisServer) -> AsyncIterator[Node]:
    async with running(redis_server) as made:
        yield made


@asynccontextmanager
async def running(redis: RedisServer, **sections: Any) -> AsyncIterator[Node]:
    async with embedded(redis.url, admin=ADMIN, **sections) as (url, services):
        yield Node(url, services)


# --- the list ------------------------------------------------------------------------------------


async def test_a_list_has_the_events_of_the_user_and_of_everyone_in_one_order(node: Node) -> None:
    published = [
        await node.publish(each, event=f"kind.{n}", n=n)
        for n, each in enumerate(["42", "*", "43", "42", "*"])
    ]
    found = await node.page()
    mine = [published[n] for n in (4, 3, 1, 0)]
    assert [event["event_id"] for event in found["events"]] == mine
    assert (found["unread"], found["next"]) == (4, None)
    first = found["events"][-1]
    assert first["data"] == {"recipient_id": "42", "event": "kind.0", "n": 0}
    assert (first["event"], first["read"]) == ("kind.0", False)
    position = int(published[0].partition(".")[2], 16)
    assert first["time"] == position / 1_000_000
    assert await node.ids("?order=oldest") == mine[::-1]


async def test_an_event_without_a_type_is_listed_under_the_one_that_clients_give_it(
    node: Node,
) -> None:
    await node.publish("42", n=1)
    await node.publish("42", n=2, event="other")
    assert [each["event"] for each in (await node.page())["events"]] == ["other", "message"]
    found = (await node.page("?event=message"))["events"]
    assert [each["data"]["n"] for each in found] == [1]
    assert len((await node.page("?event=message&event=other"))["events"]) == 2


@pytest.mark.parametrize("order", ["newest", "oldest"])
@pytest.mark.parametrize("limit", [1, 2, 3, 100])
async def test_pages_have_each_event_once(node: Node, order: str, limit: int) -> None:
    published = [await node.publish("42*"[n % 3 // 2 * 2 :][:2], n=n) for n in range(7)]
    name = "before" if order == "newest" else "after"
    found: list[str] = []
    query = f"?order={order}&limit={limit}"
    page = await node.page(query)
    while True:
        assert len(page["events"]) <= limit
        found += [event["event_id"] for event in page["events"]]
        if page["next"] is None:
            break
        page = await node.page(f"{query}&{name}={page['next']}")
    assert found == (published[::-1] if order == "newest" else published)


async def test_a_list_is_between_an_event_and_a_cursor(node: Node) -> None:
    """After a cursor is what a client did not have that was there; before it is what it had."""
    async with node.stream() as client:
        published = [await node.publish(each) for each in ("42", "*", "42", "42", "*")]
        await client.wait_for(lambda _: len(messages(client)) == 5)
        cursors = [each.id for each in messages(client)]
    assert await node.ids(f"?before={published[2]}") == published[1::-1]
    assert await node.ids(f"?after={published[2]}") == published[:2:-1]
    assert await node.ids(f"?after={published[0]}&before={published[3]}") == published[2:0:-1]
    for n, at in enumerate(cursors):
        assert await node.ids(f"?before={at}") == published[n::-1]
        assert await node.ids(f"?after={at}") == published[:n:-1]


async def test_the_cursor_of_a_stream_with_groups_is_a_place_too(node: Node) -> None:
    """Where it is in its groups is passed over: their events are not in the list."""
    published = [await node.publish(each) for each in ("42", "*", "42")]
    at = cursor.parse((await node.page("?order=oldest&limit=2"))["cursor"], "42")
    assert at is not None
    head = cursor.everyone_part("abcdef", at.everyone, (1, 2, 0, 4))
    place = (head + cursor.own_part(at.own, cursor.tag("42"))).decode()
    assert await node.ids(f"?before={place}") == published[1::-1]
    assert await node.ids(f"?after={place}.g2") == published[2:]
    assert await node.unread({"upto": place}) == 1
    group = {"ids": ["g2.00000000000002"]}
    assert (await node.read(group)).code == "invalid_event"


async def test_a_page_is_bounded_in_bytes(redis_server: RedisServer) -> None:
    async with running(redis_server) as node:
        text = "x" * 60_000
        for _ in range(30):
            await node.publish("42", text=text)
        found = await node.ask()
        assert 1_000_000 < len(found.body) < 1_200_000
        rest = await node.page(f"?before={found.json['next']}")
        assert len(found.json["events"]) + len(rest["events"]) == 30


async def test_the_types_that_are_asked_for_are_found_behind_many_others(
    redis_server: RedisServer,
) -> None:
    async with running(redis_server, inbox={"max_events": 1000}) as node:
        wanted = await node.publish("42", event="rare")
        events = [{"recipient_id": "42"}] * 600
        await node.services.publisher.publish_many(events)
        query = "?event=rare&limit=100"
        page = await node.page(query)
        while not page["events"]:
            page = await node.page(f"{query}&before={page['next']}")
        assert [each["event_id"] for each in page["events"]] == [wanted]


async def test_what_was_taken_out_of_an_inbox_or_is_no_event_is_passed_over(
    node: Node, redis_server: RedisServer
) -> None:
    published = [await node.publish("42", n=n) for n in range(4)]
    key = "aionotify:{42}:inbox"
    emptied = redis_server.cli("LINDEX", key, 1).rpartition(" {")[0].split(" ")
    redis_server.cli("LSET", key, 1, f"{emptied[0]} {emptied[1]} ")
    redis_server.cli("LSET", key, 2, redis_server.cli("LINDEX", key, 2).replace('"42"', '"43"'))
    redis_server.cli("RPUSH", key, "garbage")
    redis_server.cli("LPUSH", key, "garbage")
    for order in ("newest", "oldest"):
        found = await node.page(f"?order={order}")
        ids = [event["event_id"] for event in found["events"]]
        assert sorted(ids) == [published[0], published[3]]
    assert len(await node.ids("?limit=1")) == 1


async def test_what_was_recalled_replaced_or_is_too_old_is_neither_listed_nor_counted(
    node: Node,
) -> None:
    await node.publish("42", n=0, aionotify={"collapse": "likes"})
    newer = await node.publish("42", n=1, aionotify={"collapse": "likes", "expires_in": 3600})
    await node.publish("42", n=2, aionotify={"expires_in": 0.001})
    await node.publish("*", n=3, aionotify={"expires_in": 0.001})
    recalled = await node.publish("42", n=4)
    assert await node.services.publisher.recall(recalled, "42")

    async def is_gone() -> bool:
        found = await node.page()
        ids = [event["event_id"] for event in found["events"]]
        return ids == [newer] and found["unread"] == 1

    await eventually(is_gone)
    assert await node.unread({"upto": newer}) == 0


# --- who may ask, and for what -------------------------------------------------------------------


async def test_a_list_is_its_users_alone(node: Node) -> None:
    await node.publish("43")
    assert await node.ids() == []
    assert (await ask(node.url, "/inbox")).code == "credentials_missing"
    ticket = (await ask(node.url, "/notify/ticket", "POST", token="token-43")).json["ticket"]
    assert len((await ask(node.url, f"/inbox?ticket={ticket}")).json["events"]) == 1
    assert (await ask(node.url, f"/inbox?ticket={ticket}")).code == "invalid_token"


async def test_a_key_with_the_right_reads_the_list_of_any_user_that_it_is_for(node: Node) -> None:
    mine = await node.publish("43")
    path = "/inbox?recipient_id="
    found = await ask(node.url, f"{path}43", token=READER)
    assert [event["event_id"] for event in found.json["events"]] == [mine]
    answers = {
        "no right": await ask(node.url, f"{path}43", token=PUBLISHER),
        "beyond its prefix": await ask(node.url, f"{path}43", token=SCOPED),
        "no key": await ask(node.url, f"{path}43"),
        "a user's token": await ask(node.url, f"{path}43", token="token-43"),
        "everybody": await ask(node.url, f"{path}*", token=READER),
        "nobody": await ask(node.url, path, token=READER),
        "two": await ask(node.url, f"{path}42&recipient_id=43", token=READER),
    }
    assert {case: answer.code for case, answer in answers.items()} == {
        "no right": "forbidden",
        "beyond its prefix": "forbidden",
        "no key": "credentials_missing",
        "a user's token": "invalid_token",
        "everybody": "invalid_event",
        "nobody": "invalid_event",
        "two": "invalid_event",
    }
    assert (await ask(node.url, f"{path}shop:1", token=SCOPED)).status == 200


BAD_QUERIES = [
    *("limit=0", "limit=-1", "limit=101", "limit=99999999999", "limit=1.0", "limit=", "limit=ten"),
    *("order=best", "order=", "order=newest&order=newest"),
    *("before=", "before=x", "before=0", "after=2.abc", "before=all.00", "limit=1&limit=2"),
    *("before=all.ffffffffffffff", "after=zzzz.00000000000002"),
    *("event=", f"event={'x' * 129}", "&".join(["event=x"] * 21)),
    f"before={'9' * 8000}",
]


@pytest.mark.parametrize("query", BAD_QUERIES, ids=range(len(BAD_QUERIES)))
async def test_a_bad_question_is_refused_with_the_name_of_what_is_wrong(
    node: Node, query: str
) -> None:
    answer = await node.ask(f"?{query}")
    assert (answer.status, answer.code) == (400, "invalid_event")
    assert list(answer.json["error"]["fields"]) == [query.split("=")[0]]


async def test_the_place_of_somebody_else_is_refused(node: Node) -> None:
    theirs = await node.publish("43")
    found = await node.page(user="43")
    for place in (theirs, found["cursor"]):
        assert (await node.ask(f"?before={place}")).code == "invalid_event"
        assert (await node.ask(f"?after={place}")).code == "invalid_event"
        assert (await node.read({"upto": place})).code == "invalid_event"
    assert (await node.read({"ids": [theirs]})).code == "invalid_event"


async def test_a_list_that_has_not_changed_is_not_sent_again(node: Node) -> None:
    first = await node.ask()
    assert first.headers["Cache-Control"] == "private, no-cache"
    etag = first.headers["ETag"]

    async def again(query: str = "", user: str = "42") -> Answer:
        return await node.ask(query, user, headers={"If-None-Match": etag})

    answer = await again()
    assert (answer.status, answer.body, answer.headers["ETag"]) == (304, b"", etag)
    assert answer.headers["Cache-Control"] == "private, no-cache"
    assert (await again(user="43")).status == 200
    mine = await node.publish("42")
    changed = await again()
    assert changed.status == 200
    etag = changed.headers["ETag"]
    assert (await again()).status == 304
    assert (await node.read({"ids": [mine]})).status == 200
    assert (await again()).status == 200


# --- from where to stream ------------------------------------------------------------------------


@pytest.mark.parametrize("recipients", [[], ["42"], ["*"], ["42", "*", "42"]])
@pytest.mark.parametrize("order", ["newest", "oldest"])
async def test_a_stream_from_the_cursor_of_a_list_begins_with_what_is_not_in_it(
    node: Node, recipients: list[str], order: str
) -> None:
    for recipient in recipients:
        await node.publish(recipient)
    found = await node.page(f"?order={order}")
    later = [await node.publish(each) for each in ("*", "42")]
    async with node.stream(after=found["cursor"]) as client:
        await client.wait_for(lambda _: len(messages(client)) == 2)
        await node.publish("42", n="last")
        await client.wait_for(lambda _: "last" in client.events[-1].data)
        assert [event_id(each.id) for each in messages(client)][:2] == later
        assert [each.event for each in client.events][:2] == ["aionotify.open", "message"]


def event_id(at: str) -> str:
    """By the rule of docs/protocol.rst."""
    parts = at.split(".")
    return f"all.{parts[2]}" if parts[-1] == "all" else f"{parts[-1]}.{parts[3]}"


@pytest.mark.parametrize("limit", [1, 2, 3, 4])
async def test_a_stream_goes_on_where_a_page_with_the_oldest_first_ends(
    node: Node, limit: int
) -> None:
    published = [await node.publish(each) for each in ("42", "*", "*", "42", "42", "*")]
    found = await node.page(f"?order=oldest&limit={limit}")
    assert [event["event_id"] for event in found["events"]] == published[:limit]
    async with node.stream(after=found["cursor"]) as client:
        await client.wait_for(lambda _: len(messages(client)) == 6 - limit)
        assert [event_id(each.id) for each in messages(client)] == published[limit:]
        assert all(each.event != "aionotify.gap" for each in client.events)


async def test_a_page_before_a_place_has_no_cursor(node: Node) -> None:
    """What came after that place is in pages that the client has already."""
    mine = await node.publish("42")
    assert (await node.page(f"?before={mine}"))["cursor"] is None


async def test_a_cursor_of_an_old_list_is_as_young_as_what_is_settled(
    redis_server: RedisServer,
) -> None:
    """Or it would be too old by the time that the page has its stream."""
    async with running(redis_server, inbox={"retention": 4}) as node:
        await node.publish("42")
        first = await node.page()

        async def is_settled() -> bool:
            found = await node.page()
            at, before = (cursor.parse(each["cursor"], "42") for each in (found, first))
            assert at is not None
            assert before is not None
            return at.own > before.own

        await eventually(is_settled)


# --- what is read --------------------------------------------------------------------------------


async def test_events_are_marked_one_by_one_or_up_to_a_place(node: Node) -> None:
    published = [await node.publish(each) for each in ("42", "*", "42", "*", "42")]

    async def flags() -> list[bool]:
        found = await node.page("?order=oldest")
        assert found["unread"] == sum(not event["read"] for event in found["events"])
        return [event["read"] for event in found["events"]]

    assert await flags() == [False] * 5
    assert await node.unread({"ids": [published[1], published[4]]}) == 3
    assert await flags() == [False, True, False, False, True]
    assert await node.unread({"upto": published[2]}) == 1
    assert await flags() == [True, True, True, False, True]
    assert await node.unread({"upto": published[0]}) == 1
    assert await node.unread({"upto": (await node.page())["cursor"]}) == 0
    later = await node.publish("42")
    assert await flags() == [True] * 5 + [False]
    assert await node.unread({"upto": published[4], "ids": [later]}) == 0


async def test_what_one_user_has_read_of_everyones_events_another_has_not(node: Node) -> None:
    announced = await node.publish("*")
    assert await node.unread({"upto": announced}) == 0
    assert (await node.page(user="43"))["unread"] == 1


BAD_BODIES: list[object] = [
    *(b"", b"x", b"[]", b"null", b"{}", b'{"upto":', b"\xff", b'{"upto": "\xff"}', b"[" * 3000),
    *({"upto": 1}, {"upto": ""}, {"upto": "x"}, {"ids": "x"}, {"ids": [1]}, {"ids": [None]}),
    *({"ids": []}, {"upto": None}, {"ids": ["all.00000000000002"] * 101}, {"ids": ["x"]}),
    *({"ids": ["all.00000000000000"]}, {"ids": ["zzzz.00000000000002"]}, {"upto": [1]}),
    *({"ids": [f"all.{n:014x}" for n in range(2, 2500)]}, {"upto": "all.ffffffffffffff"}),
    *({"upto": "all.1fff0000000000"}, {"ids": ["all.1fff0000000000"]}, {"other": 1}),
    {"upto": "all.00000000000002", "more": 1},
]


@pytest.mark.parametrize("body", BAD_BODIES, ids=range(len(BAD_BODIES)))
async def test_what_cannot_be_marked_is_refused_and_nothing_is(node: Node, body: object) -> None:
    await node.publish("*")
    answer = await node.read(body)
    assert (answer.status, answer.code) == (400, "invalid_event"), body
    assert (await node.page())["unread"] == 1


async def test_a_body_that_is_too_long_or_packed_is_refused(node: Node) -> None:
    long = {"ids": [f"all.{n:014x}" for n in range(2, 20_000, 2)]}
    assert (await node.read(long)).code == "too_large"
    packed = await ask(
        node.url,
        "/inbox/read",
        "PUT",
        token="token-42",
        data=b"{}",
        headers={"Content-Encoding": "gzip"},
    )
    assert packed.code == "unsupported_media_type"


async def test_a_place_in_the_future_is_refused(node: Node) -> None:
    mine = await node.publish("42")
    mark, _, position = mine.partition(".")
    future = f"{mark}.{int(position, 16) + 3_600_000_000:014x}"
    at = cursor.everyone_part(None, int(position, 16) + 3_600_000_000)
    ahead = (at + cursor.own_part(0, cursor.tag("42"))).decode()
    for body in ({"upto": future}, {"ids": [mine, future]}, {"upto": ahead}):
        assert (await node.read(body)).code == "invalid_event"
    assert (await node.page())["unread"] == 1


async def test_marks_expire_with_the_inbox(redis_server: RedisServer) -> None:
    async with running(redis_server, inbox={"retention": 60}) as node:
        mine = await node.publish("42")
        await node.unread({"ids": [mine]})
        assert 0 < redis_server.cli("TTL", "aionotify:{42}:read") <= 60


async def test_what_is_marked_is_bounded_and_the_oldest_become_all_up_to_there(
    redis_server: RedisServer,
) -> None:
    async with running(redis_server, inbox={"max_events": 2000}) as node:
        first = await node.publish("42")
        results = await node.services.publisher.publish_many([{"recipient_id": "42"}] * 1100)
        ids = [each.event_id for each in results]  # type: ignore[union-attr]
        for start in range(0, 1100, 100):
            await node.read({"ids": ids[start : start + 100]})
        [kept] = redis_server.cli("HVALS", "aionotify:{42}:read")
        assert len(kept.split()) == 1001
        assert kept.split()[0] == ids[99].partition(".")[2]
        assert (await node.page())["unread"] == 0
        assert first < ids[99]


# --- what streams are told -----------------------------------------------------------------------


def told(client: SSEClient) -> list[Any]:
    return [json.loads(each.data) for each in client.events if each.event == "aionotify.read"]


async def test_all_streams_of_the_user_are_told_what_is_marked_on_all_nodes(
    redis_server: RedisServer,
) -> None:
    async with running(redis_server) as node, running(redis_server) as other:
        first, second = await node.publish("42"), await node.publish("*")
        async with node.stream() as one, other.stream() as two, node.stream(user="43") as third:
            await node.unread({"ids": [second]})
            await node.unread({"ids": [second]})  # nothing new
            await other.unread({"upto": first})
            await one.wait_for(lambda _: len(told(one)) == 2)
            await two.wait_for(lambda _: len(told(two)) == 2)
            for client in (one, two):
                assert told(client) == [
                    {"reason": "marked", "upto": [], "ids": [second]},
                    {"reason": "marked", "upto": [f"all.{before(first)}", first], "ids": []},
                ]
                assert client.events[-1].id == client.events[0].id
            assert told(third) == []


def before(event_id: str) -> str:
    """The position of everyone's events up to which they are read with this one of the user's."""
    mark, _, position = event_id.partition(".")
    return position if mark > "all" else f"{int(position, 16) - 1:014x}"


async def test_a_stream_that_asks_is_told_how_many_are_unread_and_which_are_read(
    node: Node,
) -> None:
    """As it begins, and comes back."""
    first, second = await node.publish("42"), await node.publish("*")
    async with node.stream("?unread") as client:
        assert (await opening(client))["unread"] == 2
        await node.publish("42", n="last")
        await client.wait_for(lambda _: "last" in client.events[-1].data)
        assert told(client) == []
        at = client.events[-1].id
    await node.unread({"ids": [second]})
    async with node.stream("?unread=true", after=at) as client:
        assert (await opening(client))["unread"] == 2
        await client.wait_for(lambda _: told(client))
        [found] = told(client)
        assert found == {"reason": "marked", "upto": ["all.00000000000000"], "ids": [second]}
    await node.unread({"upto": first})
    async with node.stream("?unread=false", after=at) as client:
        assert "unread" not in await opening(client)
        await node.publish("42", n="last")
        await client.wait_for(lambda _: "last" in client.events[-1].data)
        assert told(client) == []


async def test_a_stream_that_does_not_ask_costs_no_command_more(
    node: Node, redis_server: RedisServer
) -> None:
    def calls(name: str) -> int:
        found = redis_server.cli("INFO", "commandstats").get(f"cmdstat_{name}")
        return int(found["calls"]) if found else 0

    await node.publish("42")
    before = calls("hmget")
    async with node.stream():
        pass
    assert calls("hmget") == before
    async with node.stream("?unread"):
        pass
    assert calls("hmget") > before


async def test_a_stream_that_could_not_take_a_notice_is_told_later(
    node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    mine = await node.publish("42")
    async with node.stream("?unread") as client:
        [stream] = node.services.hub.streams()
        await eventually(lambda: stream.live)
        monkeypatch.setattr(type(stream), "push", lambda self, chunk: False)
        monkeypatch.setattr(type(stream), "tell_later", lambda self, chunk: False)
        await node.unread({"ids": [mine]})
        await client.wait_for(lambda _: told(client))
        assert told(client)[-1]["ids"] == [mine]
    assert node.services.stats.notices_dropped == 1


async def test_marks_made_while_redis_was_away_from_a_node_are_told_when_it_is_back(
    own_redis: RedisServer,
) -> None:
    """The stream stays open all the while."""
    async with running(own_redis) as node, running(own_redis) as other:
        mine = await node.publish("42")
        async with node.stream("?unread") as client:
            [stream] = node.services.hub.streams()
            await eventually(lambda: stream.live)
            channel = node.services.subscriber._keys.live("42")
            connection = node.services.subscriber._connection
            assert connection is not None
            await connection.disconnect(nowait=True)
            await eventually(lambda: own_redis.cli("PUBSUB", "NUMSUB", channel)[1] == 0)
            await other.unread({"ids": [mine]})
            await client.wait_for(lambda _: told(client))
            assert told(client)[-1]["ids"] == [mine]


async def test_without_redis_a_list_is_an_error_and_a_stream_begins_all_the_same(
    own_redis: RedisServer,
) -> None:
    async with running(own_redis) as node:
        own_redis.stop()
        assert (await node.ask()).code == "redis_unavailable"
        assert (await node.read({"upto": "all.00000000000002"})).code == "redis_unavailable"
        async with node.stream("?unread") as client:
            assert "unread" not in await opening(client)


async def test_marks_never_go_back_under_concurrency(node: Node) -> None:
    published = [await node.publish("42") for _ in range(20)]
    async with aiohttp.ClientSession(headers={"Authorization": "Bearer token-42"}) as session:

        async def put(body: dict[str, Any]) -> None:
            async with session.put(f"{node.url}/inbox/read", json=body) as answer:
                assert answer.status == 200

        bodies = [{"upto": each} for each in published[:15]] + [
            {"ids": [each]} for each in published[5:18]
        ]
        await asyncio.gather(*(put(bodies[n * 3 % len(bodies)]) for n in range(len(bodies))))
    found = await node.page("?order=oldest")
    assert [event["read"] for event in found["events"]] == [True] * 18 + [False] * 2


# --- what docs/inbox.rst shows -------------------------------------------------------------------


async def curl(node: Node, line: str, **words: str) -> Any:
    """What a command of the page prints, with this node and user 42's token in it."""
    line = line.removeprefix("$ ").replace("https://push.example.com", node.url)
    for old, new in {"Bearer …": "Bearer token-42", **words}.items():
        line = line.replace(old, new)
    argv = shlex.split(line.replace("$ ", ""))
    process = await asyncio.create_subprocess_exec(
        service(argv[0]), "--silent", *argv[1:], stdout=asyncio.subprocess.PIPE
    )
    return json.loads((await process.communicate())[0])


@pytest.mark.e2e
async def test_the_commands_of_the_page_answer_as_it_shows(node: Node) -> None:
    command, *shown = snippet("docs/inbox.rst", "inbox?limit=2").split("\n")
    for n in range(2):
        await node.publish("42", n=n)
    mine = await node.publish("42", event="order.shipped", data={"order": 7})
    await node.publish("*", event="maintenance")
    await node.read({"ids": [mine]})
    wanted, found = json.loads("".join(shown)), await curl(node, command)
    assert found.keys() == wanted.keys()
    for each, other in zip(found["events"], wanted["events"], strict=True):
        same = ("read", "event", "data")
        assert [each[name] for name in same] == [other[name] for name in same]
        assert each.keys() == other.keys()
    assert (found["unread"], found["next"]) == (wanted["unread"], mine)
    command, answered = snippet("docs/inbox.rst", "curl -X PUT").split("\n")
    next = (await node.page("?order=oldest"))["events"][0]["event_id"]
    answer = await curl(node, command, **{"5zej.0660f7a6a2a236": next})
    assert answer == json.loads(answered)
