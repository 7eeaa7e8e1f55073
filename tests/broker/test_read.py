"""read.lua: the next page of an inbox, and whether anything before it is gone."""

import pytest

from aionotify.events.position import LAST
from tests.broker.lua import NOW, RETENTION, SECOND, Scripts
from tests.harness import RedisServer

SETTLED = NOW - 3 * SECOND + 1
OLDEST = NOW - RETENTION * SECOND  # microseconds


@pytest.fixture
def scripts(redis_server: RedisServer) -> Scripts:
    return Scripts(redis_server)


@pytest.fixture
def three(scripts: Scripts) -> Scripts:
    """An inbox with the events 0, 1 and 2, a second apart, at NOW."""
    for number in range(3):
        scripts.now = NOW - (2 - number) * SECOND
        scripts.append(str(number))
    return scripts


def at(number: int) -> int:
    """The position of an event in `three`."""
    return NOW - (2 - number) * SECOND


# --- pages ------------------------------------------------------------------------------------


@pytest.mark.parametrize("number", [0, 1])
def test_a_page_begins_after_the_position(three: Scripts, number: int) -> None:
    page = three.read(at(number))
    assert page.events == ["0", "1", "2"][number + 1 :]
    assert page[1:] == (at(2), 1, "")


def test_after_the_newest_there_is_nothing(three: Scripts) -> None:
    assert three.read(at(2)) == ([], at(2), 1, "")


def test_a_moment_between_two_events_is_a_position_too(three: Scripts) -> None:
    """An odd one: nobody says it was an event."""
    page = three.read(at(0) + 1)
    assert (page.events, page.gap) == (["1", "2"], "")


def test_without_a_position_only_the_newest_is_told(three: Scripts) -> None:
    assert three.read(None) == ([], at(2), 1, "")


def test_a_page_says_when_there_is_more(three: Scripts) -> None:
    page = three.read(at(0) - 1, max_events=2)
    assert page.events == ["0", "1"]
    assert page[1:] == (at(2), 0, "")
    last = three.read(page.entries[-1][0], max_events=2)
    assert (last.events, last.complete) == (["2"], 1)


def test_a_page_is_bounded_in_bytes(scripts: Scripts) -> None:
    """But always has an event, however long: a reader must get on."""
    for number in range(4):
        scripts.append(str(number) * 1000)
    after = NOW - 1
    sizes = []
    while not (page := scripts.read(after, max_bytes=2500)).complete:
        sizes.append(len(page.entries))
        after = page.entries[-1][0]
    assert [*sizes, len(page.entries)] == [2, 2]
    assert len(scripts.read(NOW - 1, max_bytes=1).entries) == 1


@pytest.mark.parametrize("count", [1, 2, 3, 7, 100])
def test_every_position_of_an_inbox_is_found(scripts: Scripts, count: int) -> None:
    """Whatever its length: after each event come exactly those behind it."""
    positions = [scripts.append(str(number)).position for number in range(count)]
    for index, position in enumerate(positions):
        page = scripts.read(position)
        assert [entry[0] for entry in page.entries] == positions[index + 1 :]
        assert page.gap == ""
        assert [entry[0] for entry in scripts.read(position - 1).entries] == positions[index:]


# --- an empty inbox ---------------------------------------------------------------------------


def test_an_empty_inbox_ends_at_what_is_settled(scripts: Scripts) -> None:
    """Before every event that is still to come, whatever the clock does until then."""
    assert scripts.read(None, settled=SETTLED).newest == SETTLED
    scripts.pass_time(-3600)
    assert scripts.append(floor=NOW).position > SETTLED
    assert scripts.read(SETTLED, floor=NOW).events == ["{}"]


@pytest.mark.parametrize(
    ("after", "gap"),
    [
        (NOW - 1, ""),
        (OLDEST + 1, ""),
        (OLDEST - 1, "trimmed"),
        (OLDEST - 2, "trimmed"),
        (NOW - 2, "lost"),
        (OLDEST, "lost"),
        (NOW + 3, "lost"),
        (NOW + 4, "lost"),
        (0, "unknown"),
        (2**56 - 1, "lost"),
    ],
)
def test_an_empty_inbox_is_only_complete_for_who_saw_it_empty(
    scripts: Scripts, after: int, gap: str
) -> None:
    """Not too long ago. An event, which an even position says there was, must be there still; and
    whoever has seen a later time has seen what this Redis has lost.
    """
    assert scripts.read(after, settled=SETTLED) == ([], SETTLED, 1, gap)


def test_an_empty_inbox_is_not_complete_for_who_saw_it_before_anything_can_have_expired(
    scripts: Scripts,
) -> None:
    """What was kept for a shorter time until the retention was raised is gone since."""
    since = NOW - 10 * SECOND
    assert scripts.read(since - 1, since=since).gap == "trimmed"
    assert scripts.read(since + 1, since=since).gap == ""


# --- gaps -------------------------------------------------------------------------------------


def test_an_event_trimmed_by_count_is_told(scripts: Scripts) -> None:
    """To whoever has not had the last of it; who has goes on without a gap."""
    positions = [scripts.append(str(number), max_events=2).position for number in range(4)]
    page = scripts.read(positions[1])
    assert (page.events, page.gap) == (["2", "3"], "")
    for behind in (positions[0], positions[0] - 1, positions[1] - 1):
        page = scripts.read(behind)
        assert (page.events, page.gap) == (["2", "3"], "trimmed")


def test_an_event_trimmed_by_age_is_told(scripts: Scripts) -> None:
    positions = [scripts.append(str(number)).position for number in range(2)]
    scripts.pass_time(RETENTION + 1)
    scripts.append("new")
    assert scripts.read(positions[1]).gap == ""
    page = scripts.read(positions[0])
    assert (page.events, page.gap) == (["new"], "trimmed")


def test_an_inbox_that_expired_and_began_again_says_so(scripts: Scripts) -> None:
    """To whoever was last there before the retention; within it nobody can have missed any."""
    scripts.append("new")
    for after, gap in ((OLDEST - 2, "trimmed"), (OLDEST - 1, "trimmed"), (OLDEST + 1, "")):
        page = scripts.read(after)
        assert (page.events, page.gap) == (["new"], gap)


def test_a_lost_inbox_that_began_again_says_so(scripts: Scripts) -> None:
    """Somebody had an event that is not there: more may be gone than that one."""
    had = scripts.append("had").position
    scripts.append("missed")
    scripts.server.cli("FLUSHALL")
    scripts.pass_time(1)
    scripts.append("new")
    page = scripts.read(had)
    assert (page.events, page.gap) == (["new"], "lost")


def test_events_lost_from_the_end_are_told(three: Scripts) -> None:
    """As by a Redis that came back without its last second, before and after it goes on."""
    three.server.cli("RPOP", three.inbox)
    assert three.read(at(2)) == ([], at(1), 1, "lost")
    three.pass_time(1)
    three.append("3")
    page = three.read(at(2))
    assert (page.events, page.gap) == (["3"], "lost")


def test_a_position_nobody_can_have_gets_all_there_is(three: Scripts) -> None:
    page = three.read(0)
    assert (page.events, page.gap) == (["0", "1", "2"], "unknown")


@pytest.mark.parametrize("after", [NOW + SECOND, NOW + SECOND + 1, 2**56 - 2, 2**56 - 1])
def test_a_position_later_than_all_there_is_was_lost(three: Scripts, after: int) -> None:
    """Redis is older than what the client has seen, and has nothing that it has not seen."""
    assert three.read(after) == ([], at(2), 1, "lost")


def test_a_moment_that_only_the_floor_has_reached_is_no_gap(three: Scripts) -> None:
    """Redis' clock was set back, and somebody knows how late it has been."""
    three.pass_time(-600)
    assert three.read(NOW + 9, floor=NOW + 10) == ([], at(2), 1, "")


def test_after_a_gap_the_position_before_the_page_is_a_good_one(scripts: Scripts) -> None:
    """It goes out with the gap; who comes back with it is not told of the gap again."""
    scripts.append("first")
    for after in (0, OLDEST - 1, NOW - 2):
        page = scripts.read(after)
        assert page.gap
        before = page.entries[0][1]
        assert scripts.read(before) == page._replace(gap="")


# --- clocks -----------------------------------------------------------------------------------


def test_positions_ahead_of_the_clock_are_good_ones(three: Scripts) -> None:
    """The clock was set back: the inbox goes on where it was."""
    three.pass_time(-600)
    three.append("3")
    assert three.read(at(1)).events == ["2", "3"]
    assert three.read(at(1)).gap == ""
    assert three.read(at(2) + 2) == ([], at(2) + 2, 1, "")


def test_a_moment_right_after_the_last_event_is_no_gap(three: Scripts) -> None:
    """There is who was told of a loss after it; its position may be ahead of every clock."""
    three.pass_time(-600)
    assert three.read(at(2) + 1) == ([], at(2), 1, "")
    assert three.read(at(2) + 3) == ([], at(2), 1, "lost")


def test_an_inbox_lost_while_the_clock_was_set_back_is_told(scripts: Scripts) -> None:
    had = scripts.append().position
    scripts.server.cli("FLUSHALL")
    scripts.pass_time(-600)
    assert scripts.read(had).gap == "lost"
    scripts.append("new", floor=NOW + SECOND)
    page = scripts.read(had)
    assert (page.events, page.gap) == (["new"], "lost")


# --- what somebody else left there ------------------------------------------------------------


def test_garbage_does_not_hide_the_events_around_it(three: Scripts) -> None:
    """It is handed over as it is, for who reads to skip."""
    three.server.cli("LINSERT", three.inbox, "AFTER", three.stored()[1], "some junk here")
    assert three.read(at(0) - 1).events == ["0", "1", "some junk here", "2"]


def test_an_entry_later_than_any_event_is_garbage(three: Scripts) -> None:
    three.server.cli("RPUSH", three.inbox, f"{LAST + 1} {at(2)} {{}}")
    page = three.read(at(1))
    assert (page.newest, page.events[0], page.gap) == (at(2), "2", "")
    three.append("new")
    assert three.read(page.newest).events[-1] == "new"


@pytest.mark.parametrize("garbage", [["x" * 70000], ["hello"] * 101])
def test_garbage_at_the_head_is_passed_over(three: Scripts, garbage: list[str]) -> None:
    """In one page, which leads on: whoever comes back with its end is told of no gap again."""
    three.server.cli("LPUSH", three.inbox, *garbage)
    page = three.read(0, max_events=3)
    assert (page.events, page.newest, page.gap) == (["0", "1", "2"], at(2), "unknown")
    assert three.read(at(0) - 1).events == ["0", "1", "2"]
    assert three.read(at(0) - 1).gap == ""


def test_garbage_at_the_head_hides_no_gap(scripts: Scripts) -> None:
    """Whether something is gone is said by the first event that there is."""
    positions = [scripts.append(str(number), max_events=2).position for number in range(4)]
    scripts.server.cli("LPUSH", scripts.inbox, "garbage")
    assert scripts.read(positions[1]).gap == ""
    assert scripts.read(positions[0]).gap == "trimmed"
    assert scripts.read(positions[1] - 1).gap == "trimmed"
    scripts.server.cli("LPOP", scripts.inbox, 2)
    scripts.server.cli("LPUSH", scripts.inbox, "garbage")
    assert scripts.read(positions[2] - 1).gap == "trimmed"


def test_an_inbox_of_nothing_but_garbage_is_empty(scripts: Scripts) -> None:
    scripts.server.cli("RPUSH", scripts.inbox, "garbage", "more")
    assert scripts.read(None, settled=SETTLED).newest == SETTLED
    assert scripts.read(NOW - 1, settled=SETTLED) == ([], SETTLED, 1, "")
    scripts.append("event")
    assert scripts.read(NOW - 1).events == ["event"]


# --- entries without an event -----------------------------------------------------------------


def test_a_cursor_at_an_event_that_was_taken_out_is_no_gap(three: Scripts) -> None:
    """Nor is one before it: its place and its position are still there."""
    assert three.recall(at(1))
    assert three.recall(at(2))
    for number in range(3):
        page = three.read(at(number))
        assert (page.gap, page.newest, page.complete) == ("", at(2), 1)
        assert [position for position, _, _ in page.entries] == [
            at(n) for n in range(number + 1, 3)
        ]
        assert set(page.events) <= {""}


def test_an_event_that_was_taken_out_is_trimmed_as_others_are(scripts: Scripts) -> None:
    positions = [scripts.append(str(number)).position for number in range(3)]
    assert scripts.recall(positions[0])
    assert scripts.recall(positions[1])
    scripts.append("3", max_events=2)
    assert scripts.read(positions[1]).gap == ""
    assert scripts.read(positions[0]).gap == "trimmed"
    assert scripts.read(positions[0]).events == ["2", "3"]
