"""What is in order or not: the log is told when that changes."""

import logging

import pytest

from aionotify.telemetry.health_check import HealthCheck
from aionotify.telemetry.logs import bare


def test_a_condition_is_told_when_it_changes(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    condition = HealthCheck(logging.getLogger("test"), wrong="it burns", right="it burns no more")
    for problem in (None, "fire", "more fire", None, None):
        condition.found(problem)
        assert condition.problem == problem
    told = [(record.levelname, bare(record)) for record in caplog.records]
    assert told == [("WARNING", "it burns"), ("INFO", "it burns no more")]
    assert vars(caplog.records[0])["fields"] == {"reason": "fire"}
