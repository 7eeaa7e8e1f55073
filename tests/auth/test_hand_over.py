"""A token that a node that leaves has known is not asked about again just because it moved."""

import itertools
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, replace
from typing import Any

import pytest
from aiohttp import web

from aionotify.auth import AuthUnavailable, Identity, InvalidToken, revalidate
from aionotify.auth.jwt.authenticator import JWTAuthenticator
from aionotify.auth.main_host.authenticator import SHARED, MainHostAuthenticator
from aionotify.auth.ticket_authenticator import TicketAuthenticator
from aionotify.auth.tickets import Tickets
from aionotify.auth.vouched import Vouched
from aionotify.config import JWTConfig, MainHostConfig
from tests.auth.helpers import Clock, bearer, make_request
from tests.auth.stub_main_host import StubMainHost

REVALIDATE = 300.0
HOLD = 60.0
ALICE = bearer("alice-token")
SECRET = "a-secret-of-thirty-two-characters!"


class Shelf:
    """Keeps tickets for all nodes."""

    def __init__(self) -> None:
        self.records: dict[str, bytes] = {}

    async def put(self, name: str, record: bytes, ttl: float) -> None:
        self.records[name] = record

    async def take(self, name: str) -> bytes | None:
        return self.records.pop(name, None)


@dataclass
class Node:
    """One that hears what the others say."""

    known: MainHostAuthenticator
    entrance: TicketAuthenticator

    async def leave(self, *requests: web.Request, due: float = 200.0) -> int:
        """Hand over what is known of those who have opened a stream with `requests`."""
        return await self.entrance.hand_over([(each, due) for each in requests], HOLD)


@pytest.fixture
async def start(host: StubMainHost, clock: Clock) -> AsyncIterator[Callable[..., Node]]:
    """Starts nodes, given settings; all have the same clock."""
    host.users = {"alice-token": "alice", "bob-token": "bob"}
    nodes: list[Node] = []
    tickets = Tickets(Shelf(), 30)

    async def tell(message: bytes, hold: float) -> None:
        for node in nodes:
            node.known.moving.hear(message)

    def make(**settings: Any) -> Node:
        config = replace(MainHostConfig(url=host.url, timeout=2.0, cache_ttl=30), **settings)
        known = MainHostAuthenticator(
            config, cookie="session", tell=tell, revalidate=REVALIDATE, clock=clock
        )
        nodes.append(Node(known, TicketAuthenticator(known, tickets, stats=known.stats)))
        return nodes[-1]

    yield make
    for node in nodes:
        await node.known.close()


Start = Callable[..., Node]


async def test_who_comes_from_a_node_that_leaves_is_let_in_unasked(
    start: Start, host: StubMainHost, clock: Clock
) -> None:
    """On any node, and with as many tabs as there are."""
    one, *others = start(), start(), start()
    await one.entrance.authenticate(ALICE)
    clock.advance(100)
    assert await one.leave(ALICE) == 1
    for node in others:
        for _ in range(3):
            assert (await node.entrance.authenticate(ALICE)).user_id == "alice"
        assert node.known.stats.handed_over_accepted == 3
        with pytest.raises(InvalidToken):
            await node.entrance.authenticate(bearer("mallory-token"))
    assert len(host.asked) == 1 + len(others)


async def test_it_is_asked_about_when_it_would_have_been(start: Start, clock: Clock) -> None:
    one, other = start(), start()
    await one.entrance.authenticate(ALICE)
    clock.advance(100)
    await one.leave(ALICE, due=150)
    clock.advance(10)
    identity = await other.entrance.authenticate(ALICE)
    assert identity.ask_at == pytest.approx(time.time() + 140, abs=1)


async def test_moving_prolongs_nothing(start: Start, host: StubMainHost, clock: Clock) -> None:
    """However often: the answer is as old as it is."""
    nodes = [start() for _ in range(5)]
    await nodes[0].entrance.authenticate(ALICE)
    for node, successor in itertools.pairwise(nodes):
        clock.advance(REVALIDATE / 4 + 1)
        assert await node.leave(ALICE, due=1000) == 1
        await successor.entrance.authenticate(ALICE)
    assert [node.known.stats.handed_over_accepted for node in nodes] == [0, 1, 1, 1, 0]
    assert len(host.asked) == 2


async def test_who_was_due_while_on_the_way_is_asked_about_soon(
    start: Start, host: StubMainHost, clock: Clock
) -> None:
    """Not at once, for with one node that restarts all of them would be; nor later than allowed."""
    one, other = start(), start()
    await one.entrance.authenticate(ALICE)
    clock.advance(240)
    await one.leave(ALICE, due=5)
    clock.advance(10)
    left = REVALIDATE - 250
    moments = []
    for _ in range(100):
        identity = await other.entrance.authenticate(ALICE)
        assert identity.ask_at is not None
        moments.append(identity.ask_at - time.time())
    assert min(moments) > -1
    assert max(moments) <= left
    assert max(moments) - min(moments) > left / 2
    clock.advance(left)
    host.users = {}
    with pytest.raises(InvalidToken):
        await other.entrance.authenticate(ALICE)


async def test_of_a_stranger_and_of_who_is_due_there_is_nothing_to_say(start: Start) -> None:
    one = start()
    await one.entrance.authenticate(ALICE)
    assert await one.leave(bearer("bob-token")) == 0
    assert await one.leave(ALICE, due=0) == 0


async def test_a_token_ends_when_it_would_have(
    start: Start, host: StubMainHost, clock: Clock
) -> None:
    one, other = start(), start()
    host.expires_in = 120
    await one.entrance.authenticate(ALICE)
    clock.advance(100)
    await one.leave(ALICE)
    identity = await other.entrance.authenticate(ALICE)
    assert identity.expires_at == pytest.approx(time.time() + 20, abs=1)
    clock.advance(20)
    host.users = {}
    with pytest.raises(InvalidToken):
        await other.entrance.authenticate(ALICE)


async def test_who_is_revoked_is_asked_about(
    start: Start, host: StubMainHost, clock: Clock
) -> None:
    one, other = start(), start()
    await one.entrance.authenticate(ALICE)
    clock.advance(100)
    await one.leave(ALICE)
    await other.entrance.authenticate(ALICE)
    host.users = {}
    for node in (one, other):
        node.entrance.forget("alice")
    with pytest.raises(InvalidToken):
        await other.entrance.authenticate(ALICE)
    assert await one.leave(ALICE) == 0


async def test_what_was_missed_of_revocations_is_not_vouched_for(start: Start) -> None:
    one = start()
    await one.entrance.authenticate(ALICE)
    one.known.moving.unheard()
    one.known.moving.heard()
    assert await one.leave(ALICE) == 0


async def test_a_refusal_voids_it(start: Start, host: StubMainHost, clock: Clock) -> None:
    """As when one of two tabs is due, and the other comes back a minute later."""
    one, other = start(), start(refusal_ttl=5)
    await one.entrance.authenticate(ALICE)
    clock.advance(100)
    await one.leave(ALICE)
    await other.entrance.authenticate(ALICE)
    host.users = {}
    with pytest.raises(InvalidToken):
        await revalidate(other.entrance, ALICE)
    clock.advance(10)
    with pytest.raises(InvalidToken):
        await other.entrance.authenticate(ALICE)
    assert len(host.asked) == 3


async def test_revalidation_asks_whatever_was_handed_over(
    start: Start, host: StubMainHost, clock: Clock
) -> None:
    one, other = start(), start()
    await one.entrance.authenticate(ALICE)
    clock.advance(SHARED)
    await one.leave(ALICE)
    await other.entrance.authenticate(ALICE)
    assert await revalidate(other.entrance, ALICE) == Identity("alice")
    assert len(host.asked) == 2


async def test_a_newer_answer_stays(start: Start, host: StubMainHost, clock: Clock) -> None:
    """Also when the token was somebody else's before."""
    one, other = start(), start()
    await one.entrance.authenticate(ALICE)
    clock.advance(50)
    host.users = {"alice-token": "bob"}
    await other.entrance.authenticate(ALICE)
    clock.advance(50)
    await one.leave(ALICE)
    assert (await other.entrance.authenticate(ALICE)).user_id == "bob"
    assert len(host.asked) == 3


async def test_while_the_main_host_fails_what_was_handed_over_counts_like_an_answer(
    start: Start, host: StubMainHost, clock: Clock
) -> None:
    """As old as it is: due to be asked about, but known within `stale_if_error`."""
    one, other = start(), start(stale_if_error=600)
    await one.entrance.authenticate(ALICE)
    await host.stop()
    clock.advance(590)
    assert await one.leave(ALICE) == 1
    assert (await other.entrance.authenticate(ALICE)).user_id == "alice"
    assert other.known.stats.stale_accepted == 1
    clock.advance(11)
    with pytest.raises(AuthUnavailable):
        await other.entrance.authenticate(ALICE)


# Other ways to carry a token


async def test_a_ticket_for_a_token_that_moved_costs_no_question(
    start: Start, host: StubMainHost, clock: Clock
) -> None:
    """Be it shown where it was given, or elsewhere."""
    one, other, third = start(), start(), start()
    await one.entrance.authenticate(ALICE)
    clock.advance(100)
    await one.leave(ALICE)
    for node in (other, third):
        ticket = await other.entrance.issue(ALICE)
        shown = make_request(path=f"/notify?ticket={ticket.ticket}")
        identity = await node.entrance.authenticate(shown)
        assert identity.user_id == "alice"
        assert identity.ask_at == pytest.approx(time.time() + 200, abs=1)
    assert len(host.asked) == 1


async def test_a_stream_that_a_ticket_has_opened_moves_by_its_token(
    start: Start, host: StubMainHost, clock: Clock
) -> None:
    one, other = start(), start()
    ticket = await one.entrance.issue(ALICE)
    shown = make_request(path=f"/notify?ticket={ticket.ticket}")
    await one.entrance.authenticate(shown)
    clock.advance(100)
    assert await one.leave(shown) == 1
    await other.entrance.authenticate(ALICE)
    assert len(host.asked) == 1


async def test_a_stream_that_a_cookie_has_opened_moves_by_its_token(
    start: Start, host: StubMainHost, clock: Clock
) -> None:
    one, other = start(), start()
    request = make_request(("Cookie", "session=alice-token"))
    await one.entrance.authenticate(request)
    clock.advance(100)
    assert await one.leave(request) == 1
    await other.entrance.authenticate(ALICE)
    assert len(host.asked) == 1


class TokenIsUser:
    """An application's own authenticator."""

    async def authenticate(self, request: web.Request) -> Identity:
        return Identity("42")


@pytest.mark.parametrize(
    "inner", [TokenIsUser(), JWTAuthenticator(JWTConfig(key=SECRET, algorithms=("HS256",)))]
)
async def test_who_asks_nobody_has_nothing_to_hand_over(inner: Any) -> None:
    entrance = TicketAuthenticator(inner, Tickets(Shelf(), 30))
    assert entrance.moving is None
    assert await entrance.hand_over([(ALICE, 200.0)], HOLD) == 0


async def test_a_name_that_cannot_be_a_users_lets_nobody_in(
    start: Start, host: StubMainHost
) -> None:
    """Whoever has sealed it had the token, and rights in Redis."""
    one, other = start(), start()
    vouched = Vouched("*", 0.0, 200.0, 200.0)
    await one.known.moving.say(["alice-token"], lambda token: vouched, HOLD)
    assert (await other.entrance.authenticate(ALICE)).user_id == "alice"
    assert len(host.asked) == 1
