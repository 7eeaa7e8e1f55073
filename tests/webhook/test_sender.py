"""What is posted to a webhook can be told to be ours, and goes nowhere it was not meant to."""

import base64
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from aionotify.webhook.sender import NotDelivered, WebhookSender, signature
from tests.docs.snippets import snippet
from tests.harness import free_port
from tests.webhook.receiver import Receiver, receiving

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"  # of the examples in Standard Webhooks
LOOPBACK = ("127.0.0.0/8",)


@asynccontextmanager
async def sender(**options: Any) -> AsyncIterator[WebhookSender]:
    settings = {"timeout": 5, "allow": LOOPBACK, "allow_http": True, **options}
    made = WebhookSender(secret=SECRET, **settings)
    try:
        yield made
    finally:
        await made.close()


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    async with receiving() as receiver:
        yield receiver


def test_the_signature_is_that_of_standard_webhooks() -> None:
    """As its own libraries have it in their tests."""
    key = base64.b64decode(SECRET.removeprefix("whsec_"))
    body = b'{"test": 2432232314}'
    expected = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="
    assert signature(key, "msg_p5jXN8AQM9LWM0D4loKWxJek", "1614265330", body) == expected


async def test_what_is_posted_is_signed_as_the_docs_show(receiver: Receiver) -> None:
    verify: dict[str, Any] = {}
    exec(snippet("docs/presence.rst", "def is_ours"), verify)
    async with sender() as to:
        await to.post(receiver.url, "one", b'{"events":[]}')
    [(headers, body)] = receiver.requests
    assert (headers["webhook-id"], body) == ("one", b'{"events":[]}')
    assert headers["content-type"] == "application/json"
    assert abs(int(headers["webhook-timestamp"]) - time.time()) < 30
    assert verify["is_ours"](SECRET, headers, body)
    assert not verify["is_ours"](SECRET, headers, body + b" ")
    assert not verify["is_ours"](SECRET, {**headers, "webhook-id": "two"}, body)
    late = {**headers, "webhook-timestamp": str(int(headers["webhook-timestamp"]) - 600)}
    assert not verify["is_ours"](SECRET, late, body)


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (500, "it answered 500"),
        (404, "it answered 404"),
        ((301, "http://127.0.0.1/"), r"it redirects \(301\), which is not followed"),
        ((308, "http://169.254.169.254/latest/meta-data/"), r"it redirects \(308\)"),
        (None, "it did not answer in time"),
    ],
)
async def test_what_is_not_taken_is_told_with_the_reason(
    receiver: Receiver, answer: int | tuple[int, str] | None, reason: str
) -> None:
    """A redirect is not followed, wherever it leads."""
    receiver.answers = [answer]
    async with sender(timeout=1) as to:
        with pytest.raises(NotDelivered, match=f"^{reason}"):
            await to.post(receiver.url, "one", b"{}")
        assert len(receiver.requests) == 1
        await to.post(receiver.url, "one", b"{}")


async def test_an_inner_address_is_refused_whatever_it_is_called(receiver: Receiver) -> None:
    """Nothing is connected to: neither by a name that resolves to it, nor as it is written."""
    _, _, port = receiver.url.removesuffix("/hook").split(":")
    async with sender(allow=()) as to:
        for host in ("localhost", "127.0.0.1", "[::ffff:127.0.0.1]", "[::1]", "0.0.0.0"):
            with pytest.raises(NotDelivered, match="no public address"):
                await to.post(f"http://{host}:{port}", "one", b"{}")
        for host in ("127.1", "2130706433", "0x7f.1", "0177.0.0.1", "0"):
            with pytest.raises(NotDelivered):  # before or when it is resolved, by the event loop
                await to.post(f"http://{host}:{port}", "one", b"{}")
    assert receiver.requests == []
    async with sender() as to:
        await to.post(f"http://localhost:{port}", "one", b"{}")
    assert len(receiver.requests) == 1


async def test_without_https_nothing_is_posted_unless_that_is_allowed(receiver: Receiver) -> None:
    async with sender(allow_http=False) as to:
        with pytest.raises(NotDelivered, match="https://"):
            await to.post(receiver.url, "one", b"{}")
    assert receiver.requests == []


async def test_a_webhook_that_is_not_there_is_told_in_the_systems_words() -> None:
    async with sender() as to:
        with pytest.raises(NotDelivered, match=r"^Connection refused$"):
            await to.post(f"http://127.0.0.1:{free_port()}", "one", b"{}")
