"""Events that are added to the Redis stream: stored once, in their order, or rejected."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from random import Random
from typing import Any

import pytest
from redis import Redis
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import OutOfMemoryError

from aionotify.broker import ingest, lease
from aionotify.broker.connection.endpoint import Endpoint
from aionotify.broker.connection.pipeline import Command, Execute
from aionotify.broker.ingest import Ingest
from aionotify.broker.keys import Keys
from aionotify.broker.publisher import KEPT, Publisher
from aionotify.config import InboxConfig, RedisConfig
from aionotify.errors import InvalidEvent
from aionotify.events.event import decode
from aionotify.telemetry.stats import Stats
from tests.harness import RedisServer, eventually

STREAM, REJECTED = "aionotify:publish", "aionotify:publish:rejected"
MANY = InboxConfig(max_events=100_000)


@pytest.fixture
def server(redis_server: RedisServer) -> Any:
    """A Redis, in which nothing stays but the stream itself."""
    yield redis_server
    found = redis_server.cli("EVAL", ETERNAL, 0)
    redis_server.cli("FLUSHALL")
    assert set(found) <= {STREAM, "aionotify:epoch"}


ETERNAL = """
local found = {}
for _, key in ipairs(redis.call('KEYS', '*')) do
  if redis.call('TTL', key) == -1 then found[#found + 1] = key end
end
return found
"""


def add_all(server: RedisServer, events: Sequence[Any]) -> None:
    """Add events in one round trip."""
    with Redis(port=server.port) as client, client.pipeline(transaction=False) as pipeline:
        for event in events:
            pipeline.xadd(STREAM, {"event": json.dumps(event)})
        pipeline.execute()


def add(server: RedisServer, event: Any, *more: str) -> str:
    """Add an event as any producer does; return its entry's id."""
    text = event if isinstance(event, str | bytes) else json.dumps(event)
    return str(server.cli("XADD", STREAM, "*", "event", text, *more))


def numbers(server: RedisServer, user: str = "u") -> list[int]:
    """The `data` of the events in an inbox."""
    entries = server.cli("LRANGE", f"aionotify:{{{user}}}:inbox", 0, -1)
    return [json.loads(entry.split(" ", 2)[2])["data"] for entry in entries]


def rejected(server: RedisServer) -> list[dict[str, bytes]]:
    """What was rejected, each with its `entry`, `reason` and `event`."""
    with Redis(port=server.port) as client:
        found: Any = client.xrange(REJECTED)
    return [{name.decode(): value for name, value in fields.items()} for _, fields in found]


class Node:
    """What of a node takes entries. `wrap` is put around all that it says to Redis."""

    def __init__(self, url: str, wrap: Callable[[Execute], Execute] = lambda execute: execute):
        self.endpoint = Endpoint(RedisConfig(url=url))
        self.publisher = Publisher(self.endpoint, inbox=MANY)
        script = self.publisher._script
        script._execute_all = wrap(script._execute_all)
        self.stats = Stats()
        self.may_take = True
        self.ingest = Ingest(
            wrap(self.endpoint.commands("writes").execute),
            wrap(self.endpoint.commands("ingest").execute),
            Keys("aionotify", database=self.endpoint.database),
            self.publisher,
            stats=self.stats,
            may_take=lambda: self.may_take,
        )

    @asynccontextmanager
    async def running(self) -> AsyncIterator["Node"]:
        task = asyncio.create_task(self.ingest.run())
        try:
            yield self
        finally:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task
            await self.ingest.close()
            await self.publisher.close()
            await self.endpoint.close()


@pytest.fixture
async def node(server: RedisServer) -> AsyncIterator[Node]:
    async with Node(server.url).running() as running:
        yield running


async def taken(server: RedisServer) -> None:
    """Return when nothing is left in the stream."""
    await eventually(lambda: server.cli("XLEN", STREAM) == 0)


async def test_entries_are_stored_in_their_order_and_deleted(
    server: RedisServer, node: Node
) -> None:
    """More than are read at a time, some to several and some to everyone."""
    recipients = (["u", "v"], "u", "*")
    events = [{"recipient_id": recipients[n % 3], "data": n} for n in range(2500)]
    add_all(server, events)
    await taken(server)
    assert numbers(server, "u") == [n for n in range(2500) if n % 3 != 2]
    assert numbers(server, "v") == list(range(0, 2500, 3))
    assert numbers(server, "*") == list(range(2, 2500, 3))
    assert node.stats.ingested == {"stored": 2500}
    assert node.ingest.health.problem is None


async def test_an_entry_is_stored_at_once_when_the_node_was_idle(
    server: RedisServer, node: Node
) -> None:
    await eventually(lambda: "xread" in server.cli("CLIENT", "LIST"))
    began = asyncio.get_running_loop().time()
    for number in range(3):
        add(server, {"recipient_id": "u", "data": number})
        await eventually(lambda: len(numbers(server)) > number, interval=0.005)  # noqa: B023
    assert asyncio.get_running_loop().time() - began < 3 * ingest._WAIT / 1000


async def test_an_id_is_delivered_once_within_a_day(server: RedisServer, node: Node) -> None:
    """Its key stays; that of an entry without an id goes soon after the entry."""
    first = add(server, {"recipient_id": "u", "data": 1})
    for _ in range(2):
        add(server, {"recipient_id": "u", "data": 2, "id": "own"})
    await taken(server)
    await eventually(lambda: server.cli("TTL", f"aionotify:{{u}}:id:{first}") <= ingest._KEY_KEPT)
    assert numbers(server) == [1, 2]
    assert node.stats.ingested == {"stored": 2, "repeated": 1}
    assert server.cli("TTL", "aionotify:{u}:id:own") > KEPT - 60


async def test_what_a_node_has_stored_and_not_deleted_is_not_stored_again(
    server: RedisServer,
) -> None:
    """Its key is there for a day until then."""

    def dies_before_it_deletes(execute: Execute) -> Execute:
        async def wrapped(commands: Sequence[Command]) -> list[Any]:
            if commands[0][0] == "XDEL":
                raise asyncio.CancelledError
            return await execute(commands)

        return wrapped

    first = add(server, {"recipient_id": "u", "data": 0})
    add_all(server, [{"recipient_id": "u", "data": number} for number in range(1, 100)])
    async with Node(server.url, dies_before_it_deletes).running():
        await eventually(lambda: len(numbers(server)) == 100)
    assert server.cli("TTL", f"aionotify:{{u}}:id:{first}") > KEPT - 60
    add(server, {"recipient_id": "u", "data": 100})
    async with Node(server.url).running() as node:
        await taken(server)
        assert numbers(server) == list(range(101))
        assert node.stats.ingested == {"repeated": 100, "stored": 1}


INVALID = [
    b"nonsense",
    b"",
    b"\xff",
    b"[]",
    b'{"data": 1}',
    b'{"recipient_id": ["a", "*"]}',
    b'{"recipient_id": "a", "event": "aionotify.gap"}',
    json.dumps({"recipient_id": "a", "data": "x" * 64000}).encode(),
]


@pytest.mark.parametrize("event", INVALID)
async def test_an_invalid_event_is_rejected_in_the_words_of_publish(
    server: RedisServer, node: Node, event: bytes
) -> None:
    """What is valid before and after it is stored."""
    add(server, {"recipient_id": "u", "data": 1})
    id = add(server, event)
    add(server, {"recipient_id": "u", "data": 2})
    await taken(server)
    with pytest.raises(InvalidEvent) as error:
        decode(event)
    [told] = rejected(server)
    assert told["entry"].decode() == id
    assert told["reason"].decode() == str(error.value)
    assert told["event"] == (event if len(event) < 64000 else b"")
    assert numbers(server) == [1, 2]
    assert node.stats.ingested == {"stored": 2, "rejected": 1}
    assert 0 < server.cli("TTL", REJECTED) <= ingest._REJECTED_KEPT


@pytest.mark.parametrize(
    "fields",
    [
        ["data", '{"recipient_id": "u"}'],
        ["event", "{}", "event", "{}"],
        ["event", '{"recipient_id": "u"}', "x" * 70000, "1"],
        ["event", '{"recipient_id": "u"}', *("x", "y") * 1000],
        ["ephemeral", "true"],
    ],
)
async def test_an_entry_of_other_fields_is_rejected(
    server: RedisServer, node: Node, fields: list[str]
) -> None:
    server.cli("XADD", STREAM, "*", *fields)
    await taken(server)
    [told] = rejected(server)
    assert told["reason"] == b"entry: must have the field event, and no other but ephemeral"
    assert server.cli("KEYS", "*inbox") == []


async def test_an_ephemeral_event_is_published_and_not_stored(
    server: RedisServer, node: Node
) -> None:
    """Without an id, as elsewhere."""
    with Redis(port=server.port) as client, client.pubsub() as pubsub:
        pubsub.subscribe("aionotify:{u}")
        pubsub.get_message(timeout=5)
        for more in ((), ("id",)):
            add(server, {"recipient_id": "u", **dict.fromkeys(more, "x")}, "ephemeral", "true")
        add(server, {"recipient_id": "u", "data": 1}, "ephemeral", "false")
        add(server, {"recipient_id": "u"}, "ephemeral", "1")
        await taken(server)
        heard = [pubsub.get_message(timeout=5)["data"] for _ in range(2)]
    assert min(message[:4] for message in heard) == b"- - "
    assert numbers(server) == [1]
    assert node.stats.ingested == {"stored": 1, "ephemeral": 1, "rejected": 2}
    assert [told["reason"] for told in rejected(server)] == [
        b"id: is for durable events only",
        b'ephemeral: must be "true" or "false"',
    ]


async def test_rejected_entries_are_bounded(server: RedisServer, node: Node) -> None:
    add_all(server, ["x"] * (ingest._REJECTED + 20))
    await taken(server)
    assert server.cli("XLEN", REJECTED) == ingest._REJECTED


async def test_entries_of_any_size_are_read_a_few_at_a_time(
    server: RedisServer, node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And one that is much too long is not read at all."""
    monkeypatch.setattr(ingest, "_BYTES", 100_000)
    node.may_take = False
    for number in range(20):
        add(server, {"recipient_id": "u", "data": number, "x": "x" * (50_000 if number % 5 else 1)})
    add(server, "x" * 10_000_000)
    read = await node.ingest._read(1000)
    assert 2 <= len(read) < 10
    assert node.ingest.backlog == 21
    node.may_take = True
    await taken(server)
    assert numbers(server) == list(range(20))
    [told] = rejected(server)
    assert told["reason"] == b"body: is 10000000 bytes long, at most 64000 allowed"


async def test_an_inbox_that_is_none_keeps_only_its_own_events_back(
    server: RedisServer, node: Node
) -> None:
    """They are rejected, and of a list the others get it; or all would wait for ever."""
    server.cli("SET", "aionotify:{bad}:inbox", "x", "EX", 60)
    for number in range(30):
        add(server, {"recipient_id": ("bad", "u", ["bad", "u"])[number % 3], "data": number})
    await taken(server)
    assert numbers(server) == [number for number in range(30) if number % 3]
    reasons = [told["reason"] for told in rejected(server)]
    assert len(reasons) == 20
    assert all(each.startswith(b"recipient_id: Redis refused: WRONGTYPE") for each in reasons)


async def test_a_redis_that_refuses_is_waited_for(own_redis: RedisServer) -> None:
    """In order, and nothing is rejected; the check says why."""
    async with Node(own_redis.url).running() as node:
        add(own_redis, {"recipient_id": "u", "data": 0})
        await taken(own_redis)
        own_redis.cli("ACL", "SETUSER", "default", "-rpush")
        add_all(own_redis, [{"recipient_id": "u", "data": number} for number in range(1, 200)])
        await eventually(lambda: "rpush" in (node.ingest.health.problem or ""))
        assert node.ingest.backlog > 0
        own_redis.cli("ACL", "SETUSER", "default", "+rpush")
        await taken(own_redis)
        assert numbers(own_redis) == list(range(200))
        await eventually(lambda: node.ingest.health.problem is None)
        assert node.stats.ingested["rejected"] == 0


async def test_a_full_redis_is_waited_for(own_redis: RedisServer) -> None:
    async with Node(own_redis.url).running() as node:
        for number in range(100):
            add(own_redis, {"recipient_id": "u", "data": number})
            if number == 50:
                own_redis.cli("CONFIG", "SET", "maxmemory", 1)
                await eventually(lambda: "maxmemory" in (node.ingest.health.problem or ""))
                own_redis.cli("CONFIG", "SET", "maxmemory", 0)
        await taken(own_redis)
        assert numbers(own_redis) == list(range(100))


async def test_a_key_of_another_type_is_told_until_it_is_gone(
    server: RedisServer, node: Node
) -> None:
    server.cli("SET", STREAM, "x", "EX", 60)
    await eventually(lambda: "WRONGTYPE" in (node.ingest.health.problem or ""))
    server.cli("DEL", STREAM)
    add(server, {"recipient_id": "u", "data": 1})
    await taken(server)
    await eventually(lambda: node.ingest.health.problem is None)
    assert numbers(server) == [1]


async def test_a_stream_that_is_deleted_begins_anew(server: RedisServer, node: Node) -> None:
    """With lower ids, if somebody wants that."""
    for id in ("9999999999999-0", "5-0"):
        server.cli("XADD", STREAM, id, "event", json.dumps({"recipient_id": "u", "data": id}))
        await taken(server)
        server.cli("DEL", STREAM)
    await eventually(lambda: len(server.cli("LRANGE", "aionotify:{u}:inbox", 0, -1)) == 2)


async def test_a_node_that_is_not_in_a_state_to_leaves_entries_to_others(
    server: RedisServer, node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    await eventually(lambda: server.cli("EXISTS", "aionotify:publish:lease"))
    monkeypatch.setattr(ingest, "_LOOK_INTERVAL", 0.05)
    node.may_take = False
    async with Node(server.url).running() as other:
        add(server, {"recipient_id": "u", "data": 1})
        await eventually(lambda: node.ingest.backlog == 0)
        server.cli("DEL", "aionotify:publish:lease")  # it ends by itself, in five seconds
        await taken(server)
        assert other.stats.ingested == {"stored": 1}


async def test_another_node_takes_over_at_once_from_one_that_stops(
    server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ingest, "_LOOK_INTERVAL", 0.05)
    monkeypatch.setattr(lease, "LENGTH", 600.0)
    async with Node(server.url).running() as one:
        await eventually(lambda: server.cli("EXISTS", "aionotify:publish:lease"))
        async with Node(server.url).running() as other:
            add(server, {"recipient_id": "u", "data": 1})
            await taken(server)
            assert (one.stats.ingested.total(), other.stats.ingested.total()) == (1, 0)
            one.may_take = False
            await one.ingest.close()
            add(server, {"recipient_id": "u", "data": 2})
            await taken(server)
            assert (one.stats.ingested.total(), other.stats.ingested.total()) == (1, 1)


async def test_how_far_it_is_behind_is_known(server: RedisServer, node: Node) -> None:
    node.may_take = False
    server.cli("XADD", STREAM, "1000-0", "event", "{}")
    await node.ingest._read(10)
    assert node.ingest.backlog == 1
    assert node.ingest.lag > 1_000_000_000
    node.may_take = True
    await taken(server)
    await eventually(lambda: node.ingest.lag == 0)


async def test_what_a_frozen_node_had_read_is_not_stored_when_it_wakes(
    server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not even if others have stored it so long ago that its keys are gone."""
    held = asyncio.Event()
    holds = asyncio.Event()

    def frozen(execute: Execute) -> Execute:
        async def wrapped(commands: Sequence[Command]) -> list[Any]:
            if "aionotify:{u}:inbox" in commands[0]:
                holds.set()
                await held.wait()
            return await execute(commands)

        return wrapped

    monkeypatch.setattr(lease, "LENGTH", 0.2)
    monkeypatch.setattr(ingest, "_LOOK_INTERVAL", 0.05)
    add_all(server, [{"recipient_id": "u", "data": number} for number in range(10)])
    async with Node(server.url, frozen).running() as one:
        await holds.wait()
        async with Node(server.url).running() as other:
            await taken(server)
            await eventually(lambda: other.ingest.backlog == 0)
        for key in server.cli("KEYS", "*:id:*"):
            server.cli("DEL", key)
        held.set()
        add(server, {"recipient_id": "u", "data": 10})
        await taken(server)
        assert numbers(server) == list(range(11))
        assert one.stats.ingested["stored"] == 1


async def test_what_was_read_in_an_earlier_term_is_read_again(
    server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A node was frozen before it stored anything, and has the lease again: by then others may have
    stored all of it, so long ago that no key tells.
    """
    reads = asyncio.Event()
    goes_on = asyncio.Event()

    def frozen(execute: Execute) -> Execute:
        async def wrapped(commands: Sequence[Command]) -> list[Any]:
            found = await execute(commands)
            if STREAM in commands[0] and not reads.is_set():  # read, and not seen yet
                reads.set()
                await goes_on.wait()
            return found

        return wrapped

    monkeypatch.setattr(lease, "LENGTH", 0.2)
    monkeypatch.setattr(lease, "_RENEWED_AFTER", 0.0)
    monkeypatch.setattr(ingest, "_LOOK_INTERVAL", 0.05)
    monkeypatch.setattr(ingest, "_KEY_KEPT", 0)
    add_all(server, [{"recipient_id": "u", "data": number} for number in range(10)])
    async with Node(server.url, frozen).running():
        await reads.wait()
        async with Node(server.url).running():
            await taken(server)
        goes_on.set()
        add(server, {"recipient_id": "u", "data": 10})
        await taken(server)
        assert numbers(server) == list(range(11))


# --- whatever happens in between ----------------------------------------------------------------

LENGTH = 0.05  # seconds, of a lease


class Unsteady:
    """Has commands carried out late, or not, or some of them, or loses the replies."""

    def __init__(self, random: Random) -> None:
        self._random = random
        self.steady = False

    def __call__(self, execute: Execute) -> Execute:
        async def unsteady(commands: Sequence[Command]) -> list[Any]:
            random = self._random
            if self.steady:
                return await execute(commands)
            fate = random.random()
            if fate < 0.05:
                raise RedisConnectionError("not sent")
            if fate < 0.06:
                await asyncio.sleep(1.5)  # as after SIGSTOP
            if fate < 0.15:
                await asyncio.sleep(random.uniform(0, 3 * LENGTH))
            if fate < 0.30 and len(commands) > 1:
                return await self._some(execute, commands)
            found = await execute(commands)
            if fate > 0.95:
                raise RedisConnectionError("no reply")
            return found

        return unsteady

    async def _some(self, execute: Execute, commands: Sequence[Command]) -> list[Any]:
        """Redis was full for a moment."""
        refused = {n for n in range(len(commands)) if self._random.random() < 0.2}
        rest = [command for n, command in enumerate(commands) if n not in refused]
        found = iter(await execute(rest))
        full = OutOfMemoryError("OOM command not allowed when used memory > 'maxmemory'.")
        return [full if n in refused else next(found) for n in range(len(commands))]


@pytest.mark.parametrize("kept", [ingest._KEY_KEPT, 1])
@pytest.mark.parametrize("seed", range(2))
async def test_every_entry_is_stored_once_and_in_order_whatever_happens(
    server: RedisServer, monkeypatch: pytest.MonkeyPatch, seed: int, kept: int
) -> None:
    """Three nodes, to which anything happens between any two steps; none knows that its lease has
    ended but by what Redis says. Keys that are gone in a second are those of nodes that are frozen
    for longer.
    """
    random = Random(seed)
    monkeypatch.setattr(lease, "LENGTH", LENGTH)
    monkeypatch.setattr(lease, "_RENEWED_AFTER", 1000.0)  # it believes that it has it
    monkeypatch.setattr(ingest, "_READ_FOR", 0.3)
    monkeypatch.setattr(ingest, "_KEY_KEPT", kept)
    monkeypatch.setattr(ingest, "_LOOK_INTERVAL", 0.01)
    monkeypatch.setattr(ingest, "_RETRY", (0.001, 0.01))
    monkeypatch.setattr(ingest, "_ENTRIES", 40)
    fates = Unsteady(random)
    users = ("u", "v", "w")
    expected: dict[str, list[int]] = {user: [] for user in users}
    async with contextlib.AsyncExitStack() as stack:
        for _ in range(3):
            await stack.enter_async_context(Node(server.url, fates).running())
        for number in range(300):
            to = random.sample(users, random.choice((1, 1, 1, 2)))
            event = {"recipient_id": to if len(to) > 1 else to[0], "data": number}
            if random.random() < 0.2:
                event["id"] = f"own-{number}"
            for _ in range(2 if "id" in event and random.random() < 0.3 else 1):
                add(server, event)
            for user in to:
                expected[user].append(number)
            if random.random() < 0.05:
                await asyncio.sleep(random.uniform(0, 0.05))
        fates.steady = True
        await taken(server)
    assert {user: numbers(server, user) for user in users} == expected
    assert server.cli("EXISTS", REJECTED) == 0
