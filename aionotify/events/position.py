"""Positions in inboxes: every rule by which one is compared with another.

A position is a number of microseconds since the epoch. It says how much of an inbox somebody knows:
all that was stored up to there.

*Even* is the position of an event. *Odd* is a time up to which everything is stored, and at which
the inbox held nothing more than was known; no event ever has it. As the `previous` of an event it
says that nothing within the retention was before it. *0* is nowhere: nobody was ever given it.
*None* is not known.

The positions of an inbox grow, even when Redis' clock is set back, and when the inbox has expired:
they go by a clock that never does (broker/data_set.py). What is *settled* is behind that clock, by
more than anybody who publishes can be: whatever is stored from now on has a later position.

Each event names the one before it, its `previous`: nothing was ever stored between the two. An
event follows on from what is known when its `previous` is not beyond that, or is odd.

Of each inbox a node knows the `newest` position, from what it hears and from what it reads:

- Pub/sub publishes in order and at once, but may lose events, and may be behind what is read. What
  was read is known when it is heard: it is *repeated*. What does not follow on shows a *gap*. What
  is before something that was heard earlier, or further behind than pub/sub can be, shows that
  `newest` is no event, or is gone since: *resync*, for the inbox knows.
- A page is the answer to a question that was put earlier. It is *stale* when live events began to
  be heard since, for those before may be missing in it, and when it begins beyond what is known
  here. An event that was known when the question was put is in the answer, or Redis has lost it,
  and each has to read from where it is. A page is complete when it reaches the newest event.

What is known to be stored is in *doubt* from when the server may have become another one, until a
page shows it, or shows that it is *gone*. Then a position right after what was before it (or, where
later events are there already, right after it) separates who is to be told from who has been.

A stream reads two inboxes, and merges them in the order of positions. Where one page ends before
its inbox does, what the other has beyond that waits for the next reading.

broker/append.lua gives positions and broker/read.lua finds the page after one, by these rules. The
hub and its streams act on the verdicts below. Nobody else compares positions.
"""

import enum
import math
from collections import deque
from collections.abc import Iterable, Sequence
from typing import Final, NamedTuple, TypeGuard, TypeVar

from aionotify.events.page import Entry, GapReason, Page

NOWHERE: Final = 0
BEGINNING: Final = 1  # before every event that there ever was
LAST: Final = 9 * 10**15 - 1  # the year 2255; from 2^53 on, Lua's numbers have gaps
# Microseconds by which pub/sub may be behind what is read: seconds are a lot.
BACKLOG: Final = 60_000_000
# Seconds from when somebody learns the time to when an event is stored by that: a second until it
# is learned again, and two for which Redis may be silent.
_IN_FLIGHT: Final = 3.0
_SKEW: Final = 60.0  # seconds
_DOUBTS: Final = 8  # events of an inbox; one is cleared up by whoever reads next
FRESH_PARTS: Final = 4  # of the retention: what clients have is no older than one

R = TypeVar("R")


class Verdict(enum.Enum):
    """What an event, or a page, is to somebody who knows an inbox up to `newest`."""

    NEXT = enum.auto()
    """It follows on: its events are new, and none is missing."""
    REPEATED = enum.auto()
    """It is known."""
    GAP = enum.auto()
    """It is new, but so are others before it, which are in the inbox."""
    RESYNC = enum.auto()
    """It contradicts what is known: the inbox has to be read from where each reader is."""
    START = enum.auto()
    """It is where to go on from: nothing was known, or only that the inbox was empty before."""
    STALE = enum.auto()
    """It says nothing about what is known now."""


class Question(NamedTuple):
    """What is asked of an inbox, and what was known then.

    Attributes:
        after: the position whose next page is wanted, or None when only the newest is.
        newest: the newest that was known.
        confirmations: how often live events had begun to be heard.
        stored: the positions of events that were known to be stored, and may be gone since.
    """

    after: int | None
    newest: int | None
    confirmations: int
    stored: tuple[int, ...] = ()


def margin(retention: float) -> int:
    """Return the microseconds by which what is settled is behind the clock.

    Args:
        retention: seconds; where that is short, so is the time for which a client can be away.
    """
    return int(min(_IN_FLIGHT, retention / 10) * 1_000_000)


class Settling:
    """What is settled, by the times that are seen in Redis.

    Attributes:
        position: up to there everything is stored; never goes back. 0 while nothing was seen.
    """

    def __init__(self) -> None:
        self.position = NOWHERE
        self._seen: deque[tuple[float, int]] = deque()

    def see(self, now: float, clock: int, retention: float) -> int:
        """Take note of the clock in Redis, and return what is settled.

        A time that was never seen before is not one by which others publish already: a clock may be
        wrong for a moment. So it counts when it was seen for as long as they may be behind.

        Args:
            now: seconds, on a clock that is never set.
        """
        behind = margin(retention)
        self._seen.append((now, clock))
        while len(self._seen) > 1 and self._seen[1][0] <= now - behind / 1_000_000:
            self._seen.popleft()
        first, known = self._seen[0]
        if first > now - behind / 1_000_000:
            known -= behind
        settled = max(NOWHERE, min(known, clock - behind)) | 1
        self.position = max(self.position, settled)
        return self.position

    def forget(self) -> None:
        """Begin to see anew: it may be another clock."""
        self._seen.clear()


def own_guess(seconds: float) -> int:
    """Return where a stream begins that opens before Redis was ever heard: by a clock of our own,
    which may be wrong by less than a minute.
    """
    return int((seconds - _SKEW) * 1_000_000) | 1


def aged(settled: int, retention: float) -> int:
    """Return the position before which one is too old to be given to a client: it might come back
    with it when that is older than the retention. What is settled is as good then.
    """
    return settled - int(retention * 1_000_000 / FRESH_PARTS)


def is_possible(position: int, previous: int = NOWHERE) -> bool:
    """Whether an entry in an inbox can have these."""
    return previous < position <= LAST


def is_event(position: int | None) -> TypeGuard[int]:
    """Whether it is known, and that of an event."""
    return position is not None and position != NOWHERE and not position & 1


def before(position: int) -> int:
    """The position right before that of an event: all was stored up to there, but not the event."""
    return position - 1


def latest(positions: Iterable[int]) -> int:
    """The one that says most."""
    return max(positions)


# --- what is heard and read, against what is known ------------------------------------------------


def judge_heard(newest: int | None, last_heard: int, position: int, previous: int) -> Verdict:
    """NEXT, REPEATED, GAP, RESYNC, or START for an event that is heard.

    Args:
        last_heard: the position that was heard before it, or 0.
    """
    if newest is None:
        return Verdict.START
    if position > newest or newest & 1:
        return Verdict.GAP if previous > newest and not previous & 1 else Verdict.NEXT
    if position < newest and (position < last_heard or newest - position > BACKLOG):
        return Verdict.RESYNC
    return Verdict.REPEATED


def judge_read(newest: int, position: int, previous: int) -> Verdict:
    """NEXT, REPEATED or GAP for an event on a page that is NEXT.

    One that is not beyond `newest` is of use only to the stream that asked, which is behind.
    """
    if position <= newest:
        return Verdict.REPEATED
    return Verdict.GAP if previous > newest and not previous & 1 else Verdict.NEXT


def judge_page(newest: int | None, confirmations: int, question: Question, page: Page) -> Verdict:
    """NEXT, RESYNC, START or STALE for the answer to a question.

    Args:
        newest, confirmations: as they are now.
        page: the answer.
    """
    if question.confirmations != confirmations:
        return Verdict.STALE
    if newest is None:
        return Verdict.START
    after, known = question.after, question.newest
    if known is not None and not known & 1 and page.newest < known:
        return Verdict.RESYNC
    if after is None:
        still_empty = newest & 1 and page.newest & 1
        return Verdict.START if still_empty and page.newest > newest else Verdict.STALE
    if after > newest:
        return Verdict.STALE
    # Who has an event that is gone finds out for himself, before he is given what came later.
    return Verdict.RESYNC if _is_denied(newest, page) else Verdict.NEXT


def _is_denied(position: int, page: Page) -> bool:
    """Whether a page shows that an event is gone: it was between one and its predecessor."""
    if not is_event(position):
        return False
    if position in page.denied:
        return True
    entries = page.entries
    if not entries or not entries[0].previous < position < entries[-1].position:
        return False
    return any(entry.previous < position < entry.position for entry in entries)


# --- catching up ----------------------------------------------------------------------------------


def is_known(at: int, newest: int | None, settled: int, gone: int = NOWHERE) -> bool:
    """Whether a reader who is `at` has all of an inbox that is known to end at `newest`.

    Args:
        gone: the position from which on he knows of what was lost there, see `after_loss`.
    """
    if newest is None or at < gone:
        return False
    return at == newest or (at & 1 == 1 and newest < at <= latest((settled, gone)))


def to_read(at: int, newest: int | None, settled: int, gone: int = NOWHERE) -> tuple[int, ...]:
    """After which positions an inbox is to be read for a stream that is `at`; the last is its own.

    A client may come from a node that has heard more than this one. What lies between is then read
    too, for the streams that are live here.
    """
    if is_known(at, newest, settled, gone):
        return ()
    return (newest, at) if newest is not None and newest < at else (at,)


def heard_part(page: Page, after: int, newest: int | None) -> Page:
    """What of a shard's page was heard, up to `newest`.

    The rest is left to be heard, for a page of some groups says nothing to the streams of others.
    But who comes from a node that has heard more stays where he is, unless that is gone.
    """
    if newest is None or page.newest <= newest:
        return page
    entries = [entry for entry in page.entries if entry.position <= newest]
    upto = newest if page.gap is not None else latest((newest, after))
    return Page(entries, min(page.upto, upto), upto, page.gap, page.denied)


def last_event(at: int) -> int:
    """Return the position of the event that a reader who is `at` had last, if it had one just
    there; it may have been told of a loss after it.
    """
    return at & ~1


def is_there(position: int, page: Page) -> bool:
    """Whether a position from another data set is that of an event here, which has this page."""
    return position != NOWHERE and not position & 1 and page.gap is None


def is_complete(page: Page) -> bool:
    """Whether there is nothing more to read."""
    return page.upto >= page.newest


def common_end(pages: Iterable[Page]) -> float:
    """How far several pages together reach: beyond that, one of them may have more to come."""
    return min((page.upto for page in pages if not is_complete(page)), default=math.inf)


def merged(pages: Sequence[tuple[R, Page]], end: float) -> list[tuple[R, Entry]]:
    """The entries up to `end` in the order of their positions, each with whose page it is on."""
    entries = [(whose, entry) for whose, page in pages for entry in page.entries]
    entries.sort(key=lambda each: each[1].position)
    return [each for each in entries if each[1].position <= end]


def after_gap(page: Page) -> int:
    """Where the reader of a page is, once told that something is gone before its first entry."""
    return page.entries[0].previous if page.entries else page.upto


Doubts = dict[tuple[int, int], int]
"""Positions of events, by when they became known."""


def doubt(
    doubts: Doubts, confirmations: int, *positions: int | None, between: bool = False
) -> None:
    """Note that the last of these positions, if it is that of an event, may be gone.

    What Redis loses is what came last. So of all that one server has said the last says most, and
    only what different ones may have said is kept apart.

    Args:
        confirmations: how often live events had begun to be heard when these became known.
        between: whether that was after they had ceased to be. Then one server may have said it or
            the next one, which is ahead; so it is kept apart by seconds.
    """
    last = latest(position if is_event(position) else NOWHERE for position in positions)
    if last == NOWHERE:
        return
    known = confirmations, last // 1_000_000 if between else -1
    doubts[known] = latest((last, doubts.get(known, NOWHERE)))
    while len(doubts) > _DOUBTS:
        del doubts[min(doubts)]


def is_gone(position: int, question: Question, page: Page) -> bool:
    """Whether a page shows that an event is gone.

    One that a page has no room for is, whenever it was asked for. One that the inbox does not
    reach, or does not have, is if it was known to be stored when the question was put.
    """
    absent = page.newest < position or (question.after == position and page.gap is GapReason.LOST)
    return (absent and position in question.stored) or _is_denied(position, page)


def is_found(position: int, confirmations: int, question: Question, page: Page) -> bool:
    """Whether a page that does not show that an event is gone shows that it is there.

    That counts if it was read where live events have been heard since; an inbox that is empty shows
    nothing.
    """
    return (
        question.confirmations == confirmations
        and question.after is not None
        and question.after <= position <= page.upto
        and is_event(page.newest)
    )


def after_loss(lost: int, page: Page, settled: int) -> int:
    """Return the position at which those are who know that an event is gone.

    Whoever has not come to it was before the loss, and all that is stored from now on, or was
    after it, is beyond. Nothing between is there.

    Args:
        page: the one that shows it.
        settled: what an inbox is settled up to in which there was nothing for long, or 0.
    """
    return lost | 1 if page.newest > lost else latest((page.newest, settled)) + 1 | 1


def unreadable(question: Question, settled: int) -> tuple[Question, Page]:
    """What is said in place of a page of an inbox that cannot be read: that events may be gone.

    What its reader knows, or anybody here, counts as known, and all that is heard next as new. It
    shows of no event that it is gone.
    """
    upto = latest((question.after or NOWHERE, question.newest or NOWHERE, settled)) | 1
    knows_nothing = Question(question.after, question.newest, question.confirmations)
    return knows_nothing, Page([], upto, upto, GapReason.LOST)


def reached(page: Page, end: float, newest: int | None) -> int | None:
    """Where the reader is of a page of which all up to `end` was read.

    None: at the last entry that was. In an empty inbox one moment is as good as another: it is the
    one that is known, `newest`.
    """
    if page.upto > end:
        return None
    if newest is not None and newest & 1 and page.newest & 1:
        return newest
    return page.upto


# --- lists ----------------------------------------------------------------------------------------


class Place(NamedTuple):
    """A place in the list of several inboxes, in which events are in the order of their places.

    Attributes:
        mark: of the inbox that it is in; events of several inboxes may have the same position.
    """

    position: int
    mark: str


def bound_before(place: Place, mark: str) -> int:
    """Before which position the events of an inbox are that are listed before `place`."""
    return place.position + (1 if mark < place.mark else 0)


def bound_after(place: Place, mark: str) -> int:
    """After which position the events of an inbox are that are listed after `place`."""
    return place.position - (1 if mark > place.mark else 0)


def place_to_go_on(place: Place, mark: str) -> int:
    """Where a stream is in an inbox of which all events up to `place` are listed, and no others."""
    return place.position if mark == place.mark else bound_after(place, mark) | 1
