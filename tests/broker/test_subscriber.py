"""The subscriber: everything is heard on one connection, or somebody is told that it is not."""

import asyncio
import json
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from redis import Redis
from redis.asyncio.connection import AbstractConnection

from aionotify.broker.connection.endpoint import Endpoint
from aionotify.broker.control import Control, Membership, Question
from aionotify.broker.data_set import DataSet
from aionotify.broker.keys import Keys
from aionotify.broker.subscriber import (
    MAX_UNHEARD_PROBES,
    PROBE_INTERVAL,
    PROBE_TIMEOUT,
    Subscriber,
)
from aionotify.config import RedisConfig
from aionotify.events.event import Event
from aionotify.events.group import GroupId, Ordered, mark, shard_of
from aionotify.events.page import Entry
from aionotify.telemetry.stats import Stats
from tests.embedded import embedded
from tests.harness import RedisServer, TcpProxy, eventually

KEYS = Keys("aionotify", "push_notifications")
SUBSCRIBED = ("CLIENT", "LIST", "TYPE", "pubsub")


class Ear:
    """Notes what it is told, in order."""

    def __init__(self) -> None:
        self.heard: list[tuple[object, ...]] = []
        self.known: list[tuple[str | None, int]] = []
        self.absent: set[str] = set()
        self.groups: set[bytes] = set()

    def hold(self) -> None:
        pass

    def release(self) -> None:
        pass

    def has(self, user_id: str) -> bool:
        return user_id not in self.absent

    def has_group(self, mark: bytes) -> bool:
        return mark in self.groups

    def ephemeral(self, event: Event) -> None:
        self.heard.append(("ephemeral", *event.recipients))

    def ephemeral_to_group(self, group: bytes, before: frozenset[bytes], event: Event) -> None:
        self.heard.append(("ephemeral", group, before, *event.groups))

    def durable_to_group(self, shard: int, entry: Entry) -> None:
        where = entry.position, entry.previous
        groups = () if entry.event is None else entry.event.groups
        self.heard.append(("durable", shard, *where, entry.group, entry.before, groups))

    def durable(self, recipient_id: str, entry: Entry) -> None:
        self.heard.append(("durable", recipient_id, entry.position, entry.previous))

    def notice(self, recipient_id: str, name: str, data: bytes) -> None:
        self.heard.append(("notice", recipient_id, name, data))

    def confirmed(self, of: Ordered) -> None:
        self.heard.append(("confirmed", of))

    def lost(self) -> None:
        self.heard.append(("lost",))

    def data_set(self, found: DataSet) -> None:
        self.known.append((found.epoch, found.settled))

    def revoked(self, revocation: Control) -> None:
        self.heard.append(("revoked", revocation))

    def asked(self, question: Question) -> None:
        self.heard.append(("asked", question))

    def membership(self, change: Membership) -> None:
        self.heard.append(("membership", change))


@asynccontextmanager
async def subscribing(
    url: str, *, stats: Stats | None = None, within: float = 2.0
) -> AsyncIterator[tuple[Subscriber, Ear]]:
    endpoint = Endpoint(RedisConfig(url=url))
    data_set = DataSet(endpoint.commands("writes").execute, KEYS, retention=60, max_events=100)
    subscriber = Subscriber(endpoint, KEYS, data_set, max_bytes=1000, stats=stats or Stats())
    ear = Ear()
    await subscriber.start(ear, within)
    try:
        yield subscriber, ear
    finally:
        await subscriber.close()
        await data_set.close()
        await endpoint.close()


def entry(position: int, previous: int, recipient: str) -> str:
    return f"{position} {previous} " + json.dumps({"recipient_id": recipient})


ORDER = '{"revoke": "42", "number": 7, "installation": "x"}'


async def test_once_started_it_hears_events_for_anybody_and_for_everyone(
    redis_server: RedisServer,
) -> None:
    async with subscribing(redis_server.url) as (subscriber, ear):
        assert subscriber.problem is None
        assert ear.heard == [("confirmed", "*")]
        redis_server.cli("PUBLISH", "push_notifications", '{"recipient_id": [1, 2]}')
        redis_server.cli("PUBLISH", "aionotify:{*}", entry(4, 2, "*"))
        redis_server.cli("PUBLISH", "aionotify:control", ORDER)
        await eventually(lambda: len(ear.heard) == 4)
        assert ear.heard[1:] == [
            ("ephemeral", "1", "2"),
            ("durable", "*", 4, 2),
            ("revoked", Control(revoke="42", number=7, installation="x")),
        ]
    assert subscriber.problem == "closed"


async def test_it_hears_whom_it_is_asked_to_and_no_longer_than_that(
    redis_server: RedisServer,
) -> None:
    async with subscribing(redis_server.url) as (subscriber, ear):
        subscriber.want("a{b}%é")
        await eventually(lambda: ("confirmed", "a{b}%é") in ear.heard)
        assert redis_server.cli("PUBLISH", KEYS.live("a{b}%é"), entry(4, 2, "a{b}%é")) == 1
        await eventually(lambda: ("durable", "a{b}%é", 4, 2) in ear.heard)
        subscriber.drop("a{b}%é")
        await eventually(lambda: redis_server.cli("PUBLISH", KEYS.live("a{b}%é"), "x") == 0)


async def test_an_ephemeral_event_is_heard_on_its_recipients_own_channel(
    redis_server: RedisServer,
) -> None:
    """But not one for somebody else, whoever has published it there."""
    stats = Stats()
    async with subscribing(redis_server.url, stats=stats) as (subscriber, ear):
        subscriber.want("42")
        await eventually(lambda: ("confirmed", "42") in ear.heard)
        ear.heard.clear()
        for recipient in ('"43"', '"*"', '["42", "43"]', "42"):
            redis_server.cli("PUBLISH", KEYS.live("42"), f'- - {{"recipient_id": {recipient}}}')
        redis_server.cli("PUBLISH", KEYS.live("*"), '- - {"recipient_id": "*"}')
        await eventually(lambda: ear.heard == [("ephemeral", "42"), ("ephemeral", "*")])
        assert stats.events_invalid == 3


async def test_a_notice_is_heard_on_its_recipients_own_channel_if_its_name_is_known(
    redis_server: RedisServer,
) -> None:
    stats = Stats()
    async with subscribing(redis_server.url, stats=stats) as (subscriber, ear):
        subscriber.want("42")
        await eventually(lambda: ("confirmed", "42") in ear.heard)
        ear.heard.clear()
        for wrong in ("- other {}", "- open {}", "- ", "-", "- read", "- read []", '- read {"a":}'):
            redis_server.cli("PUBLISH", KEYS.live("42"), wrong)
        redis_server.cli("PUBLISH", KEYS.live("42"), '- read {"n": 1}')
        redis_server.cli("PUBLISH", KEYS.live("*"), '- recalled {"n": 2}')
        last = ("notice", "*", "recalled", b'{"n": 2}')
        await eventually(lambda: ear.heard == [("notice", "42", "read", b'{"n": 1}'), last])
        assert stats.events_invalid == 7


async def test_what_is_published_for_a_user_of_another_node_is_dropped_and_counted(
    redis_server: RedisServer,
) -> None:
    stats = Stats()
    async with subscribing(redis_server.url, stats=stats) as (_, ear):
        ear.heard.clear()
        ear.absent = {"43"}
        for recipient in ('"43"', "43", '["43"]', '"*"', "42"):
            redis_server.cli("PUBLISH", KEYS.ephemeral, f'{{"recipient_id": {recipient}}}')
        await eventually(
            lambda: ear.heard == [("ephemeral", "43"), ("ephemeral", "*"), ("ephemeral", "42")]
        )
        assert (stats.dropped_no_stream, stats.events_invalid) == (2, 0)


async def test_one_who_comes_back_before_anybody_was_told_has_been_heard_all_the_while(
    redis_server: RedisServer,
) -> None:
    async with subscribing(redis_server.url) as (subscriber, ear):
        subscriber.want("42")
        await eventually(lambda: ("confirmed", "42") in ear.heard)
        subscriber.drop("42")
        subscriber.want("42")
        await eventually(lambda: ear.heard.count(("confirmed", "42")) == 2)
        redis_server.cli("PUBLISH", "aionotify:{42}", entry(4, 2, "42"))
        await eventually(lambda: ("durable", "42", 4, 2) in ear.heard)


async def test_a_connection_lost_while_somebody_is_asked_for_is_nothing_special(
    redis_server: RedisServer, caplog: pytest.LogCaptureFixture
) -> None:
    """Whatever the event loop calls it: the subscriber connects again, and the log has one line."""
    endpoint = Endpoint(RedisConfig(url=redis_server.url))
    connect, lines = endpoint.subscriber, []

    async def noted() -> AbstractConnection:
        lines.append(await connect())
        return lines[-1]

    vars(endpoint)["subscriber"] = noted
    data_set = DataSet(endpoint.commands("writes").execute, KEYS, retention=60, max_events=100)
    subscriber = Subscriber(endpoint, KEYS, data_set, max_bytes=1000, stats=Stats())
    ear = Ear()
    await subscriber.start(ear)
    try:
        subscriber.want("42")
        writer = lines[0]._writer
        assert writer is not None
        writer.transport.abort()
        await eventually(lambda: ("lost",) in ear.heard)
        await eventually(lambda: ("confirmed", "42") in ear.heard[ear.heard.index(("lost",)) :])
        assert len(lines) == 2
        assert [record.levelname for record in caplog.records] == ["WARNING"]
    finally:
        await subscriber.close()
        await endpoint.close()


async def test_those_who_come_and_go_in_any_order_are_heard_in_the_end(
    redis_server: RedisServer,
) -> None:
    async with subscribing(redis_server.url) as (subscriber, ear):
        for turn in range(50):
            for user in ("1", "2", "3"):
                (subscriber.drop if turn % 2 else subscriber.want)(user)
                if turn % 3 == int(user) % 3:
                    await asyncio.sleep(0.002)  # some changes reach Redis, others never do
        for user in ("1", "2"):
            subscriber.want(user)
        await eventually(lambda: _subscribers(redis_server, "1", "2", "3") == [1, 1, 0])
        ear.heard.clear()
        redis_server.cli("PUBLISH", "aionotify:{1}", entry(4, 2, "1"))
        await eventually(lambda: ("durable", "1", 4, 2) in ear.heard)


def _subscribers(redis: RedisServer, *users: str) -> list[int]:
    counts = redis.cli("PUBSUB", "NUMSUB", *map(KEYS.live, users))
    return [int(count) for count in counts[1::2]]


async def test_thousands_are_heard_on_one_connection_and_again_after_it_is_lost(
    redis_server: RedisServer,
) -> None:
    users = [str(number) for number in range(3000)]
    async with subscribing(redis_server.url) as (subscriber, ear):
        for user in users:
            subscriber.want(user)
        await eventually(lambda: len(ear.heard) == 3001)
        assert len(redis_server.cli(*SUBSCRIBED).splitlines()) == 1
        ear.heard.clear()
        redis_server.cli("CLIENT", "KILL", "TYPE", "pubsub")
        await eventually(lambda: len(ear.heard) == 3002)
        assert ear.heard[0] == ("lost",)
        assert set(ear.heard[1:]) == {("confirmed", user) for user in [*users, "*"]}
        assert sum(_subscribers(redis_server, *users)) == 3000


async def test_messages_that_are_none_are_counted_and_skipped(redis_server: RedisServer) -> None:
    stats = Stats()
    async with subscribing(redis_server.url, stats=stats) as (subscriber, ear):
        subscriber.want("42")
        await eventually(lambda: ("confirmed", "42") in ear.heard)
        bad = [
            "",
            "x",
            "{}",
            "[" * 900,
            "\ud7ff",
            '{"recipient_id": "42", "x": "%s"}' % ("x" * 1000),
        ]
        for message in bad:
            for channel in ("push_notifications", "aionotify:{42}", "aionotify:{*}"):
                redis_server.cli("PUBLISH", channel, message)
        for message in ("", "x", "[]", '{"revoke": 1}', "[" * 100_000):
            redis_server.cli("PUBLISH", "aionotify:control", message)
        redis_server.cli("PUBLISH", "push_notifications", '{"recipient_id": 42}')
        await eventually(lambda: ("ephemeral", "42") in ear.heard)
        assert stats.events_invalid == len(bad) * 3 + 5
        assert stats.redis_losses == 0


async def test_a_sink_that_fails_does_not_cost_the_next_message(
    redis_server: RedisServer, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async with subscribing(redis_server.url) as (_, ear):
        heard = ear.ephemeral

        def broken(event: Event) -> None:
            heard(event)
            raise RuntimeError("a bug of ours")

        monkeypatch.setattr(ear, "ephemeral", broken)
        for number in (1, 2):
            redis_server.cli("PUBLISH", "push_notifications", f'{{"recipient_id": {number}}}')
        await eventually(lambda: ear.heard[1:] == [("ephemeral", "1"), ("ephemeral", "2")])
    assert "a bug of ours" in caplog.text


async def test_it_starts_without_redis_in_bounded_time_and_says_why(own_redis: RedisServer) -> None:
    own_redis.stop()
    loop = asyncio.get_running_loop()
    began = loop.time()
    async with subscribing(own_redis.url, within=0.2) as (subscriber, ear):
        assert loop.time() - began < 2
        assert subscriber.problem is not None
        assert "refused" in subscriber.problem.lower() or "connect" in subscriber.problem.lower()
        own_redis.start()
        await eventually(lambda: subscriber.problem is None, timeout=2)
        await eventually(lambda: ear.heard[-1] == ("confirmed", "*"))


async def test_nothing_is_said_to_be_heard_before_all_of_it_is(own_redis: RedisServer) -> None:
    """A user who may not subscribe to one of the channels hears nothing for certain."""
    own_redis.cli("ACL", "SETUSER", "half", "on", ">pw", "~*", "+@all", "resetchannels", "&push*")
    url = own_redis.url.replace("redis://", "redis://half:pw@")
    async with subscribing(url, within=0.3) as (subscriber, ear):
        assert "permission" in str(subscriber.problem).lower()
        assert ("confirmed", "*") not in ear.heard
        own_redis.cli("ACL", "SETUSER", "half", "allchannels")
        await eventually(lambda: subscriber.problem is None)


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have the subscriber probe ten times as often."""
    monkeypatch.setattr("aionotify.broker.subscriber.PROBE_INTERVAL", 0.1)
    monkeypatch.setattr("aionotify.broker.subscriber.PROBE_TIMEOUT", 0.05)


def test_silence_is_noticed_within_five_seconds() -> None:
    """Which is what is promised: each probe may be waited for, and one more turn."""
    assert (MAX_UNHEARD_PROBES + 1) * PROBE_INTERVAL + MAX_UNHEARD_PROBES * PROBE_TIMEOUT < 5


@pytest.mark.usefixtures("impatient")
async def test_silence_is_noticed_and_told(own_redis: RedisServer) -> None:
    async with TcpProxy(own_redis.port) as proxy, subscribing(proxy.url) as (subscriber, ear):
        await eventually(lambda: subscriber.lag > 0)
        assert subscriber.lag < 1
        ear.heard.clear()
        proxy.stall()
        await eventually(lambda: ear.heard == [("lost",)], timeout=2)
        assert subscriber.problem is not None
        assert "probe" in subscriber.problem
        await proxy.restore()
        await eventually(lambda: subscriber.problem is None, timeout=2)


@pytest.mark.usefixtures("impatient")
async def test_one_that_is_silent_for_longer_than_connecting_may_take_is_heard_again(
    own_redis: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On Python 3.11.2 a timeout ends a task that has outlived a TaskGroup."""
    monkeypatch.setattr("aionotify.broker.connection.endpoint.TIMEOUT", 0.2)
    async with subscribing(own_redis.url) as (subscriber, ear):
        own_redis.pause()
        await eventually(lambda: "probe" in str(subscriber.problem))
        await eventually(lambda: "not available" in str(subscriber.problem))  # nor when it connects
        assert subscriber._task is not None
        assert subscriber._task.cancelling() == 0, "or redis-py's own timeouts end it"
        own_redis.resume()
        await eventually(lambda: subscriber.problem is None)
        ear.heard.clear()
        own_redis.cli("PUBLISH", "push_notifications", '{"recipient_id": 42}')
        await eventually(lambda: ear.heard == [("ephemeral", "42")])


@pytest.mark.usefixtures("impatient")
async def test_a_backlog_is_not_taken_for_silence(own_redis: RedisServer) -> None:
    """While messages come, the probe among them may be late."""
    async with subscribing(own_redis.url) as (subscriber, ear):
        own_redis.cli("CONFIG", "SET", "client-output-buffer-limit", "pubsub 0 0 0")
        own_redis.cli("ACL", "SETUSER", "default", "-publish")  # no probe comes through at all
        own_redis.cli(
            "ACL", "SETUSER", "other", "on", "nopass", "allcommands", "allkeys", "allchannels"
        )
        with Redis(port=own_redis.port, username="other", password="x") as client:
            loop = asyncio.get_running_loop()
            until = loop.time() + 1
            while loop.time() < until:
                client.publish("push_notifications", '{"recipient_id": 42}')
                await asyncio.sleep(0.02)
        assert ("lost",) not in ear.heard
        assert subscriber.problem is None
        await eventually(lambda: ("lost",) in ear.heard, timeout=2)  # now it is silent


async def test_behind_for_long_it_drops_what_is_ephemeral_and_nothing_else(
    own_redis: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On both channels; each is counted, and health says so."""
    monkeypatch.setattr("aionotify.broker.overload._TOLERATED", 0.05)
    stats = Stats()
    async with subscribing(own_redis.url, stats=stats) as (subscriber, ear):
        subscriber.want("42")
        await eventually(lambda: ("confirmed", "42") in ear.heard)
        delivered = []

        def slow(event: Event) -> None:
            time.sleep(0.002)
            delivered.append(event)

        monkeypatch.setattr(ear, "ephemeral", slow)
        event = json.dumps({"recipient_id": "42", "data": "x" * 800})
        with Redis(port=own_redis.port) as client, client.pipeline(transaction=False) as pipeline:
            for number in range(1, 501):
                pipeline.publish("push_notifications", event)
                pipeline.publish("aionotify:{42}", f"- - {event}")
                pipeline.publish("aionotify:{42}", entry(number, number - 1, "42"))
            pipeline.execute()
        await eventually(
            lambda: len(delivered) + stats.dropped_overload + len(durable(ear)) == 1500
        )
        assert durable(ear) == list(range(1, 501))
        assert stats.dropped_overload > 0
        assert subscriber.overload.health.problem is not None
        dropped = stats.dropped_overload
        own_redis.cli("PUBLISH", "push_notifications", '{"recipient_id": 7}')
        await eventually(lambda: delivered[-1].recipients == ("7",))
        assert stats.dropped_overload == stats.events_ephemeral == dropped


async def test_to_be_behind_with_confirmations_is_no_overload(
    own_redis: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They come by the thousand when as many clients connect."""
    monkeypatch.setattr("aionotify.broker.overload._TOLERATED", 0.0)
    users = [f"user-{number}" for number in range(8000)]
    async with subscribing(own_redis.url) as (subscriber, ear):
        confirmed = []

        def slow(recipient_id: str) -> None:
            time.sleep(0.0001)
            confirmed.append(recipient_id)

        monkeypatch.setattr(ear, "confirmed", slow)
        for user in users:
            subscriber.want(user)
        await eventually(lambda: len(confirmed) == len(users))
        assert subscriber.overload.health.problem is None


def durable(ear: Ear) -> list[object]:
    return [each[2] for each in ear.heard if each[0] == "durable"]


async def test_to_be_cut_off_by_redis_is_overload_and_to_lose_the_connection_is_not(
    own_redis: RedisServer,
) -> None:
    async with subscribing(own_redis.url) as (subscriber, ear):
        own_redis.cli("CLIENT", "KILL", "TYPE", "pubsub")
        await eventually(lambda: ear.heard[-2:] == [("lost",), ("confirmed", "*")])
        await eventually(lambda: subscriber.problem is None)
        assert subscriber.overload.health.problem is None
        own_redis.cli("CONFIG", "SET", "client-output-buffer-limit", "pubsub 1000 0 0")
        with Redis(port=own_redis.port) as client, client.pipeline(transaction=False) as pipeline:
            for _ in range(50_000):
                pipeline.publish("push_notifications", '{"recipient_id": 42}')
            pipeline.execute()
        await eventually(lambda: subscriber.overload.health.problem is not None)
        await eventually(lambda: subscriber.problem is None)


@pytest.mark.parametrize(
    ("userinfo", "reason"),
    [
        ("", "BrokerRefused: Redis refused the login: NOAUTH "),
        (":wrong@", "BrokerRefused: Redis refused the login: WRONGPASS "),
        ("deaf:pw@", "BrokerRefused: Redis refused: NOPERM "),
    ],
)
async def test_a_redis_that_refuses_us_is_told_apart_from_one_that_is_absent(
    own_redis: RedisServer, userinfo: str, reason: str, caplog: pytest.LogCaptureFixture
) -> None:
    """In the log and in readiness; that it is there after all, and refuses, is logged once more."""
    rules = ("on", ">pw", "~*", "&*", "+@all", "-subscribe")
    own_redis.cli("ACL", "SETUSER", "deaf", *rules)
    own_redis.cli("CONFIG", "SET", "requirepass", "right")

    def told() -> list[str]:
        lines = [each for each in caplog.records if each.message == "not subscribed to Redis"]
        return [vars(each)["fields"]["reason"] for each in lines]

    async with TcpProxy(own_redis.port) as proxy:
        await proxy.refuse()
        url = proxy.url.replace("//", f"//{userinfo}")
        async with subscribing(url, within=0.1) as (subscriber, _):
            assert len(told()) == 1
            assert told()[0].startswith("BrokerUnavailable: Redis is not available: ")
            await proxy.restore()
            await eventually(lambda: str(subscriber.problem).startswith(reason))
            accepted = proxy.accepted
            await eventually(lambda: proxy.accepted > accepted + 2)
            assert len(told()) == 2
            assert told()[1].startswith(reason)


def calls(server: RedisServer) -> dict[str, int]:
    """How often each command was carried out."""
    found = server.cli("INFO", "commandstats")
    return {name.removeprefix("cmdstat_"): int(each["calls"]) for name, each in found.items()}


async def test_an_idle_node_costs_redis_one_script_and_one_message_a_second(
    own_redis: RedisServer,
) -> None:
    async with embedded(own_redis.url):
        await eventually(lambda: calls(own_redis).get("publish", 0) >= 2)
        own_redis.cli("CONFIG", "RESETSTAT")
        began = time.monotonic()
        await eventually(lambda: calls(own_redis).get("publish", 0) >= 4)
        most = time.monotonic() - began + 1
        found = calls(own_redis)
        assert found["publish"] <= most
        assert found["evalsha"] <= most
        in_scripts = {"publish", "time", "hgetall", "hset", "pubsub|numsub"}
        tests_own = {"config|resetstat", "info", "hello", "client|setinfo"}
        assert found.keys() <= {"evalsha", *in_scripts, *tests_own}


def subscribers(server: RedisServer) -> list[str]:
    """The ids of their connections."""
    found = server.cli("CLIENT LIST")
    return [each["id"] for each in found if each["name"] == "aionotify-subscriber"]


async def test_a_renewed_connection_is_no_loss(own_redis: RedisServer) -> None:
    """The sink is told, as it may have missed something; to everybody else nothing is wrong."""
    stats = Stats()
    async with subscribing(own_redis.url, stats=stats) as (subscriber, ear):
        subscriber.want("42")
        await eventually(lambda: ("confirmed", "42") in ear.heard)
        [before] = subscribers(own_redis)
        ear.heard.clear()
        renewing = asyncio.create_task(subscriber.renew())
        while not renewing.done():
            assert subscriber.problem is None
            await asyncio.sleep(0)
        await eventually(lambda: len(ear.heard) == 3)
        assert ear.heard[0] == ("lost",)
        assert set(ear.heard[1:]) == {("confirmed", "*"), ("confirmed", "42")}
        [after] = subscribers(own_redis)
        assert after != before
        assert (subscriber.problem, stats.redis_losses, stats.redis_connects) == (None, 0, 2)


async def test_a_connection_that_cannot_be_renewed_stays(own_redis: RedisServer) -> None:
    async with subscribing(own_redis.url) as (subscriber, ear):
        before = subscribers(own_redis)
        ear.heard.clear()
        other = RedisConfig(url=own_redis.url.replace("//", "//:wrong@"))
        assert subscriber._endpoint.adopt(Endpoint(other))
        await subscriber.renew()
        assert subscribers(own_redis) == before
        assert (ear.heard, subscriber.problem) == ([], None)


async def test_one_that_is_lost_while_it_is_renewed_is_made_once(own_redis: RedisServer) -> None:
    """And none of those that were made meanwhile is left over."""
    async with subscribing(own_redis.url) as (subscriber, ear):
        for _ in range(3):
            ear.heard.clear()
            renewals = [asyncio.create_task(subscriber.renew()) for _ in range(3)]
            own_redis.cli("CLIENT", "KILL", "TYPE", "pubsub")
            await asyncio.wait(renewals)
            await eventually(lambda: ear.heard and ear.heard[-1] == ("confirmed", "*"))
            await eventually(lambda: len(subscribers(own_redis)) == 1)
        await eventually(lambda: subscriber.problem is None)


async def test_a_shard_is_heard_whole_and_decoded_only_for_its_groups(
    redis_server: RedisServer,
) -> None:
    """What is for a group that nobody here is in says where the shard is, and nothing else."""
    here, away = [name for n in range(100) if shard_of(name := f"group {n}") == 3][:2]
    group, user = mark(GroupId(here)), mark("u")
    event = b'{"group_id": "%b"}' % here.encode()
    async with subscribing(redis_server.url) as (subscriber, ear):
        ear.groups.add(group)
        subscriber.want(3)
        await eventually(lambda: ("confirmed", 3) in ear.heard)
        for message in (
            b"4 2 %b %b" % (group + user, event),
            b"6 4 %b no event" % mark(GroupId(away)),
            b"- - %b %b" % (group + user, event),
            b"- - %b no event" % mark(GroupId(away)),
            b"nonsense",
            b"8 6 %b %b" % (group, event.replace(here.encode(), away.encode())),
            b"10 8 %b %b" % (group, event),
        ):
            redis_server.cli("PUBLISH", KEYS.live(3), message)
        await eventually(lambda: len([each for each in ear.heard if 10 in each]) == 1)
        before = frozenset({user})
        assert [each for each in ear.heard if each[0] in ("durable", "ephemeral")] == [
            ("durable", 3, 4, 2, group, before, (here,)),
            ("durable", 3, 6, 4, mark(GroupId(away)), frozenset(), ()),
            ("ephemeral", group, before, here),
            ("durable", 3, 10, 8, group, frozenset(), (here,)),
        ]
        subscriber.drop(3)
        await eventually(lambda: redis_server.cli("PUBSUB", "NUMSUB", KEYS.live(3))[1] == 0)
