"""Where it goes what is heard from Redis, and what a node gets to know that starts later."""

import math
from collections.abc import Callable, Iterable

import msgspec
import pytest

from aionotify.auth import Identity, InvalidToken
from aionotify.auth.main_host.authenticator import MainHostAuthenticator
from aionotify.auth.ticket_authenticator import TicketAuthenticator
from aionotify.auth.tickets import Grant, Tickets
from aionotify.auth.vouched import Message, Vouched, seal
from aionotify.broker.control import Control, ControlChannel
from aionotify.broker_events import BrokerEvents
from aionotify.config import MainHostConfig
from aionotify.errors import BrokerUnavailable
from aionotify.streams.hub import Hub
from tests.auth.helpers import bearer, make_request
from tests.streams.test_hub import Wanted, attach

SOURCE = bytes(16)
ALICE = bearer("alice-token")


class Log(ControlChannel):
    """What was said before; `meanwhile` is heard before it has been read."""

    def __init__(self, *logged: tuple[float, Control | bytes]) -> None:
        self.messages = logged
        self.meanwhile: Callable[[], None] = lambda: None

    async def logged(self) -> list[tuple[float, bytes]]:
        self.meanwhile()
        return [
            (age, each if isinstance(each, bytes) else msgspec.json.encode(each))
            for age, each in self.messages
        ]


class NoLog(ControlChannel):
    """Cannot be read."""

    def __init__(self) -> None: ...

    async def logged(self) -> list[tuple[float, bytes]]:
        raise BrokerUnavailable("it is gone")


class Node:
    """What hears, and who is told."""

    def __init__(self) -> None:
        self.known = MainHostAuthenticator(MainHostConfig(url="http://127.0.0.1:9"))
        self.shelf: dict[str, bytes] = {}
        self.tickets = Tickets(self, 30)
        self.entrance = TicketAuthenticator(self.known, self.tickets)
        self.hub = Hub(Wanted())
        self.heard = BrokerEvents(self.hub, self.entrance)

    async def put(self, name: str, record: bytes, ttl: float) -> None:
        self.shelf[name] = record

    async def take(self, name: str) -> bytes | None:
        return self.shelf.pop(name, None)

    def knows(self) -> bool:
        """Whether somebody has vouched for Alice's token."""
        return self.known.moving.find("alice-token") is not None


def said(number: int) -> Control:
    """A message of a node that leaves, and that knows Alice but for the first one."""
    vouched = Vouched("alice", 0.0, 200.0, math.inf)
    records = [seal(vouched, "alice-token", SOURCE, number)] if number else []
    return Control(handed_over=Message(SOURCE, number, number - 1, 60.0, records).encoded())


MOVED: Iterable[tuple[float, Control | bytes]] = ((2.0, said(0)), (1.0, said(1)))


def test_who_is_revoked_is_forgotten_first_and_then_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who is closed comes back at once."""
    node = Node()
    stream = attach(node.hub, "alice")
    order: list[object] = []
    monkeypatch.setattr(
        node.known, "forget", lambda user: order.append((user, list(stream.closed)))
    )
    node.heard.revoked("alice")
    assert order == [("alice", [])]
    assert stream.closed == ["revoked"]


async def test_a_node_reads_what_was_handed_over_before_it_started() -> None:
    node = Node()
    await node.heard.catch_up(Log(*MOVED))
    assert node.knows()


@pytest.mark.parametrize("user", ["alice", "bob"])
async def test_revocations_are_read_too(user: str) -> None:
    node = Node()
    await node.heard.catch_up(Log(*MOVED, (0.5, Control(revoke=user))))
    assert node.knows() == (user == "bob")


async def test_who_is_revoked_while_that_is_read_is_not_let_in() -> None:
    """It is heard first, and comes after what is read."""
    node, log = Node(), Log(*MOVED)
    log.meanwhile = lambda: node.heard.revoked("alice")
    await node.heard.catch_up(log)
    assert not node.knows()


async def test_what_was_heard_is_of_no_use_once_others_are_not_heard_any_more() -> None:
    node = Node()
    await node.heard.catch_up(Log(*MOVED))
    node.heard.lost()
    assert not node.knows()
    node.heard.confirmed("*")
    assert not node.knows()


async def test_a_ticket_is_void_that_was_given_before_a_revocation_that_is_read() -> None:
    """And one that was given since is not."""
    node = Node()
    log = Log((5.0, Control(revoke="alice")))
    now = Grant(Identity("alice"), None).known_at
    old = await node.tickets.issue(Grant(Identity("alice"), None, now - 10))
    new = await node.tickets.issue(Grant(Identity("alice"), None, now - 1))
    await node.heard.catch_up(log)
    with pytest.raises(InvalidToken):
        await node.entrance.authenticate(make_request(path=f"/notify?ticket={old.ticket}"))
    await node.entrance.authenticate(make_request(path=f"/notify?ticket={new.ticket}"))


async def test_nonsense_is_skipped_and_counted(caplog: pytest.LogCaptureFixture) -> None:
    node = Node()
    first, second = MOVED
    await node.heard.catch_up(
        Log((9.0, b"nonsense"), first, (1.5, Control(handed_over=b"nonsense")), second)
    )
    assert node.knows()
    assert node.hub.stats.events_invalid == 2
    assert "skipped an invalid event" in caplog.messages


async def test_without_the_log_there_is_less_to_know(caplog: pytest.LogCaptureFixture) -> None:
    node = Node()
    await node.heard.catch_up(NoLog())
    assert not node.knows()
    assert "what was handed over is lost" in caplog.messages


async def test_who_goes_by_something_else_than_tokens_reads_nothing() -> None:
    heard = BrokerEvents(Hub(Wanted()), TicketAuthenticator(Anybody(), Node().tickets))
    await heard.catch_up(NoLog())
    heard.handed_over(b"nonsense")
    heard.confirmed("*")
    heard.lost()


class Anybody:
    """Lets in whoever comes."""

    async def authenticate(self, request: object) -> Identity:
        return Identity("42")


async def test_after_a_reload_it_is_told_to_whoever_is_asked_then() -> None:
    node = Node()
    node.known = MainHostAuthenticator(MainHostConfig(url="http://127.0.0.1:10"))
    node.entrance.replace_inner(node.known)
    node.heard.confirmed("*")
    for _, message in MOVED:
        assert isinstance(message, Control)
        assert message.handed_over is not None
        node.heard.handed_over(message.handed_over)
    assert node.knows()
    node.heard.lost()
    assert not node.knows()
    await node.entrance.close()
