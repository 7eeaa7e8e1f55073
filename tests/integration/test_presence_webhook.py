"""Presence events at an application's webhook: in order, none missing, whatever it answers."""

import json
import os
import signal
from collections.abc import AsyncIterator, Mapping
from functools import partial

import pytest
import yaml

from aionotify.config import Config
from tests.docs.snippets import snippet
from tests.harness import NotifyServer, RedisServer, eventually
from tests.integration.auth.test_redis_rights import RULES
from tests.integration.conftest import Serve
from tests.integration.talk import ask, metric, stream
from tests.webhook.receiver import Receiver, receiving

STREAM = "aionotify:presence{0}:events"
SETTINGS: Mapping[str, object] = {
    "presence.events": True,
    "presence.grace": 0,
    "webhook.secret": "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
    "webhook.allow_http": True,
    "webhook.allow": ["127.0.0.0/8"],
    "server.drain": 0,
}


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    async with receiving() as receiver:
        yield receiver


def to(receiver: Receiver, **more: object) -> dict[str, object]:
    return {**SETTINGS, "presence.webhook": receiver.url, **more}


def heard(receiver: Receiver) -> list[str]:
    return [f"{each['event']} {each['user_id']}" for each in receiver.taken]


async def delivered(node: NotifyServer) -> float:
    return await metric(node, "aionotify_webhook_posts_total", outcome="delivered")


async def comes(server: NotifyServer, redis: RedisServer, user: str) -> None:
    """A user comes and goes."""
    before = redis.cli("XLEN", STREAM)
    async with stream(server, user):
        await eventually(lambda: redis.cli("XLEN", STREAM) == before + 1)
    await eventually(lambda: redis.cli("XLEN", STREAM) == before + 2)


async def test_events_are_posted_once_and_in_order_by_one_of_several_nodes(
    serve: Serve, redis_server: RedisServer, receiver: Receiver
) -> None:
    nodes = [await serve(to(receiver)) for _ in range(2)]
    expected = []
    for number in range(6):
        await comes(nodes[number % 2], redis_server, str(number))
        expected += [f"came {number}", f"went {number}"]
    await eventually(lambda: heard(receiver) == expected)
    entries = redis_server.cli("XRANGE", STREAM, "-", "+")
    assert [each["id"] for each in receiver.taken] == [id for id, _ in entries]
    shown = json.loads(snippet("docs/presence.rst", '{"events": ['))
    [example] = shown["events"]
    for each in receiver.taken:
        assert each.keys() == example.keys()
        assert int(each["id"].split("-")[0]) == round(each["time"] * 1000)
    assert int(example["id"].split("-")[0]) == round(example["time"] * 1000)
    posts = [await delivered(node) for node in nodes]
    assert min(posts) == 0
    assert max(posts) == len(receiver.requests)


async def test_what_a_webhook_does_not_take_is_posted_again(
    serve: Serve, redis_server: RedisServer, receiver: Receiver
) -> None:
    """It hangs, redirects inwards, fails: nothing is lost, and what is wrong is told."""
    receiver.answers = [None, (301, "http://169.254.169.254/"), 500]
    server = await serve(to(receiver, **{"webhook.timeout": 0.5}))
    await comes(server, redis_server, "42")
    await eventually(lambda: heard(receiver) == ["came 42", "went 42"])
    for reason in ("did not answer in time", "redirects (301)"):
        assert any(reason in line for line in server.logs) or len(receiver.requests) == 4
    assert any("webhook takes nothing" in line for line in server.logs)
    await eventually(lambda: any("takes what is posted again" in line for line in server.logs))
    assert (await ask(server, "/readyz")).json["checks"]["webhook"] == {"ok": True}
    assert len(receiver.requests) == 4
    assert await metric(server, "aionotify_webhook_posts_total", outcome="failed") == 3


async def test_an_address_that_is_not_public_is_not_posted_to(
    serve: Serve, redis_server: RedisServer, receiver: Receiver
) -> None:
    server = await serve(to(receiver, **{"webhook.allow": []}))
    await comes(server, redis_server, "42")

    async def told() -> bool:
        check = (await ask(server, "/readyz")).json["checks"]["webhook"]
        return "no public address" in check.get("reason", "")

    await eventually(told)
    assert receiver.requests == []


async def test_while_nothing_is_taken_the_oldest_make_room(
    serve: Serve, redis_server: RedisServer, receiver: Receiver
) -> None:
    """And that something is missing is told."""
    server = await serve(to(receiver, **{"presence.max_events": 4}))
    await comes(server, redis_server, "first")
    await eventually(lambda: len(heard(receiver)) == 2)
    receiver.answers = [503] * 99
    for number in range(4):
        async with stream(server, str(number)):
            await eventually(partial(is_last, redis_server, f"came {number}"))
        await eventually(partial(is_last, redis_server, f"went {number}"))
    assert redis_server.cli("XLEN", STREAM) == 4
    receiver.answers.clear()
    await eventually(lambda: heard(receiver)[-4:] == ["came 2", "went 2", "came 3", "went 3"])
    await eventually(
        lambda: any("presence events were not posted in time" in line for line in server.logs)
    )


def is_last(redis: RedisServer, event: str) -> bool:
    [(_, fields)] = redis.cli("XREVRANGE", STREAM, "+", "-", "COUNT", 1)
    return f"{fields['event']} {fields['user_id']}" == event


@pytest.mark.parametrize("end", [signal.SIGTERM, signal.SIGKILL])
async def test_another_node_goes_on_where_the_one_that_posted_ended(
    serve: Serve, redis_server: RedisServer, receiver: Receiver, end: signal.Signals
) -> None:
    nodes = [await serve(to(receiver)) for _ in range(2)]
    await comes(nodes[0], redis_server, "1")
    await eventually(lambda: len(heard(receiver)) == 2)
    posted = [await delivered(node) for node in nodes]
    [posting] = [node for node, count in zip(nodes, posted, strict=True) if count]
    os.kill(posting.pid, end)
    await posting.wait()
    [other] = [node for node in nodes if node is not posting]
    await comes(other, redis_server, "2")
    await eventually(lambda: heard(receiver) == ["came 1", "went 1", "came 2", "went 2"])


async def test_nodes_need_the_rights_that_the_docs_name(
    serve: Serve, own_redis: RedisServer, receiver: Receiver
) -> None:
    [_, _, *rules] = RULES["aionotify"].replace("PASSWORD", "password").split()
    rights = "+xadd +sadd +srem +spop +sismember +zrem +xrange"
    own_redis.cli("ACL", "SETUSER", "aionotify", *rules, *rights.split())
    url = f"redis://aionotify:password@127.0.0.1:{own_redis.port}"
    nodes = [await serve(to(receiver, **{"redis.url": url})) for _ in range(2)]
    await comes(nodes[0], own_redis, "42")
    await eventually(lambda: heard(receiver) == ["came 42", "went 42"])
    refused = {each["object"] for each in own_redis.cli("ACL LOG")}
    assert refused <= {"client|setname", "info"}


def test_the_docs_show_a_configuration() -> None:
    config = Config.from_mapping(yaml.safe_load(snippet("docs/presence.rst", "webhook:\n")))
    assert config.presence.webhook == "https://shop.example/presence"
