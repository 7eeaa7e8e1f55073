"""When a node is behind, it says so, and drops what is late before it is lost in Redis."""

import logging
from types import SimpleNamespace

import pytest

from aionotify.broker import overload
from aionotify.broker.overload import Overload


class At:
    """A clock that a test sets."""

    def __init__(self) -> None:
        self.now = 1000.0


@pytest.fixture
def at(monkeypatch: pytest.MonkeyPatch) -> At:
    at = At()
    monkeypatch.setattr(overload, "time", SimpleNamespace(monotonic=lambda: at.now))
    return at


def seen(load: Overload) -> tuple[bool, bool, str | None]:
    return load.behind, load.sheds, load.health.problem


SLOW = "overloaded: more is published than this node can deliver"
CUT_OFF = "overloaded: Redis has cut off this node, which was too far behind"


def test_a_burst_is_delivered_whole(at: At) -> None:
    """A node that is behind for less than two seconds is not overloaded."""
    load = Overload()
    for _ in range(2):
        for _ in range(19):
            load.taken(behind=True)
            assert seen(load) == (True, False, None)
            at.now += 0.1
        load.taken(behind=False)
        assert seen(load) == (False, False, None)


def test_what_is_late_is_dropped_until_the_node_has_caught_up(at: At) -> None:
    """And while there is more than a burst, it is late much sooner."""
    load = Overload()
    load.taken(behind=True)
    at.now += 2.1
    load.taken(behind=True)
    assert seen(load) == (True, True, SLOW)
    load.taken(behind=False)
    assert seen(load) == (False, False, SLOW)
    load.taken(behind=True)
    assert seen(load) == (True, False, SLOW)
    at.now += 0.2
    load.taken(behind=True)
    assert seen(load) == (True, True, SLOW)


def test_it_is_over_when_nothing_was_dropped_for_some_time(
    at: At, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    load = Overload()
    for _ in range(2):
        load.cut_off()
        for _ in range(9):
            at.now += 1
            load.look()
            assert seen(load) == (False, False, CUT_OFF)
    at.now += 2
    load.look()
    assert seen(load) == (False, False, None)
    load.taken(behind=True)
    at.now += 0.2
    load.taken(behind=True)
    assert seen(load) == (True, False, None)
    said = [(each.levelname, each.message) for each in caplog.records]
    assert said == [("WARNING", "overloaded"), ("INFO", "no longer overloaded")]
