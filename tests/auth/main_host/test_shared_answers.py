"""An authenticator goes by what the main host answered at other nodes, and lets them do so."""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from aionotify.auth import AuthFailed, Identity, InvalidToken, revalidate
from aionotify.auth.answer import Key
from aionotify.auth.main_host.authenticator import SHARED, MainHostAuthenticator
from aionotify.auth.ticket_authenticator import TicketAuthenticator
from aionotify.auth.tickets import Tickets
from aionotify.config import MainHostConfig
from tests.auth.answer_nodes import LONGEST, Node, cluster_of
from tests.auth.helpers import Clock, bearer, make_request, revoke
from tests.auth.stub_main_host import StubMainHost
from tests.harness import RedisServer

ALICE = bearer("alice-token")


@pytest.fixture
async def nodes(redis_server: RedisServer) -> AsyncIterator[list[Node]]:
    async with cluster_of(redis_server, "p", "p") as made:
        yield made


@pytest.fixture
async def at(host: StubMainHost, clock: Clock) -> AsyncIterator[Callable[..., Any]]:
    """Makes the authenticator of a node."""
    host.users = {"alice-token": "alice", "bob-token": "bob"}
    made: list[MainHostAuthenticator] = []

    def make(node: Node, max_groups: int = 100, **settings: Any) -> MainHostAuthenticator:
        config = MainHostConfig(url=host.url, timeout=2.0, **settings)
        made.append(
            MainHostAuthenticator(
                config,
                cookie="session",
                revocations=node.revocations,
                answers=node.answers,
                max_groups=max_groups,
                clock=clock,
            )
        )
        return made[-1]

    yield make
    for authenticator in made:
        await authenticator.close()


At = Callable[..., MainHostAuthenticator]


def key(authenticator: MainHostAuthenticator, token: str = "alice-token") -> Key:
    return Key(authenticator._client.url, token)


async def keep(
    node: Node, authenticator: MainHostAuthenticator, age: float, user: str = "alice"
) -> None:
    """Have an answer kept that is as old as this, for a stream that is open."""
    asked = await node.moment()
    asked = asked._replace(at=asked.at - age)
    node.answers.accepted(key(authenticator), user, 3600.0, asked)
    node.answers.opened(key(authenticator))
    await node.flush()


async def test_who_was_accepted_at_one_node_is_let_in_at_another_unasked(
    nodes: list[Node], at: At, host: StubMainHost
) -> None:
    one, other = map(at, nodes)
    host.expires_in = 120
    await one.authenticate(ALICE)
    await nodes[0].flush()
    identity = await other.authenticate(ALICE)
    assert identity.user_id == "alice"
    assert identity.expires_at == pytest.approx(time.time() + 120, abs=5)
    assert other.stats.answer_store_accepted == 1
    assert (await other.authenticate(ALICE)).user_id == "alice"
    assert other.stats.cache_accepted == 1
    with pytest.raises(InvalidToken):
        await other.authenticate(bearer("mallory-token"))
    assert len(host.asked) == 2


@pytest.mark.parametrize("age", [100, 290])
async def test_a_stream_is_due_when_its_answer_is_too_old_however_often_it_moves(
    nodes: list[Node], at: At, age: float
) -> None:
    """And those who come back together are not asked about together."""
    other = at(nodes[1])
    await keep(nodes[0], other, age)
    moments = []
    for _ in range(50):
        identity = await other.authenticate(ALICE)
        assert identity.ask_at is not None
        moments.append(identity.ask_at - time.time())
    assert min(moments) > max(0, 0.8 * LONGEST - age) - 1
    assert max(moments) <= LONGEST - age
    assert max(moments) - min(moments) > (10 if age == 290 else 60) / 2
    assert other.stats.answer_store_accepted == 50


async def test_so_is_one_whose_answer_is_remembered_here(
    nodes: list[Node], at: At, clock: Clock
) -> None:
    """Also when it may be older than streams may go without a question."""
    one = at(nodes[0], cache_ttl=1000)
    await one.authenticate(ALICE)
    for age, latest in ((200, 100), (400, 60)):
        clock.now = 1000 + age
        moments = [(await one.authenticate(ALICE)).ask_at or 0 for _ in range(50)]
        assert max(moments) - time.time() <= latest
        assert max(moments) - min(moments) > latest / 3


async def test_what_is_too_old_everywhere_is_asked_about(
    nodes: list[Node], at: At, host: StubMainHost
) -> None:
    other = at(nodes[1])
    await keep(nodes[0], other, LONGEST + 1)
    await other.authenticate(ALICE)
    assert len(host.asked) == 1


async def test_revalidation_asks_unless_the_answer_is_of_just_now(
    nodes: list[Node], at: At, host: StubMainHost
) -> None:
    other = at(nodes[1])
    await keep(nodes[0], other, SHARED + 1)
    await other.authenticate(ALICE)
    assert await revalidate(other, ALICE) == Identity("alice")
    assert len(host.asked) == 1


async def test_a_refusal_is_known_at_all_nodes(
    nodes: list[Node], at: At, host: StubMainHost
) -> None:
    one, other = map(at, nodes)
    await keep(nodes[0], one, 100)
    host.users = {}
    with pytest.raises(InvalidToken):
        await revalidate(one, ALICE)
    await nodes[0].flush()
    with pytest.raises(InvalidToken):
        await other.authenticate(ALICE)
    assert len(host.asked) == 2


async def test_who_is_refused_while_it_is_looked_up_is_not_let_in(
    nodes: list[Node], at: At, host: StubMainHost
) -> None:
    one, other = map(at, nodes)
    await keep(nodes[0], one, 100)
    host.users = {}
    looking = asyncio.create_task(other.authenticate(ALICE))
    await asyncio.sleep(0)
    with pytest.raises(InvalidToken):
        await revalidate(other, ALICE)
    with pytest.raises(InvalidToken):
        await looking


async def test_who_is_revoked_while_it_is_looked_up_is_asked_about(
    nodes: list[Node], at: At, host: StubMainHost
) -> None:
    one, other = map(at, nodes)
    await keep(nodes[0], one, 100)
    host.users = {}
    looking = asyncio.create_task(other.authenticate(ALICE))
    await asyncio.sleep(0)
    revoke(nodes[1].revocations, "alice")
    with pytest.raises(InvalidToken):
        await looking


async def test_an_answer_of_another_user_is_worth_a_question(
    nodes: list[Node], at: At, host: StubMainHost, clock: Clock
) -> None:
    """The token was somebody else's, and what is known here is newer."""
    one = at(nodes[0])
    host.users = {"alice-token": "alice"}
    await revalidate(one, ALICE)
    clock.advance(31)
    await keep(nodes[1], one, 100, user="bob")
    assert (await one.authenticate(ALICE)).user_id == "alice"


@pytest.mark.parametrize("user", ["*", "", "a\nb"])
async def test_who_can_be_no_user_is_none(nodes: list[Node], at: At, user: str) -> None:
    """Whoever has written it."""
    one = at(nodes[0])
    await keep(nodes[1], one, 1, user=user)
    assert (await one.authenticate(ALICE)).user_id == "alice"
    assert one.stats.answer_store_accepted == 0


async def test_a_stream_that_came_by_a_cookie_that_counts_no_more_is_ended_as_any_other(
    nodes: list[Node], at: At
) -> None:
    """Another authenticator may have taken the place of the one that let it in."""

    class Nowhere:
        async def put(self, name: str, record: bytes, ttl: float) -> None: ...

        async def take(self, name: str) -> tuple[bytes, float] | None: ...

    one = at(nodes[0])
    entrance = TicketAuthenticator(one, Tickets(Nowhere(), 30))
    by_cookie = make_request(("Cookie", "session=alice-token"))
    await entrance.authenticate(by_cookie)
    holder, nobody = entrance.holder(by_cookie), entrance.holder(make_request())
    entrance.opened(holder)
    assert nodes[0].answers._open == {key(one): 1}
    other = MainHostAuthenticator(MainHostConfig(url="http://127.0.0.1:9"), answers=one._answers)
    entrance.replace_inner(other)
    entrance.opened(nobody)
    entrance.ended(holder, moves=False)
    entrance.ended(nobody, moves=False)
    assert not nodes[0].answers._open
    await entrance.close()


def with_groups(host: StubMainHost, *groups: str) -> None:
    host.says(json.dumps({"user_id": "alice", "groups": groups}))


async def test_groups_of_an_answer_are_known_at_other_nodes(
    nodes: list[Node], at: At, host: StubMainHost
) -> None:
    """Up to some thousand bytes of names."""
    groups = [f"organisation:7:department:{number:044}" for number in range(100)]
    with_groups(host, *groups)
    one, other = map(at, nodes)
    await one.authenticate(ALICE)
    await nodes[0].flush()
    assert (await other.authenticate(ALICE)).groups == set(groups)
    assert other.stats.answer_store_accepted == 1
    assert (await other.authenticate(ALICE)).groups == set(groups)
    assert len(host.asked) == 1


async def test_an_answer_with_longer_names_stays_with_the_node_that_asked(
    nodes: list[Node], at: At, host: StubMainHost, redis_server: RedisServer
) -> None:
    groups = [f"{number:0250}" for number in range(100)]
    with_groups(host, *groups)
    one, other = map(at, nodes)
    for _ in range(2):
        assert (await one.authenticate(ALICE)).groups == set(groups)
    await nodes[0].flush()
    assert redis_server.cli("KEYS", "*:answer:*") == []
    assert len(host.asked) == 1
    assert (await other.authenticate(ALICE)).groups == set(groups)
    assert len(host.asked) == 2


async def test_an_answer_with_more_groups_than_a_node_allows_is_not_taken_there(
    nodes: list[Node], at: At, host: StubMainHost
) -> None:
    """Nor cut: the main host is asked, and its answer refused."""
    with_groups(host, "a", "b")
    one, strict = at(nodes[0]), at(nodes[1], max_groups=1)
    await one.authenticate(ALICE)
    await nodes[0].flush()
    with pytest.raises(AuthFailed, match="there are 2 groups, at most 1 allowed"):
        await strict.authenticate(ALICE)
    assert len(host.asked) == 2


async def test_a_fresh_answer_with_other_groups_takes_the_place_of_the_kept_one(
    nodes: list[Node], at: At, host: StubMainHost, clock: Clock
) -> None:
    one, other = map(at, nodes)
    with_groups(host, "team:7")
    await one.authenticate(ALICE)
    await nodes[0].flush()
    with_groups(host, "team:8")
    clock.advance(SHARED)
    assert (await revalidate(one, ALICE)).groups == {"team:8"}
    await nodes[0].flush()
    assert (await other.authenticate(ALICE)).groups == {"team:8"}
