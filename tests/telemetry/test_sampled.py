"""Warnings that repeat themselves are logged now and then, and counted in between."""

import logging

import pytest

from aionotify.telemetry.logs import bare
from aionotify.telemetry.sampled import Sampled


class Clock:
    """A clock that only goes when it is told to."""

    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr("aionotify.telemetry.sampled.time.monotonic", clock)
    return clock


def fields(caplog: pytest.LogCaptureFixture) -> list[object]:
    return [vars(record)["fields"] for record in caplog.records]


def test_a_warning_is_logged_once_in_ten_seconds_with_how_many_were_left_out(
    clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    sampled = Sampled(logging.getLogger("test"))
    for n in range(1000):
        sampled.warning("bad", {"n": n})
    clock.now += 9.9
    sampled.warning("bad", {"n": 1000})
    assert fields(caplog) == [{"n": 0}]
    clock.now += 0.2
    sampled.warning("bad", {"n": 1001})
    assert fields(caplog)[1:] == [{"n": 1001, "left_out": 1000}]
    clock.now += 11
    sampled.warning("bad", {"n": 1002})
    assert fields(caplog)[2:] == [{"n": 1002}]


def test_one_warning_does_not_hide_another(caplog: pytest.LogCaptureFixture) -> None:
    sampled = Sampled(logging.getLogger("test"))
    for message in ("bad", "worse", "bad"):
        sampled.warning(message, {})
    assert [bare(record) for record in caplog.records] == ["bad", "worse"]


def test_messages_that_are_no_constants_cost_no_memory() -> None:
    sampled = Sampled(logging.getLogger("test"))
    for n in range(10_000):
        for _ in range(2):
            sampled.warning(f"bad {n}", {})
    assert len(sampled._next) <= 100
    assert len(sampled._left_out) <= 100
