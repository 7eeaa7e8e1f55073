"""append.lua: one event into one inbox and to all nodes, or nothing at all."""

from collections.abc import Iterator

import pytest
import redis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from aionotify.events.position import LAST
from tests.broker.lua import NOW, RETENTION, SECOND, Scripts
from tests.harness import RedisServer


@pytest.fixture
def scripts(redis_server: RedisServer) -> Scripts:
    return Scripts(redis_server)


@pytest.fixture
def hurt(own_redis: RedisServer) -> Scripts:
    """Scripts on a Redis that a test may reconfigure."""
    return Scripts(own_redis)


@pytest.fixture
def subscriber(redis_server: RedisServer) -> Iterator[redis.client.PubSub]:
    with redis.Redis(port=redis_server.port, protocol=2, decode_responses=True) as client:
        pubsub = client.pubsub()
        pubsub.subscribe("p:{u}")
        assert pubsub.get_message(timeout=5)["type"] == "subscribe"
        yield pubsub
        pubsub.close()


# --- positions --------------------------------------------------------------------------------


def test_a_position_is_the_time_in_microseconds(scripts: Scripts) -> None:
    """And always even, so that an odd one can stand for an empty inbox."""
    assert scripts.append().position == NOW
    scripts.now = NOW + 11
    assert scripts.append().position == NOW + 12


def test_events_of_one_microsecond_have_positions_of_their_own(scripts: Scripts) -> None:
    assert [scripts.append().position - NOW for _ in range(4)] == [0, 2, 4, 6]


def test_each_entry_names_the_one_before_it(scripts: Scripts) -> None:
    """So that whoever hears it knows whether anything is missing in between."""
    scripts.append("first")
    scripts.pass_time(1)
    scripts.append("second")
    first, second = scripts.stored()
    assert second == f"{NOW + SECOND} {NOW} second"
    assert first.startswith(f"{NOW} ")


def test_the_first_entry_follows_on_from_anything_within_the_retention(scripts: Scripts) -> None:
    """Its `previous` is odd, which no event's position is."""
    scripts.append()
    [entry] = scripts.stored()
    previous = int(entry.split()[1])
    assert previous & 1
    assert 0 <= previous - (NOW - RETENTION * SECOND) <= 1


def test_positions_grow_while_the_clock_is_set_back(scripts: Scripts) -> None:
    """An hour back: the next positions are just after the last, and go with the clock later."""
    scripts.append()
    scripts.pass_time(-3600)
    assert [scripts.append().position - NOW for _ in range(2)] == [2, 4]
    scripts.pass_time(3601)
    assert scripts.append().position == NOW + SECOND


def test_positions_do_not_go_below_the_floor(scripts: Scripts) -> None:
    """Of an inbox that is not there nobody else knows how far it had come."""
    scripts.pass_time(-3600)
    assert scripts.append(floor=NOW).position >= NOW
    assert scripts.append(floor=NOW + SECOND).position >= NOW + SECOND


def test_positions_that_do_not_go_by_the_clock_are_not_to_be_foreseen(scripts: Scripts) -> None:
    """So that another master, which has not got the last of them, does not give them out again."""
    scripts.append()
    scripts.now = NOW - 3600 * SECOND + 321
    assert scripts.append().position == NOW + 2 + 2 * 321
    assert scripts.append("x", floor=NOW + SECOND).position == NOW + SECOND + 2 * 321


def test_an_inbox_expires_by_its_own_positions(scripts: Scripts) -> None:
    """However far the clock is behind them."""
    scripts = Scripts(scripts.server, now=NOW)
    scripts.append(floor=NOW + 600 * SECOND)
    assert RETENTION + 599 <= scripts.server.cli("TTL", scripts.inbox) <= RETENTION + 601


def test_the_first_entry_follows_on_from_nothing_that_can_have_expired(scripts: Scripts) -> None:
    since = NOW - 10 * SECOND
    scripts.append(since=since)
    [entry] = scripts.stored()
    assert int(entry.split()[1]) == since + 1


def test_redis_tells_the_time(redis_server: RedisServer) -> None:
    """Not the producer, whose clock may be anything."""
    scripts = Scripts(redis_server, now=None)
    seconds, micros = map(int, redis_server.cli("TIME"))
    before = seconds * SECOND + micros
    position = scripts.append().position
    seconds, micros = map(int, redis_server.cli("TIME"))
    assert before <= position <= seconds * SECOND + micros + 1


# --- what is kept -----------------------------------------------------------------------------


def test_an_inbox_keeps_the_newest_so_many(scripts: Scripts) -> None:
    for number in range(5):
        scripts.append(str(number), max_events=3)
    assert [entry.split()[2] for entry in scripts.stored()] == ["2", "3", "4"]


def test_an_inbox_of_one_event_works(scripts: Scripts) -> None:
    first = scripts.append("a", max_events=1)
    second = scripts.append("b", max_events=1)
    assert scripts.stored() == [f"{second.position} {first.position} b"]


def test_an_event_older_than_the_retention_goes_with_the_next_one(scripts: Scripts) -> None:
    """Exactly as old stays; a microsecond older goes."""
    scripts.append("old")
    scripts.append("kept")
    scripts.now = NOW + 2 + RETENTION * SECOND
    scripts.append("new")
    assert [entry.split()[2] for entry in scripts.stored()] == ["kept", "new"]


def test_every_event_older_than_the_retention_may_go_but_the_new_one(scripts: Scripts) -> None:
    """Even if the inbox should have expired long ago; the chain of positions goes on."""
    last = [scripts.append(str(number)) for number in range(3)][-1]
    scripts.pass_time(10 * RETENTION)
    new = scripts.append("new")
    assert scripts.stored() == [f"{new.position} {last.position} new"]


def test_every_key_goes_by_itself(scripts: Scripts) -> None:
    """The inbox after the retention, the idempotency key after its own time."""
    scripts.append(key="k", retention=100, remember=50)
    assert scripts.server.cli("TTL", scripts.inbox) in (99, 100)
    assert scripts.server.cli("TTL", "p:{u}:id:k") in (49, 50)


def test_each_event_starts_the_retention_anew(scripts: Scripts) -> None:
    scripts.append(retention=10)
    scripts.append(retention=100)
    assert scripts.server.cli("TTL", scripts.inbox) > 10


def test_times_may_be_fractions_of_a_second(scripts: Scripts) -> None:
    """Redis takes whole seconds: rounded up, for 0 would delete at once."""
    scripts.append(key="k", retention=0.5, remember=0.5)
    assert scripts.server.cli("TTL", scripts.inbox) in (0, 1)
    assert scripts.server.cli("EXISTS", scripts.inbox, "p:{u}:id:k") == 2


# --- the live message -------------------------------------------------------------------------


def test_the_live_message_is_the_entry(scripts: Scripts, subscriber: redis.client.PubSub) -> None:
    scripts.append('{"recipient_id":"u"}')
    assert subscriber.get_message(timeout=5)["data"] == scripts.stored()[0]


def test_append_says_how_many_listen(scripts: Scripts, subscriber: redis.client.PubSub) -> None:
    assert scripts.append().subscribers == 1
    assert Scripts(scripts.server, channel="p:{v}").append().subscribers == 0


# --- idempotency ------------------------------------------------------------------------------


def test_a_key_used_again_answers_the_first_position(
    scripts: Scripts, subscriber: redis.client.PubSub
) -> None:
    """And stores and publishes nothing, but still says how many listen."""
    first = scripts.append("a", key="k")
    scripts.pass_time(1)
    second = scripts.append("b", key="k")
    assert second == (first.position, 1, 1)
    assert len(scripts.stored()) == 1
    assert subscriber.get_message(timeout=5)["data"].endswith(" a")
    assert subscriber.get_message(timeout=0.05) is None


def test_a_key_belongs_to_one_recipient(redis_server: RedisServer) -> None:
    """The same key for somebody else is another event."""
    one = Scripts(redis_server)
    other = Scripts(redis_server, channel="p:{v}")
    assert one.append(key="k").repeated == 0
    assert other.append(key="k").repeated == 0


def test_a_key_outlives_its_event(scripts: Scripts) -> None:
    """An event trimmed away meanwhile is still not published twice."""
    first = scripts.append("a", key="k", max_events=1)
    scripts.append("b", max_events=1)
    assert scripts.append("a", key="k", max_events=1) == (first.position, 0, 1)
    assert [entry.split()[2] for entry in scripts.stored()] == ["b"]


# --- all or nothing ---------------------------------------------------------------------------


def test_out_of_memory_stores_nothing(hurt: Scripts) -> None:
    hurt.server.cli("CONFIG", "SET", "maxmemory", "1")
    with pytest.raises(redis.ResponseError, match="maxmemory"):
        hurt.append(key="k")
    hurt.server.cli("CONFIG", "SET", "maxmemory", "0")
    assert hurt.server.cli("DBSIZE") == 0


def test_too_few_replicas_stores_nothing(hurt: Scripts) -> None:
    hurt.server.cli("CONFIG", "SET", "min-replicas-to-write", "1")
    with pytest.raises(redis.ResponseError, match="NOREPLICAS"):
        hurt.append(key="k")
    assert hurt.server.cli("DBSIZE") == 0


def test_a_replica_stores_nothing(hurt: Scripts, redis_server: RedisServer) -> None:
    hurt.server.cli("REPLICAOF", "127.0.0.1", str(redis_server.port))
    with pytest.raises(redis.ReadOnlyError):
        hurt.append(key="k")
    hurt.server.cli("REPLICAOF", "NO", "ONE")
    assert hurt.server.cli("EXISTS", hurt.inbox) == 0


def test_a_producer_that_may_not_publish_stores_nothing(hurt: Scripts) -> None:
    """Or its event would be kept, and told as refused, and heard by nobody until the next."""
    hurt.append("before")
    hurt.server.cli("ACL", "SETUSER", "p", "on", "nopass", "+@all", "~*", "resetchannels")
    with (
        redis.Redis(port=hurt.server.port, username="p", password="x") as producer,
        pytest.raises(redis.ResponseError, match="No permissions"),
    ):
        hurt.append("refused", key="k", by=producer)
    assert [entry.split()[2] for entry in hurt.stored()] == ["before"]
    assert hurt.server.cli("EXISTS", "p:{u}:id:k") == 0


def test_an_inbox_that_is_none_is_left_alone(scripts: Scripts) -> None:
    scripts.server.cli("SET", scripts.inbox, "something else", "EX", 100)
    with pytest.raises(redis.ResponseError, match="WRONGTYPE"):
        scripts.append(key="k")
    assert scripts.server.cli("DBSIZE") == 1


@pytest.mark.parametrize(
    "garbage",
    [
        "",
        "garbage",
        "12garbage",
        "9" * 400,
        " 1 2 {}",
        f"{2**53} 2 {{}}",
        "9" * 400 + " 2 {}",
        f"{LAST + 1} 2 {{}}",
    ],
)
def test_garbage_in_an_inbox_does_not_stop_it(scripts: Scripts, garbage: str) -> None:
    """Whoever pushed it there: the next event is stored, and garbage that is first goes."""
    scripts.server.cli("RPUSH", scripts.inbox, garbage)
    first = scripts.append("a")
    assert [entry.split()[2] for entry in scripts.stored()] == ["a"]
    scripts.server.cli("RPUSH", scripts.inbox, garbage)
    scripts.pass_time(1)
    assert scripts.append("b").position == first.position + SECOND
    assert len(scripts.stored()) == 3


def test_an_event_that_nobody_would_read_is_refused(scripts: Scripts) -> None:
    """One after an entry at the end of time, which is an entry still."""
    scripts.server.cli("RPUSH", scripts.inbox, f"{LAST} 2 {{}}")
    with pytest.raises(redis.ResponseError, match="leaves no position"):
        scripts.append("new", key="k")
    assert len(scripts.stored()) == 1
    assert scripts.server.cli("EXISTS", "p:{u}:id:k") == 0
    scripts.server.cli("DEL", scripts.inbox)
    scripts.append("new", key="k")


def test_garbage_at_the_end_does_not_hide_the_last_position(scripts: Scripts) -> None:
    """Or the next event, while the clock is set back, would have one that is less."""
    last = scripts.append("a").position
    scripts.server.cli("RPUSH", scripts.inbox, "garbage", "more")
    scripts.pass_time(-600)
    assert scripts.append("b").position == last + 2
    assert scripts.stored()[-1] == f"{last + 2} {last} b"


# --- one after the other ------------------------------------------------------------------------

ALWAYS = (0, NOW + SECOND)


def test_an_event_is_not_stored_unless_the_one_before_it_is(scripts: Scripts) -> None:
    """Of several that are sent together Redis may refuse one, and take the next."""
    assert "before" in scripts.try_append("second", before="first", lease=ALWAYS)
    assert scripts.stored() == []
    assert scripts.try_append("first", lease=ALWAYS) == "stored"
    assert scripts.try_append("second", before="first", lease=ALWAYS) == "stored"
    assert scripts.try_append("second", before="first", lease=ALWAYS) == "repeated"
    assert [entry.split()[2] for entry in scripts.stored()] == ["first", "second"]


def test_an_event_that_is_stored_is_so_after_the_lease_too(scripts: Scripts) -> None:
    """Whoever tries again gets to know."""
    assert scripts.try_append("k", lease=ALWAYS) == "stored"
    scripts.pass_time(2)
    assert scripts.try_append("k", lease=ALWAYS) == "repeated"


# --- collapse -------------------------------------------------------------------------------------


def test_a_newer_event_takes_the_place_of_the_older_one_of_its_key(scripts: Scripts) -> None:
    """Of the older one position and predecessor are left, so that nobody finds a gap."""
    first = scripts.append("1 like", collapse="likes")
    scripts.append("other")
    scripts.append("1 view", collapse="views")
    scripts.append("2 likes", collapse="likes")
    entries = [entry.split(" ", 2) for entry in scripts.stored()]
    assert [event for _, _, event in entries] == ["", "other", "1 view", "2 likes"]
    assert [int(previous) for _, previous, _ in entries[1:]] == [
        int(at) for at, _, _ in entries[:-1]
    ]
    assert int(entries[0][0]) == first.position


def test_the_live_message_of_a_newer_event_says_nothing_of_the_older_one(
    scripts: Scripts, subscriber: redis.client.PubSub
) -> None:
    scripts.append("a", collapse="k")
    scripts.append("b", collapse="k")
    told = [subscriber.get_message(timeout=5)["data"].split(" ", 2)[2] for _ in range(2)]
    assert told == ["a", "b"]
    assert subscriber.get_message() is None


@given(
    keys=st.lists(st.sampled_from(["", "", "a", "b", "c"]), max_size=30),
    max_events=st.integers(1, 8),
    garbage=st.sets(st.integers(0, 29), max_size=3),
)
@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_an_inbox_has_one_event_of_each_key(
    scripts: Scripts, keys: list[str], max_events: int, garbage: set[int]
) -> None:
    """Whatever else is in it, and however much of it was trimmed."""
    scripts.server.cli("DEL", scripts.inbox, scripts.collapse)
    positions: list[int] = []
    for number, key in enumerate(keys):
        if number in garbage:
            scripts.server.cli("RPUSH", scripts.inbox, f"garbage {number}")
        text = f"{key}:{number}"
        positions.append(scripts.append(text, collapse=key, max_events=max_events).position)
    last = {key: number for number, key in enumerate(keys) if key}
    stored = [entry for entry in scripts.stored() if not entry.startswith("garbage")]
    for entry in stored:
        at, _, event = entry.split(" ", 2)
        number = positions.index(int(at))
        key = keys[number]
        assert event == ("" if key and last[key] != number else f"{key}:{number}")
    kept = scripts.collapse_keys()
    assert kept.items() <= {key: positions[number] for key, number in last.items()}.items()
    assert len(kept) <= max_events


def test_collapse_keys_are_kept_as_long_as_the_inbox(scripts: Scripts) -> None:
    scripts.append("a", collapse="a", max_events=2)
    scripts.append("b", collapse="b", max_events=2)
    scripts.append("c", collapse="c", max_events=2)
    assert set(scripts.collapse_keys()) == {"b", "c"}
    assert RETENTION - 1 <= scripts.server.cli("TTL", scripts.collapse) <= RETENTION + 1


def test_an_event_without_a_collapse_key_touches_none(scripts: Scripts) -> None:
    scripts.append("a")
    assert scripts.server.cli("EXISTS", scripts.collapse) == 0


def test_an_event_that_is_repeated_takes_nobodys_place(scripts: Scripts) -> None:
    first = scripts.append("a", key="once", collapse="k")
    newer = scripts.append("b", collapse="k")
    assert scripts.append("a", key="once", collapse="k") == (first.position, 0, 1)
    assert [entry.split(" ", 2)[2] for entry in scripts.stored()] == ["", "b"]
    assert scripts.collapse_keys() == {"k": newer.position}


def test_a_producer_that_may_not_publish_takes_nobodys_place(hurt: Scripts) -> None:
    hurt.append("old", collapse="k")
    before = hurt.stored()
    hurt.server.cli("ACL", "SETUSER", "mute", "on", "nopass", "~*", "resetchannels", "+@all")
    with (
        redis.Redis(port=hurt.server.port, username="mute", password="x") as mute,
        pytest.raises(redis.exceptions.ResponseError),
    ):
        hurt.append("new", collapse="k", by=mute)
    assert hurt.stored() == before


@pytest.mark.parametrize("right", ["zscore", "lset"])
def test_a_producer_that_may_not_collapse_stores_nothing(hurt: Scripts, right: str) -> None:
    hurt.append("old", collapse="k")
    before = hurt.stored()
    hurt.server.cli("ACL", "SETUSER", "half", "on", "nopass", "~*", "&*", "+@all", f"-{right}")
    with redis.Redis(port=hurt.server.port, username="half", password="x") as half:
        with pytest.raises(redis.exceptions.ResponseError):
            hurt.append("new", collapse="k", by=half)
        hurt.append("plain", by=half)
    assert [entry.split(" ", 2)[2] for entry in hurt.stored()] == ["old", "plain"]
    assert hurt.stored()[:1] == before
