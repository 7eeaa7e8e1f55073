"""What connections log: faults of clients seldom and without a quote, all else in full."""

import logging
from functools import partial

import pytest
from aiohttp import web
from aiohttp.http import HttpProcessingError

from aionotify.process.http_log import ConnectionLog

SECRET = "Bearer very-secret"


@pytest.mark.parametrize(
    "error", [HttpProcessingError(code=400, message=SECRET), web.RequestPayloadError(SECRET)]
)
def test_a_malformed_request_is_logged_now_and_then_and_not_quoted(
    caplog: pytest.LogCaptureFixture, error: Exception
) -> None:
    counted: list[None] = []
    log = ConnectionLog(partial(counted.append, None))
    with caplog.at_level(logging.DEBUG):
        for _ in range(100):
            log.error("Error handling request from %s", "203.0.113.1", exc_info=error)
            log.debug("Error handling request from %s", "203.0.113.1", exc_info=error)
    assert len(counted) == 200
    (record,) = caplog.records
    assert (record.levelname, record.exc_info) == ("WARNING", None)
    assert SECRET not in repr(record.__dict__)


def test_a_failure_of_ours_is_logged_with_its_traceback(caplog: pytest.LogCaptureFixture) -> None:
    log, error = ConnectionLog(pytest.fail), ValueError("a bug")
    for _ in range(2):
        log.error("Unhandled exception", exc_info=error)
    assert [record.levelname for record in caplog.records] == ["ERROR", "ERROR"]
    assert all(record.exc_info and record.exc_info[1] is error for record in caplog.records)
