"""Where "now" is: known before a stream begins, and asked for many at a time."""

import asyncio
from collections.abc import Sequence

from aionotify.errors import BrokerError, BrokerRefused, InboxRefused
from aionotify.events.cursor import Cursor
from aionotify.events.event import EVERYONE
from aionotify.events.group import Ordered
from aionotify.events.page import Page
from aionotify.streams.deadlines import Deadlines
from aionotify.streams.hub import Hub
from aionotify.streams.recipient import Recipient
from aionotify.streams.start_position import StartPositions
from tests.harness import eventually

NEWEST = 1000  # where every inbox ends


class Interested:
    def want(self, of: Ordered) -> None: ...
    def drop(self, of: Ordered) -> None: ...


class Inboxes:
    """Answers each question when `going` is set, and keeps what was asked."""

    def __init__(self) -> None:
        self.asked: list[list[Ordered]] = []
        self.broken: set[str] = set()
        self.refused: set[str] = set()
        self.end = NEWEST
        self.going = asyncio.Event()
        self.going.set()

    async def newest(self, of: Sequence[Ordered]) -> list[Page | Exception]:
        self.asked.append(list(of))
        await self.going.wait()
        page, errors = Page([], self.end, self.end, None), dict[Ordered, BrokerError]()
        errors |= {id: BrokerRefused("no login") for id in self.broken}
        errors |= {id: InboxRefused("no list") for id in self.refused}
        return [errors.get(id, page) for id in of]


class World:
    """A hub, its inboxes, and what is between them."""

    def __init__(self, seconds: float = 60) -> None:
        self.hub = Hub(Interested())
        self.inboxes = Inboxes()
        self.start_positions = StartPositions(self.hub, self.inboxes, Deadlines(seconds))
        self.hub.confirmed(EVERYONE)
        self.hub.everyone.set_newest(NEWEST)

    def enter(self, user: str, *, heard: bool = True) -> Recipient:
        recipient = self.hub.enter(user)
        if heard:
            self.hub.confirmed(user)
        return recipient

    def find(self, recipient: Recipient) -> asyncio.Task[Cursor]:
        return asyncio.create_task(self.start_positions.find((self.hub.everyone, recipient)))


async def test_what_is_known_is_asked_of_nobody() -> None:
    world = World()
    recipient = world.enter("u")
    recipient.set_newest(2000)
    assert await world.start_positions.find((world.hub.everyone, recipient)) == Cursor(NEWEST, 2000)
    assert world.inboxes.asked == []


async def test_those_who_come_together_are_asked_about_in_one_question() -> None:
    world = World()
    users = [f"u{number}" for number in range(100)]
    finding = [world.find(world.enter(user)) for user in users]
    assert await asyncio.gather(*finding) == [Cursor(NEWEST, NEWEST)] * 100
    assert world.inboxes.asked == [users]
    await world.start_positions.close()


async def test_those_who_come_while_a_question_is_under_way_make_up_the_next() -> None:
    world = World()
    world.inboxes.going.clear()
    first = world.find(world.enter("first"))
    await eventually(lambda: len(world.inboxes.asked) == 1)
    others = [world.find(world.enter(user)) for user in ("a", "b")]
    await asyncio.sleep(0)
    world.inboxes.going.set()
    await asyncio.gather(first, *others)
    assert world.inboxes.asked == [["first"], ["a", "b"]]
    await world.start_positions.close()


async def test_two_streams_of_one_user_need_one_answer() -> None:
    world = World()
    recipient = world.enter("u")
    assert (
        await asyncio.gather(*(world.find(recipient) for _ in range(2)))
        == [Cursor(NEWEST, NEWEST)] * 2
    )
    assert world.inboxes.asked == [["u"]]
    await world.start_positions.close()


async def test_nobody_is_asked_about_before_he_is_heard() -> None:
    """Or what is published between the answer and the subscription would be missed."""
    world = World()
    recipient = world.enter("u", heard=False)
    finding = world.find(recipient)
    await world.find(world.enter("another"))
    assert world.inboxes.asked == [["another"]]
    world.hub.confirmed("u")
    assert await finding == Cursor(NEWEST, NEWEST)
    assert world.inboxes.asked == [["another"], ["u"]]
    await world.start_positions.close()


async def test_an_answer_from_before_a_resubscription_does_not_count() -> None:
    """It is asked again, after what was heard is heard anew."""
    world = World()
    world.inboxes.going.clear()
    recipient = world.enter("u")
    finding = world.find(recipient)
    await eventually(lambda: world.inboxes.asked)
    world.hub.lost()
    world.hub.confirmed(EVERYONE)
    world.hub.confirmed("u")
    world.inboxes.going.set()
    assert await finding == Cursor(NEWEST, NEWEST)
    assert world.inboxes.asked[0] == ["u"]
    assert {id for question in world.inboxes.asked[1:] for id in question} == {EVERYONE, "u"}
    await world.start_positions.close()


async def test_everyones_inbox_is_asked_when_it_is_not_known() -> None:
    world = World()
    world.hub.everyone.set_newest(None)
    finding = [world.find(world.enter(user)) for user in ("a", "b")]
    assert await asyncio.gather(*finding) == [Cursor(NEWEST, NEWEST)] * 2
    assert sorted(id for question in world.inboxes.asked for id in question) == ["*", "a", "b"]
    await world.start_positions.close()


async def test_an_inbox_in_which_nothing_was_for_long_begins_at_what_is_settled() -> None:
    """A client that began at an event of long ago would soon be away for longer than is kept."""
    world = World()
    recipient = world.enter("u")
    recipient.set_newest(2000)
    world.hub.know("q5hr2c", 10_000_001, 20)
    assert await world.start_positions.find((world.hub.everyone, recipient)) == Cursor(
        10_000_001, 10_000_001
    )
    assert world.inboxes.asked == []


async def test_an_inbox_that_is_refused_begins_at_what_is_settled() -> None:
    """For who comes now has missed nothing in it."""
    world = World()
    world.inboxes.refused.add("bad")
    world.hub.know("q5hr2c", 501, 20)
    assert await world.find(world.enter("bad")) == Cursor(NEWEST, 501)
    await world.start_positions.close()


async def test_an_inbox_that_cannot_be_read_is_the_trouble_of_its_user() -> None:
    world = World()
    world.inboxes.broken.add("bad")
    finding = [world.find(world.enter(user)) for user in ("a", "bad", "b")]
    first, bad, last = await asyncio.gather(*finding, return_exceptions=True)
    assert first == last == Cursor(NEWEST, NEWEST)
    assert isinstance(bad, BrokerRefused)
    await world.start_positions.close()


async def test_who_has_waited_for_too_long_is_told() -> None:
    """For the subscription, and for the answer."""
    world = World(seconds=0.05)
    world.inboxes.going.clear()
    unheard, unanswered = world.enter("unheard", heard=False), world.enter("unanswered")
    failed = await asyncio.gather(
        world.find(unheard), world.find(unanswered), return_exceptions=True
    )
    assert [type(error) for error in failed] == [TimeoutError] * 2
    world.inboxes.going.set()
    await world.start_positions.close()


async def test_who_leaves_does_so_for_himself() -> None:
    world = World()
    world.inboxes.going.clear()
    recipient = world.enter("u")
    staying, leaving = world.find(recipient), world.find(recipient)
    await eventually(lambda: world.inboxes.asked)
    leaving.cancel()
    world.inboxes.going.set()
    assert await staying == Cursor(NEWEST, NEWEST)
    await world.start_positions.close()


async def test_nobody_is_left_waiting_when_the_work_is_cancelled() -> None:
    """As a loop does that ends; and whoever comes afterwards is asked about again."""
    world = World()
    world.inboxes.going.clear()
    recipient = world.enter("u")
    finding = world.find(recipient)
    await eventually(lambda: world.inboxes.asked)
    [work] = [t for t in asyncio.all_tasks() if t.get_name() == "aionotify start positions"]
    work.cancel()
    await asyncio.wait([finding])
    assert finding.cancelled()
    world.inboxes.going.set()
    assert await world.find(recipient) == Cursor(NEWEST, NEWEST)
    await world.start_positions.close()
