"""Publishing durably with nothing but a Redis."""

import asyncio
import gc
import subprocess
import sys
import types
from collections.abc import AsyncIterator, Sequence
from typing import Any

import pytest
import redis
from redis.asyncio import Redis
from redis.asyncio.client import PubSub

from aionotify import (
    AionotifyError,
    BrokerRefused,
    BrokerUnavailable,
    InvalidEvent,
    PartlyPublished,
    Published,
    Publisher,
)
from aionotify.broker.connection.pipeline import Command
from aionotify.broker.data_set import DataSet
from aionotify.broker.keys import Keys
from aionotify.config import InboxConfig
from aionotify.events.event import Event
from tests.embedded import embedded
from tests.harness import RedisServer, TcpProxy, eventually


@pytest.fixture
async def publisher(redis_server: RedisServer) -> AsyncIterator[Publisher]:
    async with Publisher(redis_server.url) as publisher:
        yield publisher


def inbox(server: RedisServer, user: str, prefix: str = "aionotify") -> list[str]:
    """The events that are stored for a user, as JSON."""
    entries = server.cli("LRANGE", f"{prefix}:{{{user}}}:inbox", 0, -1)
    return [entry.split(" ", 2)[2] for entry in entries]


def positions(results: list[Published | AionotifyError]) -> list[int]:
    ids = [result.event_id for result in results if isinstance(result, Published)]
    assert len(ids) == len(results)
    return [int(id.partition(".")[2], 16) for id in ids]


@pytest.mark.parametrize(
    "event",
    [
        {"recipient_id": "42", "data": 1},
        types.MappingProxyType({"recipient_id": "42", "data": 1}),
        b'{"recipient_id":"42","data":1}',
        '{"recipient_id":"42","data":1}',
        b'\n {"recipient_id":"42","data":1} \n',
    ],
)
async def test_an_event_is_a_mapping_or_json(
    publisher: Publisher, redis_server: RedisServer, event: Any
) -> None:
    """Any mapping, and JSON as text or bytes, which is stored as it was written."""
    result = await publisher.publish(event)
    assert inbox(redis_server, "42") == ['{"recipient_id":"42","data":1}']
    [stored] = redis_server.cli("LRANGE", "aionotify:{42}:inbox", 0, -1)
    assert int(result.event_id.partition(".")[2], 16) == int(stored.split()[0])
    assert (result.online, result.repeated, result.recipients) == (False, False, {})


@pytest.mark.parametrize(
    "event",
    [
        {"data": 1},
        {"recipient_id": "42", "event": "a\nb"},
        {"recipient_id": "42", "event": "aionotify.gap", "reason": "lost"},
        {"recipient_id": "42", "data": object()},
        "\ud800",
        b"nonsense",
        b"",
        {"recipient_id": "42", "data": "x" * 70000},
    ],
)
async def test_an_object_that_is_no_event_is_refused(
    publisher: Publisher, redis_server: RedisServer, event: Any
) -> None:
    with pytest.raises(InvalidEvent):
        await publisher.publish(event)
    assert redis_server.cli("DBSIZE") == 0


async def test_online_is_whether_somebody_listens(
    publisher: Publisher, redis_server: RedisServer
) -> None:
    with redis.Redis(port=redis_server.port) as client, client.pubsub() as pubsub:
        pubsub.subscribe("aionotify:{42}")
        pubsub.get_message(timeout=5)
        assert (await publisher.publish({"recipient_id": 42})).online
        assert not (await publisher.publish({"recipient_id": 43})).online


async def test_an_ephemeral_event_goes_to_its_recipients_own_channel_and_is_not_kept(
    publisher: Publisher, redis_server: RedisServer
) -> None:
    """The members of a list get one each, as they do of a durable event."""
    keys = Keys("aionotify")
    async with Redis.from_url(redis_server.url) as client, client.pubsub() as pubsub:
        await pubsub.psubscribe("aionotify:{*")
        await eventually(lambda: redis_server.cli("PUBSUB", "NUMPAT") == 1)
        one = await publisher.publish({"recipient_id": "1", "data": 1}, ephemeral=True)
        many = await publisher.publish({"recipient_id": [2, "3"], "data": 2}, ephemeral=True)
        all_ = await publisher.publish({"recipient_id": "*", "data": 3}, ephemeral=True)
        assert one == all_ == Published("", online=True)
        assert many == Published("", True, False, {"2": one, "3": one})
        heard = [message async for message in _messages(pubsub, 4)]
    assert heard == [
        (keys.live("1"), '- - {"recipient_id":"1","data":1}'),
        (keys.live("2"), '- - {"recipient_id":2,"data":2}'),
        (keys.live("3"), '- - {"recipient_id":"3","data":2}'),
        (keys.live("*"), '- - {"recipient_id":"*","data":3}'),
    ]
    assert redis_server.cli("KEYS", "aionotify:{*") == []


async def _messages(pubsub: PubSub, count: int) -> AsyncIterator[tuple[str, str]]:
    async for message in pubsub.listen():
        if message["type"] == "pmessage":
            yield message["channel"].decode(), message["data"].decode()
            count -= 1
        if not count:
            return


async def test_an_ephemeral_event_has_no_key_and_nobody_need_listen(publisher: Publisher) -> None:
    bad = {"recipient_id": "1", "id": "once"}
    results = await publisher.publish_many([bad, {"recipient_id": "1"}], ephemeral=True)
    assert isinstance(results[0], InvalidEvent)
    assert results[0].fields == {"id": "is for durable events only"}
    assert results[1] == Published("", online=False)


async def test_ephemeral_events_share_round_trips_and_are_told_when_redis_is_gone(
    own_redis: RedisServer,
) -> None:
    """A thousand of 10 KB are sent in parts, so that they are not all in memory at once."""
    async with Publisher(own_redis.url) as publisher:
        events = [{"recipient_id": str(n), "data": "x" * 10_000} for n in range(1000)]
        results = await publisher.publish_many(events, ephemeral=True)
        assert results == [Published("", online=False)] * 1000
        own_redis.stop()
        for result in await publisher.publish_many(events[:2], ephemeral=True):
            assert isinstance(result, BrokerUnavailable)


async def test_a_list_is_stored_for_each_and_names_nobody_else(
    publisher: Publisher, redis_server: RedisServer
) -> None:
    """Each recipient's own result is there too, under the id as text."""
    result = await publisher.publish({"recipient_id": [1, "b"], "data": 0})
    assert inbox(redis_server, "1") == ['{"recipient_id":1,"data":0}']
    assert inbox(redis_server, "b") == ['{"recipient_id":"b","data":0}']
    assert list(result.recipients) == ["1", "b"]
    each = result.recipients["b"]
    assert isinstance(each, Published)
    assert result.event_id == each.event_id


async def test_results_come_in_the_order_of_the_events(
    publisher: Publisher, redis_server: RedisServer
) -> None:
    """Bad ones among them, and the inbox has the good ones in that order."""
    events: list[dict[str, Any]] = [{"recipient_id": "u", "data": n} for n in range(300)]
    events[100] = {"no": "recipient"}
    results = await publisher.publish_many(events)
    bad = [number for number, result in enumerate(results) if isinstance(result, InvalidEvent)]
    assert bad == [100]
    del results[100]
    order = positions(results)
    assert order == sorted(order)
    assert inbox(redis_server, "u")[-1] == '{"recipient_id":"u","data":299}'


async def test_publishers_at_the_same_time_share_an_inbox(
    redis_server: RedisServer, publisher: Publisher
) -> None:
    """No two events have the same position, whoever published them."""
    async with Publisher(redis_server.url) as other:
        batches = await asyncio.gather(
            *(
                each.publish_many([{"recipient_id": "u"}] * 200)
                for each in (publisher, other, publisher)
            )
        )
    found = [position for batch in batches for position in positions(batch)]
    assert len(set(found)) == 600
    assert all(positions(batch) == sorted(positions(batch)) for batch in batches)


async def test_a_key_used_again_is_told(publisher: Publisher, redis_server: RedisServer) -> None:
    """By another publisher as well; of a list, only if all its recipients had it."""
    event = {"recipient_id": ["a", "b"], "id": "k"}
    first = await publisher.publish({"recipient_id": "a", "id": "k"})
    async with Publisher(redis_server.url) as other:
        some = await other.publish(event)
        all_ = await other.publish(event)
    assert (first.repeated, some.repeated, all_.repeated) == (False, False, True)
    again = all_.recipients["a"]
    assert isinstance(again, Published)
    assert again.event_id == first.event_id
    assert len(inbox(redis_server, "a")) == len(inbox(redis_server, "b")) == 1


async def test_a_node_knows_of_what_it_acknowledges_though_somebody_else_has_stored_it(
    publisher: Publisher, redis_server: RedisServer
) -> None:
    """If Redis loses it, that is to be told."""
    known = []
    publisher.belong_to(publisher._data_set, lambda *stored: known.append(stored))
    async with Publisher(redis_server.url) as other:
        first = await other.publish({"recipient_id": "a", "id": "k"})
    await publisher.publish({"recipient_id": "a", "id": "k"})
    assert known == [("a", int(first.event_id[-14:], 16))]


async def test_a_list_that_failed_for_some_says_for_whom(
    publisher: Publisher, redis_server: RedisServer
) -> None:
    """Repeated with the same key, it reaches the rest and nobody twice."""
    redis_server.cli("SET", "aionotify:{bad}:inbox", "no list", "EX", 60)
    event = {"recipient_id": ["a", "bad", "b"], "id": "k"}
    with pytest.raises(PartlyPublished, match="1 of 3 recipients") as caught:
        await publisher.publish(event)
    assert isinstance(caught.value.recipients["bad"], BrokerRefused)
    assert isinstance(caught.value.recipients["b"], Published)
    redis_server.cli("DEL", "aionotify:{bad}:inbox")
    assert (await publisher.publish(event)).event_id
    assert [len(inbox(redis_server, user)) for user in ("a", "bad", "b")] == [1, 1, 1]


async def test_a_list_that_failed_for_all_is_one_failure(
    publisher: Publisher, redis_server: RedisServer
) -> None:
    redis_server.cli("SET", "aionotify:{bad}:inbox", "no list", "EX", 60)
    with pytest.raises(BrokerRefused):
        await publisher.publish({"recipient_id": ["bad"]})


async def test_limits_and_names_are_the_publishers_own(redis_server: RedisServer) -> None:
    """As the nodes have them in their configuration."""
    limits = InboxConfig(max_events=2, retention=100, idempotency=10)
    async with Publisher(redis_server.url, prefix="p", inbox=limits, max_bytes=256) as publisher:
        for number in range(3):
            await publisher.publish({"recipient_id": "u", "data": number, "id": str(number)})
        with pytest.raises(InvalidEvent):
            await publisher.publish({"recipient_id": "u", "data": "x" * 256})
    assert len(inbox(redis_server, "u", "p")) == 2
    assert 90 < redis_server.cli("TTL", "p:{u}:inbox") <= 100
    assert 5 < redis_server.cli("TTL", "p:{u}:id:0") <= 10


def kept(server: RedisServer, user: str) -> tuple[int, int, int]:
    """Events in the inbox, and for how long they and the id ``k`` are kept."""
    key = f"aionotify:{{{user}}}"
    events = server.cli("LLEN", f"{key}:inbox")
    return events, server.cli("TTL", f"{key}:inbox"), server.cli("TTL", f"{key}:id:k")


def of_a_node(publisher: Publisher, **limits: int) -> DataSet:
    """What a node with these limits knows of the data set that a publisher publishes to."""
    return DataSet(publisher._script._execute_all, Keys("aionotify"), whose="node", **limits)  # type: ignore[arg-type]


async def test_a_publisher_that_was_told_no_limits_keeps_those_of_the_nodes(
    own_redis: RedisServer,
) -> None:
    """Also when they change, also by another publisher that was told others, and no node minds."""
    limits = {"max_events": 2, "retention": 100, "idempotency": 10}
    async with embedded(own_redis.url, inbox=limits) as (_, node), Publisher(own_redis.url) as one:
        await eventually(lambda: node.data_set.epoch)
        async with Publisher(own_redis.url, inbox=InboxConfig(max_events=9)) as other:
            await other.publish({"recipient_id": "other", "id": "k"})
        await one.publish_many([{"recipient_id": "u"}] * 3)
        await one.publish({"recipient_id": "u", "id": "k"})
        events, retention, idempotency = kept(own_redis, "u")
        assert events == 2
        assert 90 < retention <= 101
        assert 5 < idempotency <= 10
        assert kept(own_redis, "other")[2] > 200

        node.data_set.adopt(of_a_node(one, max_events=3, retention=200, idempotency=20))
        await node.data_set.probe()
        one._data_set._probed_at -= 2
        await one.publish_many([{"recipient_id": "u"}] * 3)
        await one.publish({"recipient_id": "u", "id": "k2"})
        assert kept(own_redis, "u")[0] == 3
        assert 190 < kept(own_redis, "u")[1] <= 201


async def test_a_publisher_that_never_saw_a_node_keeps_the_defaults(own_redis: RedisServer) -> None:
    """And follows the first node that comes; what no node has written counts for nothing."""
    async with Publisher(own_redis.url) as publisher:
        await publisher.publish({"recipient_id": "u", "id": "k"})
        events, retention, idempotency = kept(own_redis, "u")
        assert (events, retention > 604_000, 290 < idempotency <= 300) == (1, True, True)
        own_redis.cli("HSET", "aionotify:epoch", "inbox", "nonsense")
        publisher._data_set._probed_at -= 2
        await publisher.publish({"recipient_id": "u"})
        node = of_a_node(publisher, max_events=1, retention=100, idempotency=10)
        await node.probe()
        publisher._data_set._probed_at -= 2
        await publisher.publish({"recipient_id": "u"})
        assert kept(own_redis, "u")[0] == 1
        await node.probe()
        assert node.settings.problem is None


async def test_a_client_of_ones_own_stays_open(redis_server: RedisServer) -> None:
    """Whatever it makes of replies: RESP3 and text are fine."""
    async with Redis.from_url(redis_server.url, decode_responses=True, protocol=3) as client:
        async with Publisher(client) as publisher:
            first = await publisher.publish({"recipient_id": "u", "id": "k"})
            again = await publisher.publish({"recipient_id": "u", "id": "k"})
        assert again.repeated
        assert again.event_id == first.event_id
        assert await client.ping()


async def test_a_client_may_come_later(redis_server: RedisServer) -> None:
    """What gives one will do."""
    async with (
        Redis.from_url(redis_server.url) as client,
        Publisher(lambda: client) as publisher,
    ):
        assert (await publisher.publish({"recipient_id": "u"})).event_id


@pytest.mark.parametrize("by", ["address", "client", "what gives one"])
async def test_it_publishes_where_the_nodes_of_its_database_hear(
    redis_server: RedisServer, by: str
) -> None:
    """Whatever it is given says which one that is."""
    url = f"redis://127.0.0.1:{redis_server.port}/3"
    async with Redis.from_url(url) as client, client.pubsub() as pubsub:
        given: dict[str, Any] = {"address": url, "client": client, "what gives one": lambda: client}
        publisher = Publisher(given[by])
        await pubsub.subscribe("aionotify@3:{u}")
        await pubsub.get_message(timeout=5)
        assert (await publisher.publish({"recipient_id": "u"})).online
        await publisher.close()
        assert await client.llen("aionotify:{u}:inbox") == 1


async def test_redis_down_is_an_error_and_stores_nothing(own_redis: RedisServer) -> None:
    """At the first attempt as at a later one, and it works when Redis is back."""
    own_redis.stop()
    async with Publisher(own_redis.url) as publisher:
        with pytest.raises(BrokerUnavailable):
            await publisher.publish({"recipient_id": "u"})
        own_redis.start()
        await publisher.publish({"recipient_id": "u", "data": 1})
        await asyncio.to_thread(own_redis.restart)
        await publisher.publish({"recipient_id": "u", "data": 2})
    assert inbox(own_redis, "u") == ['{"recipient_id":"u","data":2}']


@pytest.mark.parametrize(("setting", "value"), [("maxmemory", "1"), ("min-replicas-to-write", "1")])
async def test_a_redis_that_refuses_stores_nothing(
    own_redis: RedisServer, setting: str, value: str
) -> None:
    own_redis.cli("CONFIG", "SET", setting, value)
    async with Publisher(own_redis.url) as publisher:
        results = await publisher.publish_many([{"recipient_id": ["a", "b"], "id": "k"}] * 3)
    assert {type(result) for result in results} == {BrokerRefused}
    assert own_redis.cli("DBSIZE") == 0


async def test_a_lost_answer_says_so_and_the_key_makes_it_once(own_redis: RedisServer) -> None:
    """Stored or not is not known, and need not be."""
    async with TcpProxy(own_redis.port) as proxy, Publisher(proxy.url) as publisher:
        await publisher.publish({"recipient_id": "u", "data": 1})
        proxy.cut_after(1)
        event = {"recipient_id": "u", "data": 2, "id": "k"}
        with pytest.raises(BrokerUnavailable):
            await publisher.publish(event)
        assert (await publisher.publish(event)).repeated
    assert len(inbox(own_redis, "u")) == 2


async def test_a_thousand_recipients_a_thousand_times_do_not_all_wait_in_line(
    own_redis: RedisServer,
) -> None:
    """So many that memory and the event loop stay free; all are published in the end."""
    async with Publisher(own_redis.url) as publisher:
        script = publisher._script
        most = under_way = 0
        call = script.call_lazily

        def counted(*args: Any, **more: Any) -> asyncio.Future[Any]:
            nonlocal most, under_way
            under_way += 1
            most = max(most, under_way)
            reply = call(*args, **more)
            reply.add_done_callback(done)
            return reply

        def done(reply: object) -> None:
            nonlocal under_way
            under_way -= 1

        vars(script)["call_lazily"] = counted
        users = [str(number) for number in range(1000)]
        results = await publisher.publish_many([{"recipient_id": users}] * 10)
        assert most <= 4000
        assert len(positions(results)) == 10
    assert own_redis.cli("LLEN", "aionotify:{999}:inbox") == 10


async def test_an_event_is_not_copied_for_recipients_who_wait_in_line(
    publisher: Publisher, redis_server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is written for each recipient, and let go of again, a batch at a time."""
    await publisher.publish({"recipient_id": "u"})  # brings the script
    written: list[int] = []
    data, script, going = Event.data, publisher._script, asyncio.Event()
    execute = script._execute_all

    def counted(self: Event, recipient: str) -> bytes:
        copy = data(self, recipient)
        written.append(len(copy))
        return copy

    async def held(commands: Sequence[Command]) -> list[Any]:
        await going.wait()
        return await execute(commands)

    monkeypatch.setattr(Event, "data", counted)
    monkeypatch.setattr(script, "_execute_all", held)
    users = [str(number) for number in range(1000)]
    event = {"recipient_id": users, "data": "x" * 50_000}
    publishing = [asyncio.create_task(publisher.publish(event)) for _ in range(4)]
    await eventually(lambda: len(script._batcher._waiting) > 3900)
    assert 0 < sum(written) <= 1 << 20
    going.set()
    await asyncio.gather(*publishing)
    assert len(written) == 4000
    assert len(inbox(redis_server, "999")) == 4


async def test_a_caller_who_leaves_does_not_disturb_the_others(
    publisher: Publisher, redis_server: RedisServer
) -> None:
    users = [str(number) for number in range(300)]
    leaving = asyncio.create_task(publisher.publish({"recipient_id": users}))
    staying = asyncio.create_task(publisher.publish({"recipient_id": users}))
    await eventually(lambda: redis_server.cli("EXISTS", "aionotify:{0}:inbox"), interval=0)
    leaving.cancel()
    assert len((await staying).recipients) == 300


# Other event loops, and how it ends

ON_OTHER_LOOPS = """
import asyncio, gc, sys, threading, aionotify
event = {"recipient_id": "u"}
url = sys.argv[1]

def by_run(work):
    asyncio.run(work)

def left_running(work):
    loop = asyncio.new_event_loop()
    loop.run_until_complete(work)
    loop.close()

def left_stopped(work):
    stopped.append(asyncio.new_event_loop())
    stopped[-1].run_until_complete(work)

def in_a_thread(work):
    loop = asyncio.new_event_loop()
    threading.Thread(target=loop.run_forever, daemon=True).start()
    asyncio.run_coroutine_threadsafe(work, loop).result(10)
    threads.append(loop)

async def publish_and_close(publisher):
    await publisher.publish(event)
    await publisher.close()

stopped, threads = [], []
for use in (by_run, left_running, left_stopped, in_a_thread):
    publisher = aionotify.Publisher(url)
    use(publisher.publish(event))
    by_run(publisher.close())
    by_run(publisher.close())
    publisher = aionotify.Publisher(url)
    use(publisher.publish(event))
    use(publisher.publish(event))
    by_run(publish_and_close(publisher))
    del publisher
    print("closed", use.__name__)
for loop in stopped:
    loop.run_until_complete(asyncio.sleep(0.05))
    loop.run_until_complete(loop.shutdown_asyncgens())
    loop.close()
for loop in threads:
    loop.call_soon_threadsafe(loop.stop)
gc.collect()
"""


def test_a_publisher_closes_on_another_event_loop_than_the_one_that_used_it(
    own_redis: RedisServer,
) -> None:
    """Whether the first one was closed, stands still or runs elsewhere."""
    words = [sys.executable, "-c", ON_OTHER_LOOPS, own_redis.url]
    run = subprocess.run(words, capture_output=True, text=True, timeout=60, check=False)
    assert run.stdout.split("\n")[:-1] == [
        "closed by_run",
        "closed left_running",
        "closed left_stopped",
        "closed in_a_thread",
    ], run.stderr
    assert "Error" not in run.stderr
    assert len(inbox(own_redis, "u")) == 16


async def test_what_is_published_when_it_is_closed_is_stored(redis_server: RedisServer) -> None:
    """Also by a caller who has only begun: what was under way is waited for."""
    publisher = Publisher(redis_server.url)
    publishing = [
        asyncio.create_task(publisher.publish({"recipient_id": "u", "n": n})) for n in range(3)
    ]
    await asyncio.sleep(0)
    await publisher.close()
    await asyncio.gather(*publishing)
    assert len(inbox(redis_server, "u")) == 3
    with pytest.raises(BrokerUnavailable):
        await publisher.publish({"recipient_id": "u"})
    await publisher.close()


async def test_a_publisher_that_was_forgotten_leaves_no_connection(own_redis: RedisServer) -> None:
    publisher = Publisher(own_redis.url)
    await publisher.publish({"recipient_id": "u"})
    assert "aionotify-writes" in str(own_redis.cli("CLIENT", "LIST"))
    del publisher

    def is_gone() -> bool:
        gc.collect()
        return "aionotify-writes" not in str(own_redis.cli("CLIENT", "LIST"))

    await eventually(is_gone)


async def test_a_publisher_that_rests_has_no_task(redis_server: RedisServer) -> None:
    """Whether it still is at the master it asks before it publishes."""
    before = asyncio.all_tasks()
    async with Publisher(redis_server.url) as publisher:
        await publisher.publish_many([{"recipient_id": "42"}] * 100)
        await eventually(lambda: asyncio.all_tasks() == before)
        await publisher.publish({"recipient_id": "42"})
