"""Publishers that record: what they have in common with real ones."""

import inspect
from typing import Any

import pytest

from aionotify import (
    BrokerUnavailable,
    InvalidEvent,
    PartlyPublished,
    Published,
    Publisher,
    SyncPublisher,
)
from aionotify.testing import FakePublisher, FakeSyncPublisher
from tests.harness import RedisServer

EVENTS: list[Any] = [
    {"recipient_id": "42", "data": {"order": 7}},
    {"recipient_id": 42, "id": "k"},
    '{"recipient_id": "42", "id": "k"}',
    {"recipient_id": ["a", "42", "a"], "id": "k"},
    {"recipient_id": "*"},
    {"group_id": "team:7"},
    {"recipient_id": "42", "group_id": ["team:7", "team:8"], "id": "k"},
    {"recipient_id": "*", "group_id": "team:7"},
    {"data": 1},
    b"nonsense",
    {"recipient_id": "u", "data": "x" * 300},
    {"recipient_id": "42", "aionotify": {"expires_in": 5, "collapse": "k"}},
    {"recipient_id": "42", "aionotify": {"expires": 5}},
]


def outcome(result: Any) -> Any:
    """All that does not differ from one time to the next."""
    if not isinstance(result, Published):
        return type(result), str(result)
    each = {id: outcome(one) for id, one in {**result.recipients, **result.groups}.items()}
    return result.online, result.repeated, each, len(result.event_id)


async def test_a_fake_says_what_a_real_publisher_would(redis_server: RedisServer) -> None:
    """Of good events, bad ones and those that came before."""
    async with (
        Publisher(redis_server.url, max_bytes=256) as real,
        FakePublisher(max_bytes=256) as fake,
    ):
        expected = [outcome(result) for result in await real.publish_many(EVENTS)]
        assert [outcome(result) for result in await fake.publish_many(EVENTS)] == expected
    sync = FakeSyncPublisher.from_url(redis_server.url, max_bytes=256)
    assert [outcome(result) for result in sync.publish_many(EVENTS)] == expected
    assert (
        sync.published
        == fake.published
        == [
            {"recipient_id": "42", "data": {"order": 7}},
            {"recipient_id": 42, "id": "k"},
            {"recipient_id": "a", "id": "k"},
            {"recipient_id": "*"},
            {"group_id": "team:7"},
            {"group_id": "team:7", "id": "k"},
            {"group_id": "team:8", "id": "k"},
            {"recipient_id": "42", "aionotify": {"expires_in": 5, "collapse": "k"}},
        ]
    )


async def test_a_fake_recalls_what_a_real_publisher_would(redis_server: RedisServer) -> None:
    """What was published and is still in its inbox, once."""

    async def recalled(publisher: Publisher) -> list[bool]:
        collapsing = {"recipient_id": "42", "aionotify": {"collapse": "k"}}
        events: list[Any] = [{"recipient_id": "42"}, {"recipient_id": "*"}, collapsing, collapsing]
        ids = [
            result.event_id
            for result in await publisher.publish_many(events)
            if isinstance(result, Published)
        ]
        own, for_all, older, newer = ids
        asked: list[tuple[str, str | int]] = [
            (own, "42"),
            (own, 42),
            (for_all, "*"),
            (for_all, "*"),
            (older, "42"),
        ]
        found = [await publisher.recall(*each) for each in [*asked, (newer, "42")]]
        for event_id, recipient_id in ((own, "7"), (own, "*"), ("nonsense", "42"), (for_all, "42")):
            with pytest.raises(InvalidEvent):
                await publisher.recall(event_id, recipient_id)
        return found

    async with Publisher(redis_server.url) as real, FakePublisher() as fake:
        assert await recalled(real) == [True, False, True, False, False, True]
        assert await recalled(fake) == [True, False, True, False, False, True]
        assert len(fake.recalled) == 3
        fake.error = BrokerUnavailable("gone")
        with pytest.raises(BrokerUnavailable):
            await fake.recall("all.00000000000002")
    with FakeSyncPublisher() as sync:
        event_id = sync.publish({"recipient_id": "*"}).event_id
        assert (sync.recall(event_id), sync.recall(event_id)) == (True, False)
    assert sync.recalled == [event_id]


async def test_a_fake_says_of_ephemeral_events_what_a_real_publisher_would(
    redis_server: RedisServer,
) -> None:
    async with Publisher(redis_server.url) as real, FakePublisher() as fake:
        expected = [outcome(each) for each in await real.publish_many(EVENTS, ephemeral=True)]
        found = [outcome(each) for each in await fake.publish_many(EVENTS, ephemeral=True)]
        assert found == expected
        fake.error = BrokerUnavailable("gone")
        with pytest.raises(BrokerUnavailable):
            await fake.publish({"recipient_id": "42"}, ephemeral=True)


def test_a_fake_fails_as_it_is_told_and_when_it_was_closed() -> None:
    publisher = FakeSyncPublisher()
    publisher.error = PartlyPublished({})
    with pytest.raises(PartlyPublished):
        publisher.publish({"recipient_id": "42"})
    with pytest.raises(InvalidEvent):
        publisher.publish({})
    publisher.error = None
    publisher.publish({"recipient_id": "42"})
    publisher.close()
    with pytest.raises(BrokerUnavailable):
        publisher.publish({"recipient_id": "42"})
    assert len(publisher.published) == 1


async def test_a_fake_that_was_closed_publishes_nothing() -> None:
    async with FakePublisher() as publisher:
        await publisher.publish({"recipient_id": "42"})
    with pytest.raises(BrokerUnavailable):
        await publisher.publish({"recipient_id": "42"})


@pytest.mark.parametrize(
    ("fake", "real"), [(FakePublisher, Publisher), (FakeSyncPublisher, SyncPublisher)]
)
def test_a_fake_takes_the_place_of_a_real_publisher(fake: type, real: type) -> None:
    """It is one, and every method has the same parameters."""
    assert issubclass(fake, real)
    for name, method in inspect.getmembers(real, inspect.isroutine):
        if not name.startswith("_"):
            assert inspect.signature(getattr(fake, name)) == inspect.signature(method)
