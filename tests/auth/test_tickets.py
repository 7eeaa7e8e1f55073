"""What a browser shows instead of a token: good once, and soon, and nothing to read in Redis."""

import asyncio
import secrets
import time
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from aiohttp import web
from redis.asyncio import Redis

from aionotify.auth import (
    AuthFailed,
    AuthUnavailable,
    CredentialsMissing,
    Identity,
    InvalidScheme,
    InvalidToken,
)
from aionotify.auth.main_host.authenticator import SHARED, MainHostAuthenticator
from aionotify.auth.revocations import Revocations
from aionotify.auth.ticket_authenticator import Holder, TicketAuthenticator
from aionotify.auth.tickets import Grant, Tickets
from aionotify.broker.connection.endpoint import Endpoint
from aionotify.broker.connection.pipeline import by_client
from aionotify.broker.keys import Keys
from aionotify.broker.ticket_store import RedisTicketStore
from aionotify.config import RedisConfig
from tests.auth.helpers import Clock, bearer, make_request, revoke
from tests.auth.stub_main_host import StubMainHost
from tests.harness import RedisServer

TTL = 30
KEYS = Keys("aionotify", "push_notifications")

Asking = Callable[..., MainHostAuthenticator]


def showing(*tickets: str, **query: str) -> web.Request:
    pairs = [f"ticket={ticket}" for ticket in tickets] + [f"{k}={v}" for k, v in query.items()]
    return make_request(path="/notify?" + "&".join(pairs))


@pytest.fixture
async def redis(redis_server: RedisServer) -> AsyncIterator[Redis]:
    async with Redis(port=redis_server.port, protocol=2) as client:
        yield client


@pytest.fixture
def tickets(redis: Any) -> Tickets:
    return Tickets(RedisTicketStore(by_client(lambda: redis), KEYS), TTL)


@pytest.fixture
def entrance(
    asking: Asking, tickets: Tickets, host: StubMainHost, revocations: Revocations
) -> TicketAuthenticator:
    host.users = {"alice-token": "alice", "bob-token": "bob"}
    return TicketAuthenticator(asking(), tickets, revocations=revocations)


async def test_a_ticket_lets_in_whoever_it_was_given_to(entrance: TicketAuthenticator) -> None:
    alice = await entrance.issue(bearer("alice-token"))
    bob = await entrance.issue(bearer("bob-token"))
    assert alice.expires_in == TTL
    assert await entrance.authenticate(showing(bob.ticket)) == Identity("bob")
    assert await entrance.authenticate(showing(alice.ticket)) == Identity("alice")
    assert (entrance.stats.ticket_issued, entrance.stats.ticket_accepted) == (2, 2)


async def test_a_ticket_is_good_once(entrance: TicketAuthenticator) -> None:
    """Also for a browser that repeats its URL: what is in a URL is in histories and logs."""
    issued = await entrance.issue(bearer("alice-token"))
    await entrance.authenticate(showing(issued.ticket))
    again = make_request(("Last-Event-ID", "1-2"), path=f"/notify?ticket={issued.ticket}")
    for request in (showing(issued.ticket), again):
        with pytest.raises(InvalidToken):
            await entrance.authenticate(request)
    assert entrance.stats.ticket_refused == 2


async def test_of_many_who_show_the_same_ticket_at_once_one_gets_in(
    entrance: TicketAuthenticator, asking: Asking, tickets: Tickets, revocations: Revocations
) -> None:
    other_node = TicketAuthenticator(asking(), tickets, revocations=revocations)
    issued = await entrance.issue(bearer("alice-token"))
    outcomes = await asyncio.gather(
        *(node.authenticate(showing(issued.ticket)) for node in (entrance, other_node) * 20),
        return_exceptions=True,
    )
    assert outcomes.count(Identity("alice")) == 1
    assert sum(isinstance(outcome, InvalidToken) for outcome in outcomes) == 39


async def test_any_node_accepts_a_ticket(
    entrance: TicketAuthenticator, asking: Asking, tickets: Tickets, revocations: Revocations
) -> None:
    other_node = TicketAuthenticator(asking(), tickets, revocations=revocations)
    issued = await entrance.issue(bearer("alice-token"))
    assert await other_node.authenticate(showing(issued.ticket)) == Identity("alice")


async def test_a_ticket_goes_by_itself_after_its_time(tickets: Tickets, redis: Any) -> None:
    issued = await tickets.issue(Grant(Identity("alice"), None))
    (key,) = await redis.keys()
    assert 0 < await redis.pttl(key) <= TTL * 1000
    await redis.delete(key)  # as it does then
    with pytest.raises(InvalidToken):
        await tickets.redeem(issued.ticket)


async def test_a_ticket_does_not_outlive_the_token(tickets: Tickets) -> None:
    ended = Grant(Identity("alice", expires_at=time.time() - 1), None)
    issued = await tickets.issue(ended)
    with pytest.raises(InvalidToken, match="expired"):
        await tickets.redeem(issued.ticket)


@pytest.mark.parametrize("ahead", [3600, -3600])
async def test_a_ticket_is_good_for_as_long_whatever_the_clock_of_who_made_it(
    tickets: Tickets, monkeypatch: pytest.MonkeyPatch, ahead: int
) -> None:
    """And whose it is, too, where the ticket is shown."""
    now = time.time()
    with monkeypatch.context() as patch:
        patch.setattr(time, "time", lambda: now + ahead)
        made = await tickets.issue(Grant(Identity("alice", expires_at=now + ahead + 60), None))
    expires_at = (await tickets.redeem(made.ticket)).identity.expires_at
    assert expires_at == pytest.approx(now + 60, abs=5)


async def test_the_time_that_a_ticket_was_kept_is_taken_from_its_identity(
    tickets: Tickets, redis: Any
) -> None:
    """As Redis measures it: 12 seconds of 30 are left."""
    now = time.time()
    made = await tickets.issue(Grant(Identity("alice", expires_at=now + 60), None))
    short = await tickets.issue(Grant(Identity("alice", expires_at=now + 17), None))
    for key in await redis.keys():
        await redis.expire(key, 12)
    expires_at = (await tickets.redeem(made.ticket)).identity.expires_at
    assert expires_at == pytest.approx(now + 60 - 18, abs=5)
    with pytest.raises(InvalidToken, match="expired"):
        await tickets.redeem(short.ticket)


@pytest.mark.parametrize(
    "guess",
    [
        "",
        "x",
        "A" * 42,
        "A" * 44,
        "A" * 43,
        "*",
        "alice",
        "ä" * 43,
        "A" * 42 + "%0A",
        "A" * 42 + "%00",
        "A" * 5000,
    ],
)
async def test_a_guess_lets_nobody_in(entrance: TicketAuthenticator, guess: str) -> None:
    await entrance.issue(bearer("alice-token"))
    with pytest.raises(InvalidToken):
        await entrance.authenticate(showing(guess))


async def test_neither_the_name_nor_the_record_in_redis_is_a_ticket(
    entrance: TicketAuthenticator, redis: Any
) -> None:
    await entrance.issue(bearer("alice-token"))
    (key,) = await redis.keys()
    name = key.decode().removeprefix("aionotify:ticket:")
    for guess in (name, name[:43]):
        with pytest.raises(InvalidToken):
            await entrance.authenticate(showing(guess))


async def test_redis_does_not_learn_the_ticket_the_token_or_the_user(
    entrance: TicketAuthenticator, redis: Any
) -> None:
    issued = await entrance.issue(bearer("alice-token"))
    (key,) = await redis.keys()
    stored = key + await redis.get(key)
    for secret in (issued.ticket, issued.ticket[:12], "alice-token", "alice"):
        assert secret.encode() not in stored


async def test_a_record_that_was_put_under_another_ticket_s_name_opens_nothing(
    entrance: TicketAuthenticator, redis: Any
) -> None:
    """Whoever can write to Redis must not be able to swap users."""
    alice = await entrance.issue(bearer("alice-token"))
    (alice_key,) = await redis.keys()
    bob = await entrance.issue(bearer("bob-token"))
    (bob_key,) = set(await redis.keys()) - {alice_key}
    await redis.set(alice_key, await redis.get(bob_key), ex=TTL)
    with pytest.raises(InvalidToken):
        await entrance.authenticate(showing(alice.ticket))
    await redis.set(bob_key, b"short", ex=TTL)
    with pytest.raises(InvalidToken):
        await entrance.authenticate(showing(bob.ticket))


async def test_two_tickets_in_one_request_are_refused(entrance: TicketAuthenticator) -> None:
    first, second = [await entrance.issue(bearer("alice-token")) for _ in range(2)]
    with pytest.raises(InvalidToken):
        await entrance.authenticate(showing(first.ticket, second.ticket))
    with pytest.raises(InvalidToken):
        await entrance.authenticate(showing(first.ticket, ""))


async def test_a_ticket_does_not_buy_another_ticket(entrance: TicketAuthenticator) -> None:
    """Or one that leaked would be good for ever."""
    issued = await entrance.issue(bearer("alice-token"))
    with pytest.raises(CredentialsMissing):
        await entrance.issue(showing(issued.ticket))


async def test_a_wrong_token_buys_no_ticket(entrance: TicketAuthenticator, redis: Any) -> None:
    with pytest.raises(InvalidToken):
        await entrance.issue(bearer("wrong"))
    with pytest.raises(InvalidScheme):
        await entrance.issue(make_request(("Authorization", "Basic x")))
    assert await redis.keys() == []


async def test_without_a_ticket_the_token_decides(entrance: TicketAuthenticator) -> None:
    assert await entrance.authenticate(bearer("bob-token")) == Identity("bob")
    with pytest.raises(CredentialsMissing):
        await entrance.authenticate(showing(last_event_id="1"))


async def test_a_token_revoked_since_the_ticket_was_made_lets_nobody_in(
    entrance: TicketAuthenticator, host: StubMainHost, clock: Clock
) -> None:
    issued = await entrance.issue(bearer("alice-token"))
    host.users = {}
    revoke(entrance._revocations, "alice")
    with pytest.raises(InvalidToken):
        await entrance.authenticate(showing(issued.ticket))


async def test_a_stream_opened_by_ticket_is_revalidated_by_the_token_behind_it(
    entrance: TicketAuthenticator, host: StubMainHost, clock: Clock
) -> None:
    request = showing((await entrance.issue(bearer("alice-token"))).ticket)
    await entrance.authenticate(request)
    clock.advance(SHARED)
    holder = entrance.holder(request)
    assert await entrance.ask_again(holder) == Identity("alice")
    assert len(host.asked) == 2
    host.users = {}
    clock.advance(SHARED)
    with pytest.raises(InvalidToken):
        await entrance.ask_again(holder)


async def test_a_stream_opened_by_token_is_revalidated_as_ever(
    entrance: TicketAuthenticator, host: StubMainHost, clock: Clock
) -> None:
    await entrance.authenticate(bearer("alice-token"))
    clock.advance(SHARED)
    await entrance.ask_again(entrance.holder(bearer("alice-token")))
    assert len(host.asked) == 2


async def test_a_ticket_is_good_on_a_node_that_cannot_ask_the_main_host(
    entrance: TicketAuthenticator,
    asking: Asking,
    tickets: Tickets,
    host: StubMainHost,
    revocations: Revocations,
) -> None:
    """It was asked seconds ago, on the node that made the ticket."""
    other_node = TicketAuthenticator(asking(), tickets, revocations=revocations)
    issued = await entrance.issue(bearer("alice-token"))
    await host.stop()
    assert await other_node.authenticate(showing(issued.ticket)) == Identity("alice")


async def test_without_redis_tickets_are_unavailable_and_tokens_still_good(
    own_redis: RedisServer, asking: Asking, host: StubMainHost
) -> None:
    host.users = {"alice-token": "alice"}
    endpoint = Endpoint(RedisConfig(url=own_redis.url))
    store = RedisTicketStore(endpoint.commands("writes").execute, KEYS)
    entrance = TicketAuthenticator(asking(), Tickets(store, TTL))
    own_redis.stop()
    for attempt in (
        entrance.issue(bearer("alice-token")),
        entrance.authenticate(showing(secrets.token_urlsafe(32))),
    ):
        with pytest.raises(AuthUnavailable) as raised:
            await attempt
        assert raised.value.retry_after is not None
    assert await entrance.authenticate(bearer("alice-token")) == Identity("alice")
    await endpoint.close()


class SessionAuthenticator:
    """An embedder's own: goes by something other than a bearer token."""

    def __init__(self) -> None:
        self.calls: list[str] = []

    async def start(self) -> None:
        self.calls.append("start")

    async def close(self) -> None:
        self.calls.append("close")

    async def authenticate(self, request: web.Request) -> Identity:
        if "Cookie" not in request.headers:
            raise CredentialsMissing("no session")
        return Identity("carol", expires_at=time.time() + 60)


async def test_tickets_work_for_authenticators_without_tokens(tickets: Tickets) -> None:
    entrance = TicketAuthenticator(SessionAuthenticator(), tickets)
    issued = await entrance.issue(make_request(("Cookie", "session=1")))
    request = showing(issued.ticket)
    identity = await entrance.authenticate(request)
    assert identity.user_id == "carol"
    assert identity.expires_at is not None
    assert await entrance.ask_again(entrance.holder(request)) == identity
    revoke(entrance._revocations, "carol")


async def test_an_authenticator_is_started_and_closed_if_it_wants_that(tickets: Tickets) -> None:
    inner = SessionAuthenticator()
    entrance = TicketAuthenticator(inner, tickets)
    await entrance.start()
    await entrance.close()
    assert inner.calls == ["start", "close"]

    class Plain:
        async def authenticate(self, request: web.Request) -> Identity:
            return Identity("dave")

    plain: Any = TicketAuthenticator(Plain(), tickets)
    await plain.start()
    await plain.close()


class Trusting:
    """An authenticator that has no tokens, and so can tell nothing of one later."""

    def __init__(self, identity: Identity | None = None) -> None:
        self._identity = identity or Identity("alice")

    async def authenticate(self, request: web.Request) -> Identity:
        return self._identity


async def test_forgetting_a_user_voids_the_tickets_there_are_and_no_later_ones(
    tickets: Tickets,
) -> None:
    entrance = TicketAuthenticator(Trusting(), tickets)
    before = await entrance.issue(make_request())
    revoke(entrance._revocations, "bob")
    revoke(entrance._revocations, "alice")
    after = await entrance.issue(make_request())
    with pytest.raises(InvalidToken):
        await entrance.authenticate(showing(before.ticket))
    assert (await entrance.authenticate(showing(after.ticket))).user_id == "alice"


@pytest.mark.parametrize(("expires_in", "good_for"), [(None, 60), (3600, 60), (20, 20)])
async def test_what_nobody_can_be_asked_about_again_is_not_true_for_long(
    tickets: Tickets, expires_in: float | None, good_for: float
) -> None:
    """An authenticator of somebody's own cannot be shown a ticket, so its stream has an end."""
    now = time.time()
    expires_at = None if expires_in is None else now + expires_in
    entrance = TicketAuthenticator(
        Trusting(Identity("alice", expires_at=expires_at)), tickets, longest=60
    )
    issued = await entrance.issue(make_request())
    identity = await entrance.authenticate(showing(issued.ticket))
    assert identity.expires_at == pytest.approx(now + good_for, abs=10)


async def test_an_identity_that_has_expired_opens_nothing(tickets: Tickets) -> None:
    """Whoever names it: a browser would come back every few seconds, for ever."""
    expired = Identity("alice", expires_at=time.time() - 1)
    entrance = TicketAuthenticator(Trusting(expired), tickets)
    for attempt in (entrance.authenticate(make_request()), entrance.issue(make_request())):
        with pytest.raises(InvalidToken, match="expired"):
            await attempt


async def test_a_main_host_that_is_down_does_not_bring_back_who_was_forgotten(
    entrance: TicketAuthenticator, host: StubMainHost
) -> None:
    issued = await entrance.issue(bearer("alice-token"))
    await host.stop()
    revoke(entrance._revocations, "alice")
    with pytest.raises(InvalidToken):
        await entrance.authenticate(showing(issued.ticket))


async def test_a_ticket_carries_the_groups_that_its_user_has(
    tickets: Tickets, host: StubMainHost, asking: Asking
) -> None:
    """By token, whose owner is asked about again; and without, where nobody can be."""
    host.says('{"user_id": "alice", "groups": ["team:7"]}')
    by_token, other_node = (TicketAuthenticator(asking(), tickets) for _ in range(2))
    issued = await by_token.issue(bearer("alice-token"))
    await host.stop()
    assert (await other_node.authenticate(showing(issued.ticket))).groups == {"team:7"}

    by_itself = TicketAuthenticator(
        Trusting(Identity("bob", groups=frozenset({"team:8"}))), tickets
    )
    issued = await by_itself.issue(bearer("whatever"))
    assert (await by_itself.authenticate(showing(issued.ticket))).groups == {"team:8"}


async def test_an_own_authenticator_that_names_too_many_groups_lets_nobody_in(
    tickets: Tickets,
) -> None:
    """At the start, and again at a revalidation."""
    inner = Trusting(Identity("bob", groups=frozenset({"a", "b", "c"})))
    entrance = TicketAuthenticator(inner, tickets, max_groups=2)
    request = bearer("whatever")
    for question in (
        entrance.authenticate(request),
        entrance.issue(request),
        entrance.ask_again(Holder(request)),
    ):
        with pytest.raises(AuthFailed, match="there are 3 groups, at most 2 allowed"):
            await question
