"""Positions: what is new, known, missing or out of date, in whatever order it is heard and read."""

import math
import time
from collections import deque

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aionotify.events.event import decode
from aionotify.events.page import Entry, GapReason, Page
from aionotify.events.position import (
    BACKLOG,
    LAST,
    Doubts,
    Question,
    Settling,
    Verdict,
    after_gap,
    after_loss,
    aged,
    common_end,
    doubt,
    is_found,
    is_gone,
    is_known,
    is_possible,
    is_there,
    judge_heard,
    judge_page,
    judge_read,
    latest,
    merged,
    own_guess,
    reached,
    to_read,
    unreadable,
)

EVENT = decode(b'{"recipient_id": "u"}')


def empty_page(newest: int) -> Page:
    return Page([], newest, newest, None)


PAGE = 2  # events at a time, so that most readings take several pages

STEPS = ["publish", "publish", "hear", "lose", "ask", "ask newest", "look", "answer", "resubscribe"]
FAITHFUL = [step for step in STEPS if step not in ("lose", "resubscribe")]


class Inbox:
    """One recipient's inbox, on a clock on which no two things happen at once."""

    def __init__(self) -> None:
        self.now = 1000
        self.entries: list[Entry] = []

    def tick(self) -> int:
        self.now += 10
        return self.now

    def publish(self) -> Entry:
        previous = self.entries[-1].position if self.entries else 1
        self.entries.append(Entry(self.tick(), previous, EVENT))
        return self.entries[-1]

    def page(self, after: int | None, size: int = PAGE) -> Page:
        newest = self.entries[-1].position if self.entries else self.tick() + 1
        entries = [entry for entry in self.entries if after and entry.position > after]
        upto = entries[size - 1].position if len(entries) > size else newest
        return Page(entries[:size], upto, newest, None)


class Follower:
    """Goes by the verdicts, as a hub does for the streams that are live.

    Attributes:
        taken: positions of the events that were new, in order.
        resynced: up to where readers were sent to the inbox, for what is not among `taken`.
    """

    def __init__(self) -> None:
        self.inbox = Inbox()
        self.wire: deque[Entry] = deque()
        self.asked: deque[Question] = deque()
        self.looked: deque[tuple[Question, Page]] = deque()
        self.newest: int | None = None
        self.last_heard = 0
        self.confirmations = 1
        self.taken: list[int] = []
        self.resynced = 0
        self.verdicts: set[Verdict] = set()

    def step(self, what: str) -> None:
        match what:
            case "publish":
                self.wire.append(self.inbox.publish())
            case "hear" if self.wire:
                self.hear(self.wire.popleft())
            case "lose" if self.wire:
                self.wire.popleft()
            case "ask":
                self.asked.append(Question(self.newest, self.newest, self.confirmations))
            case "ask newest":
                self.asked.append(Question(None, self.newest, self.confirmations))
            case "look" if self.asked:
                question = self.asked.popleft()
                self.looked.append((question, self.inbox.page(question.after)))
            case "answer" if self.looked:
                self.answer(*self.looked.popleft())
            case "resubscribe":
                self.wire.clear()
                self.newest, self.last_heard = None, 0
                self.confirmations += 1
        self.check()

    def hear(self, entry: Entry) -> None:
        verdict = judge_heard(self.newest, self.last_heard, entry.position, entry.previous)
        self.last_heard = entry.position
        self.act(verdict, entry.position)

    def answer(self, question: Question, page: Page) -> None:
        verdict = judge_page(self.newest, self.confirmations, question, page)
        if verdict is Verdict.NEXT:
            for each in page.entries:
                verdict = judge_read(self.newest or 0, each.position, each.previous)
                self.act(verdict, each.position)
            self.newest = latest((self.newest or 0, page.upto))
        else:
            self.act(verdict, page.newest)

    def act(self, verdict: Verdict, position: int) -> None:
        self.verdicts.add(verdict)
        if verdict is Verdict.NEXT:
            self.taken.append(position)
        elif verdict in (Verdict.GAP, Verdict.RESYNC, Verdict.START):
            self.resynced = max(self.resynced, position)
        if verdict not in (Verdict.REPEATED, Verdict.STALE):
            self.newest = position

    def check(self) -> None:
        assert self.taken == sorted(set(self.taken)), "repeated, or out of order"
        for entry in self.inbox.entries:
            if entry.position <= (self.newest or 0):
                assert entry.position in self.taken or entry.position <= self.resynced, "lost"


@given(st.lists(st.sampled_from(STEPS), max_size=60))
def test_what_is_known_was_taken_once_or_is_left_to_the_inbox(steps: list[str]) -> None:
    follower = Follower()
    for step in steps:
        follower.step(step)


@given(st.lists(st.sampled_from(FAITHFUL), max_size=60))
def test_nobody_is_sent_to_the_inbox_where_nothing_is_lost(steps: list[str]) -> None:
    follower = Follower()
    follower.newest = follower.inbox.page(None).newest
    for step in steps:
        follower.step(step)
    assert not follower.verdicts & {Verdict.GAP, Verdict.RESYNC}
    while follower.wire:
        follower.step("hear")
    assert follower.taken == [entry.position for entry in follower.inbox.entries]


@given(st.integers(1, 20), st.integers(1, 20))
def test_what_redis_has_lost_is_noticed_by_whoever_had_heard_it(kept: int, lost: int) -> None:
    follower = Follower()
    for _ in range(kept + lost):
        follower.step("publish")
        follower.step("hear")
    del follower.inbox.entries[kept:]
    for step in ("ask newest", "look", "answer"):
        follower.step(step)
    assert Verdict.RESYNC in follower.verdicts
    assert follower.newest == follower.inbox.entries[-1].position


@given(
    st.lists(st.tuples(st.booleans(), st.booleans()), min_size=4, max_size=30),
    st.tuples(st.integers(0, 4), st.integers(0, 4)),
    st.lists(st.integers(1, 4), min_size=1),
)
def test_pages_of_two_inboxes_lead_through_both_once_and_in_order(
    published: list[tuple[bool, bool]], start: tuple[int, int], sizes: list[int]
) -> None:
    """Whatever the sizes of the pages, wherever the reader begins, and at the same time or not."""
    inboxes = Inbox(), Inbox()
    for mine, at_once in published:
        other = inboxes[1 - mine].now
        inboxes[mine].now = max(inboxes[mine].now, other - 10 if at_once else other)
        inboxes[mine].publish()
    newest = [inbox.page(None).newest for inbox in inboxes]
    at = [
        inbox.entries[begin].position - 1 if begin < len(inbox.entries) else end
        for inbox, begin, end in zip(inboxes, start, newest, strict=True)
    ]
    expected = [
        entry.position
        for inbox, begin in zip(inboxes, at, strict=True)
        for entry in inbox.entries
        if entry.position > begin
    ]
    found: list[int] = []
    rounds = 0
    while not all(is_known(at[which], newest[which], 0) for which in (0, 1)):
        size = sizes[rounds % len(sizes)]
        rounds += 1
        assert rounds < 100, "it never gets there"
        pages = [
            (which, inboxes[which].page(after, size))
            for which in (0, 1)
            for after in to_read(at[which], newest[which], 0)
        ]
        end = common_end(page for _, page in pages)
        for which, entry in merged(pages, end):
            at[which] = entry.position
            found.append(entry.position)
        for which, page in pages:
            if (position := reached(page, end, newest[which])) is not None:
                at[which] = position
    assert found == sorted(expected)


@pytest.mark.parametrize(
    ("last_heard", "position", "verdict"),
    [
        (0, 100, Verdict.REPEATED),
        (96, 98, Verdict.REPEATED),
        (98, 96, Verdict.RESYNC),
        (0, 98, Verdict.REPEATED),
        (0, 100 - BACKLOG, Verdict.REPEATED),
        (0, 98 - BACKLOG, Verdict.RESYNC),
    ],
)
def test_pub_sub_may_be_behind_but_not_too_far_nor_out_of_order(
    last_heard: int, position: int, verdict: Verdict
) -> None:
    far = 10 * BACKLOG
    heard = last_heard and last_heard + far
    assert judge_heard(100 + far, heard, position + far, position + far - 2) is verdict


@given(st.integers(1, 100), st.integers(1, 100))
def test_what_is_heard_after_an_inbox_was_empty_is_new_even_when_a_clock_was_set_back(
    empty_at: int, position: int
) -> None:
    newest, position = 2 * empty_at + 1, 2 * position
    assert judge_heard(newest, 0, position, position - 1) is Verdict.NEXT
    assert judge_heard(newest, 0, position, 0) is Verdict.NEXT
    assert judge_heard(newest, 0, newest + 3, newest + 1) is Verdict.GAP


@pytest.mark.parametrize(
    ("newest", "page_newest", "verdict"),
    [
        (None, 101, Verdict.START),
        (101, 201, Verdict.START),
        (201, 101, Verdict.STALE),
        (101, 200, Verdict.STALE),
        (100, 201, Verdict.STALE),
    ],
)
def test_how_far_an_inbox_reaches_is_of_interest_while_it_is_empty_or_not_known(
    newest: int | None, page_newest: int, verdict: Verdict
) -> None:
    """What is known of events goes by the events themselves."""
    assert judge_page(newest, 1, Question(None, None, 1), empty_page(page_newest)) is verdict


@pytest.mark.parametrize(
    ("position", "previous", "verdict"),
    [
        (98, 96, Verdict.REPEATED),
        (100, 98, Verdict.REPEATED),
        (102, 100, Verdict.NEXT),
        (104, 102, Verdict.GAP),
        (104, 103, Verdict.NEXT),
    ],
)
def test_what_is_read_is_new_where_it_goes_beyond_what_is_known(
    position: int, previous: int, verdict: Verdict
) -> None:
    assert judge_read(100, position, previous) is verdict


def test_an_inbox_that_is_still_empty_has_lost_nothing_though_a_clock_was_set_back() -> None:
    assert judge_page(201, 1, Question(None, 201, 1), empty_page(101)) is Verdict.STALE
    assert judge_page(201, 1, Question(201, 201, 1), empty_page(101)) is Verdict.NEXT


def test_pages_that_are_complete_are_read_to_their_ends() -> None:
    full, cut = Page([], 200, 200, None), Page([], 100, 200, None)
    assert common_end([full, full]) == math.inf
    assert common_end([full, cut, cut._replace(upto=90)]) == 90


@pytest.mark.parametrize("after", [98, 99, 100])
def test_a_page_without_the_newest_event_is_not_for_who_has_that(after: int) -> None:
    """It is from a Redis that has lost it, and has gone on: who has it is told so first."""
    page = Page([Entry(102, 98, EVENT), Entry(104, 102, EVENT)], 104, 104, None)
    assert judge_page(100, 1, Question(after, 100, 1), page) is Verdict.RESYNC


# --- events that may be gone ----------------------------------------------------------------------

WITH = Page([Entry(100, 98, EVENT), Entry(102, 100, EVENT)], 102, 102, None)
WITHOUT = Page([Entry(102, 98, EVENT)], 102, 102, None)
BEFORE = Page([], 98, 98, None)
SHORT = Page([Entry(98, 96, EVENT)], 98, 102, None)
TRIMMED = Page([Entry(106, 104, EVENT)], 106, 106, GapReason.TRIMMED)
EXPIRED = Page([Entry(106, 103, EVENT)], 106, 106, GapReason.TRIMMED)
PASSED = Page([], 98, 98, GapReason.LOST)


@pytest.mark.parametrize(
    ("after", "page", "shown"),
    [
        (96, WITH, "there"),
        (96, WITHOUT, "gone"),
        (96, BEFORE, "gone"),
        (96, SHORT, ""),
        (96, TRIMMED, "there"),
        (96, EXPIRED, "there"),
        (100, PASSED, "gone"),
        (100, Page([], 100, 100, None), "there"),
        (102, Page([], 102, 102, None), ""),
        (99, Page([], 103, 103, None), ""),
        (None, Page([], 102, 102, None), ""),
        (None, BEFORE, "gone"),
    ],
)
def test_a_doubt_is_cleared_up_by_a_page_that_says_something_of_it(
    after: int | None, page: Page, shown: str
) -> None:
    question = Question(after, None, 1, (100,))
    assert is_gone(100, question, page) == (shown == "gone")
    if shown != "gone":
        assert is_found(100, 1, question, page) == (shown == "there")


def test_a_doubt_is_not_cleared_up_by_what_was_asked_before() -> None:
    """But for an event that names another one as the one before it: that says it for ever."""
    before = Question(96, None, 1)
    assert not is_gone(100, before, BEFORE)
    assert not is_found(100, 2, before, WITH)
    assert is_gone(100, before, WITHOUT)


def test_doubts_are_of_events_and_of_each_server_the_last_one() -> None:
    doubts: Doubts = {}
    doubt(doubts, 1, 0, None, 101)
    assert doubts == {}
    doubt(doubts, 1, 98, 100)
    doubt(doubts, 1, 96)
    assert list(doubts.values()) == [100]
    for position in (102, 2_000_000, 2_000_002, 104):
        doubt(doubts, 1, position, between=True)
    assert list(doubts.values()) == [100, 104, 2_000_002]
    for confirmations in range(2, 100):
        doubt(doubts, confirmations, 106)
    assert len(doubts) == 8


@pytest.mark.parametrize(
    ("newest", "settled", "after"),
    [(104, 0, 101), (98, 0, 99), (99, 0, 101), (98, 109, 111)],
    ids=["later ones", "nothing later", "empty", "nothing for long"],
)
def test_who_knows_of_a_loss_is_at_a_position_between_what_was_before_it_and_what_comes(
    newest: int, settled: int, after: int
) -> None:
    """Nobody who has not been told was ever there."""
    assert after_loss(100, Page([], newest, newest, None), settled) == after
    assert not is_known(newest, newest, 200, after) or newest > after
    assert is_known(after, newest, 90, after) == (newest < after)


def test_a_page_that_begins_beyond_what_is_known_says_nothing_of_what_lies_between() -> None:
    assert judge_page(100, 1, Question(102, 100, 1), empty_page(200)) is Verdict.STALE
    assert judge_page(100, 1, Question(100, 100, 1), empty_page(200)) is Verdict.NEXT


def test_an_answer_from_before_live_events_were_heard_anew_is_stale() -> None:
    assert judge_page(None, 2, Question(None, None, 1), empty_page(200)) is Verdict.STALE


def test_a_client_that_is_ahead_of_its_node_has_what_lies_between_read_as_well() -> None:
    assert to_read(100, 100, 0) == ()
    assert to_read(90, 100, 0) == (90,)
    assert to_read(110, 100, 0) == (100, 110)
    assert to_read(110, None, 0) == (110,)


def test_a_reader_at_what_is_settled_has_all_of_an_inbox_that_ends_before() -> None:
    assert is_known(201, 100, 201)
    assert is_known(151, 101, 201)
    assert to_read(151, 100, 201) == ()
    assert not is_known(203, 100, 201)
    assert not is_known(150, 100, 201), "somebody has had an event that is not known here"
    assert not is_known(151, 160, 201)
    assert not is_known(151, None, 201)


def test_the_event_that_one_had_last_is_in_another_data_set_or_not() -> None:
    assert is_there(100, Page([], 100, 100, None))
    assert not is_there(100, Page([], 100, 100, GapReason.LOST))
    assert not is_there(101, Page([], 101, 101, None)), "nothing is not there either"
    assert not is_there(0, Page([], 100, 100, None))


def test_a_reader_who_is_told_of_a_gap_is_right_before_what_there_still_is() -> None:
    assert after_gap(Page([Entry(104, 102, EVENT)], 104, 104, None)) == 102
    assert after_gap(Page([], 101, 101, None)) == 101


@pytest.mark.parametrize(
    ("after", "newest", "upto"),
    [(100, None, 101), (100, 120, 121), (130, 120, 131), (0, None, 51), (40, 30, 51)],
)
def test_an_inbox_that_cannot_be_read_counts_as_known_and_what_is_heard_next_as_new(
    after: int, newest: int | None, upto: int
) -> None:
    question, page = unreadable(Question(after, newest, 1, (after,)), 51)
    assert page == Page([], upto, upto, GapReason.LOST)
    assert not is_gone(after, question, page)
    assert judge_heard(page.newest, 0, 200, 150 if upto > 150 else upto - 1) is Verdict.NEXT


def test_in_an_empty_inbox_the_moment_counts_that_is_known() -> None:
    empty = Page([], 201, 201, None)
    assert reached(empty, 1000, 101) == 101
    assert reached(empty, 1000, None) == 201
    assert reached(Page([Entry(202, 99, EVENT)], 202, 202, None), 1000, 101) == 202
    assert reached(Page([], 200, 200, None), 1000, 100) == 200


@given(st.integers(0, LAST), st.integers(1, 366 * 86400))
def test_what_is_settled_is_odd_and_behind_the_clock_but_well_within_the_retention(
    clock: int, retention: int
) -> None:
    settled = Settling().see(0, clock, retention)
    assert settled % 2 == 1
    assert clock - settled <= min(3_000_000, retention * 100_000)
    assert aged(settled, retention) < settled


@given(st.lists(st.integers(-10, 10), min_size=4, max_size=40))
def test_what_is_settled_is_no_later_than_what_those_know_who_are_behind(steps: list[int]) -> None:
    """Whoever publishes knows what was in Redis three seconds ago, or more. It never goes back."""
    settling, known, before = Settling(), [100_000_000], 0
    for now, step in enumerate(steps):
        known.append(max(known[-1], known[-1] + step * 1_000_000))  # as the clock in Redis does
        settled = settling.see(now, known[-1], 604_800)
        assert before <= settled
        if now >= 3:
            assert settled <= known[now - 2] | 1
        before = settled


def test_without_redis_a_stream_begins_a_minute_ago() -> None:
    now = time.time()
    assert own_guess(now) % 2 == 1
    assert abs(own_guess(now) - (now - 60) * 1_000_000) < 2


def test_an_entry_is_after_the_one_before_it_and_within_what_lua_can_count() -> None:
    assert is_possible(4, 2)
    assert is_possible(LAST)
    assert not is_possible(4, 4)
    assert not is_possible(LAST + 1)
