"""Another authenticator in the place of one that is being asked."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from aiohttp import web

from aionotify.auth import AuthUnavailable, Identity, InvalidToken
from aionotify.auth.main_host.authenticator import MainHostAuthenticator
from aionotify.auth.revocations import Revocations
from aionotify.auth.ticket_authenticator import TicketAuthenticator
from aionotify.auth.tickets import Grant, Tickets
from tests.auth.helpers import bearer, make_request, revoke, until
from tests.auth.stub_main_host import StubMainHost

Asking = Callable[..., MainHostAuthenticator]


class Memory:
    """A `TicketStore`, of one ticket."""

    async def put(self, name: str, record: bytes, ttl: float) -> None:
        self.record = record

    async def take(self, name: str) -> tuple[bytes, float] | None:
        return self.record, 30


@pytest.fixture
def tickets() -> Tickets:
    return Tickets(Memory(), 30)


@pytest.fixture
def entrance(
    asking: Asking, tickets: Tickets, host: StubMainHost, revocations: Revocations
) -> TicketAuthenticator:
    host.users = {"alice-token": "alice"}
    return TicketAuthenticator(asking(), tickets, revocations=revocations)


async def ticket(entrance: TicketAuthenticator) -> web.Request:
    issued = await entrance.issue(bearer("alice-token"))
    return make_request(path=f"/notify?ticket={issued.ticket}")


WAYS: dict[str, Callable[[TicketAuthenticator, web.Request], Any]] = {
    "authenticate": lambda entrance, shown: entrance.authenticate(bearer("alice-token")),
    "authenticate by ticket": lambda entrance, shown: entrance.authenticate(shown),
    "revalidate": lambda entrance, shown: entrance.ask_again(
        entrance.holder(bearer("alice-token"))
    ),
    "issue": lambda entrance, shown: entrance.issue(bearer("alice-token")),
}


async def asked(entrance: TicketAuthenticator, host: StubMainHost, way: str) -> asyncio.Task[Any]:
    """A question that the main host has not answered yet."""
    shown = await ticket(entrance)
    revoke(entrance._revocations, "somebody else")
    host.open.clear()
    before = len(host.asked)
    entrance._inner._known.drop(next(iter(entrance._inner._known._entries)))  # type: ignore[attr-defined]
    question = asyncio.create_task(WAYS[way](entrance, shown))
    await until(lambda: len(host.asked) > before)
    return question


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("other", [{"timeout": 1.0}, {"path": "/elsewhere/"}])
async def test_a_question_under_way_is_answered_by_the_other_one(
    entrance: TicketAuthenticator,
    asking: Asking,
    tickets: Tickets,
    host: StubMainHost,
    way: str,
    other: dict[str, Any],
) -> None:
    question = await asked(entrance, host, way)
    entrance.replace_inner(asking(**other))
    host.open.set()
    await entrance.close_replaced()
    answer = await question
    assert answer == Identity("alice") or answer.ticket
    assert host.asked[-1].path == other.get("path", host.asked[0].path)


@pytest.mark.parametrize("way", WAYS)
async def test_what_was_said_by_the_one_before_does_not_count(
    entrance: TicketAuthenticator, asking: Asking, tickets: Tickets, host: StubMainHost, way: str
) -> None:
    """Not even if it comes before that one is closed."""
    question = await asked(entrance, host, way)
    nobody = asking(path="/nobody/")

    async def refuse(token: str, *, fresh: bool = False) -> Identity:
        raise InvalidToken("no")

    nobody.identify = refuse  # type: ignore[method-assign]
    entrance.replace_inner(nobody)
    host.open.set()
    with pytest.raises(InvalidToken):
        await question
    await entrance.close_replaced()


async def test_of_the_same_main_host_all_is_remembered(
    entrance: TicketAuthenticator, asking: Asking, tickets: Tickets, host: StubMainHost
) -> None:
    assert await entrance.authenticate(bearer("alice-token")) == Identity("alice")
    with pytest.raises(InvalidToken):
        await entrance.authenticate(bearer("unknown"))
    for limits in ({"cache_ttl": 60.0}, {"max_concurrency": 1}):
        entrance.replace_inner(asking(**limits))
        await entrance.close_replaced()
        assert await entrance.authenticate(bearer("alice-token")) == Identity("alice")
        with pytest.raises(InvalidToken):
            await entrance.authenticate(bearer("unknown"))
    assert len(host.asked) == 2
    revoke(entrance._revocations, "alice")
    await entrance.authenticate(bearer("alice-token"))
    assert len(host.asked) == 3


async def test_of_another_main_host_nothing_is(
    entrance: TicketAuthenticator, asking: Asking, tickets: Tickets, host: StubMainHost
) -> None:
    await entrance.authenticate(bearer("alice-token"))
    entrance.replace_inner(asking(path="/elsewhere/"))
    await entrance.authenticate(bearer("alice-token"))
    assert [request.path for request in host.asked][1:] == ["/elsewhere/"]
    await entrance.close_replaced()


async def test_questions_that_are_cut_short_do_not_count_against_the_main_host(
    entrance: TicketAuthenticator, asking: Asking, tickets: Tickets, host: StubMainHost
) -> None:
    """Nor is the next one left alone because of them."""
    host.users = {f"token-{number}": str(number) for number in range(20)}
    host.open.clear()
    questions = [asyncio.create_task(entrance.authenticate(bearer(token))) for token in host.users]
    await until(lambda: len(host.asked) == 20)
    entrance.replace_inner(asking(timeout=1.0))
    host.open.set()
    await entrance.close_replaced()
    found = await asyncio.gather(*questions)
    assert {identity.user_id for identity in found} == set(host.users.values())
    assert entrance.stats.breaker_open == 0


async def test_a_ticket_of_before_is_judged_by_the_one_who_is_asked_now(
    entrance: TicketAuthenticator, asking: Asking, tickets: Tickets, host: StubMainHost
) -> None:
    issued = await tickets.issue(Grant(Identity("alice"), "alice-token"))
    host.users = {}
    entrance.replace_inner(asking(path="/elsewhere/"))
    await entrance.close_replaced()
    with pytest.raises(InvalidToken):
        await entrance.authenticate(make_request(path=f"/notify?ticket={issued.ticket}"))


async def test_who_has_ended_says_so_for_good(
    asking: Asking, tickets: Tickets, revocations: Revocations
) -> None:
    """There is no other one to ask: the application is ending."""
    entrance = TicketAuthenticator(asking(), tickets, revocations=revocations)
    await entrance.close()
    with pytest.raises(AuthUnavailable):
        await entrance.authenticate(bearer("alice-token"))
