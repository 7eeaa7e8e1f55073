"""A producer's trace ends where its events begin: in the log, with their ids."""

import logging
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import make_mocked_request
from multidict import CIMultiDict

from aionotify import Config, Identity, create_app
from aionotify.telemetry.logs import bare
from aionotify.web.trace_context import traceparent
from tests.harness import RedisServer

KEY = "publisher-key-0123456789"
TRACE, PARENT = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
VALID = f"00-{TRACE}-{PARENT}-01"


def parsed(*given: str) -> str | None:
    headers = CIMultiDict(("traceparent", each) for each in given)
    return traceparent(make_mocked_request("POST", "/publish", headers))


@pytest.mark.parametrize(
    ("given", "taken"),
    [
        (VALID, VALID),
        (f"00-{TRACE}-{PARENT}-00", f"00-{TRACE}-{PARENT}-00"),
        (f"01-{TRACE}-{PARENT}-01", f"01-{TRACE}-{PARENT}-01"),
        (f"cc-{TRACE}-{PARENT}-01-what-the-future-will-be-like", f"cc-{TRACE}-{PARENT}-01"),
    ],
)
def test_a_valid_trace_parent_is_taken_as_far_as_it_is_known(given: str, taken: str) -> None:
    assert parsed(given) == taken


@pytest.mark.parametrize(
    "given",
    [
        "",
        "nonsense",
        f"ff-{TRACE}-{PARENT}-01",
        f"00-{TRACE}-{PARENT}-01-more",
        f"00-{TRACE}-{PARENT}-01-",
        f"cc-{TRACE}-{PARENT}-01.more",
        f"00-{TRACE}-{PARENT}-1",
        f"00-{TRACE}-{PARENT}",
        f"0-{TRACE}-{PARENT}-01",
        f"00-{'0' * 32}-{PARENT}-01",
        f"00-{TRACE}-{'0' * 16}-01",
        f"00-{TRACE.upper()}-{PARENT}-01",
        f"00-{TRACE[:-1]}-{PARENT}-01",
        f"00-{TRACE}-{PARENT}0-01",
        f"00-{TRACE[:-1]}g-{PARENT}-01",
        f"00-{TRACE[:-1]}\u0661-{PARENT}-01",
        f" {VALID}",
        f"{VALID}\n",
        f"{VALID}, {VALID}",
        "0" * 8000,
    ],
)
def test_a_trace_parent_that_is_not_valid_is_ignored(given: str) -> None:
    assert parsed(given) is None


def test_two_trace_parents_are_none() -> None:
    assert parsed() is None
    assert parsed(VALID, VALID) is None


class Nobody:
    async def authenticate(self, request: web.Request) -> Identity:
        raise NotImplementedError


@dataclass
class Node:
    """A node in this process."""

    url: str
    session: aiohttp.ClientSession

    async def publish(self, body: str, trace: str | None, query: str = "") -> Any:
        headers = {"Authorization": f"Bearer {KEY}", "X-Request-ID": "mine"}
        if trace is not None:
            headers["traceparent"] = trace
        async with self.session.post(self.url + query, data=body, headers=headers) as response:
            return await response.json()


@pytest.fixture
async def node(redis_server: RedisServer) -> AsyncIterator[Node]:
    config = {"redis": {"url": redis_server.url}, "admin": {"publish_keys": [KEY]}}
    runner = web.AppRunner(create_app(Config.from_mapping(config), Nobody()), access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    async with aiohttp.ClientSession() as session:
        yield Node(f"http://127.0.0.1:{runner.addresses[0][1]}/publish", session)
    await runner.cleanup()


def logged(caplog: pytest.LogCaptureFixture) -> list[Any]:
    records = [record for record in caplog.records if bare(record) == "events stored"]
    return [getattr(record, "fields", None) for record in records]


async def test_a_traced_request_is_logged_once_with_the_ids_of_its_events(
    node: Node, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    one = await node.publish('{"recipient_id": "42", "id": "once"}', VALID)
    assert logged(caplog) == [{"traceparent": VALID, "request": "mine", "ids": one["event_id"]}]
    both = '[{"recipient_id": "42", "id": "once"}, {"recipient_id": ["1", "2"]}]'
    repeated, new = await node.publish(both, VALID)
    assert repeated["event_id"] == one["event_id"]
    assert logged(caplog)[1:] == [{"traceparent": VALID, "request": "mine", "ids": new["event_id"]}]
    await node.publish('{"recipient_id": "42", "id": "once"}', VALID)
    assert len(logged(caplog)) == 2


@pytest.mark.parametrize(
    ("trace", "body", "query"),
    [
        (None, '{"recipient_id": "42"}', ""),
        ("nonsense", '{"recipient_id": "42"}', ""),
        (VALID, '{"recipient_id": ""}', ""),
        (VALID, "[]", ""),
        (VALID, '{"recipient_id": "42"}', "?ephemeral=true"),
    ],
)
async def test_nothing_is_logged_of_what_is_not_traced_or_not_stored(
    node: Node, caplog: pytest.LogCaptureFixture, trace: str | None, body: str, query: str
) -> None:
    caplog.set_level(logging.INFO)
    await node.publish(body, trace, query)
    assert logged(caplog) == []
