"""How the main host is asked, and what its answers are good for later."""

import asyncio
import logging
import time
from bisect import bisect_left
from collections.abc import Callable
from typing import cast

import pytest
from aiohttp import hdrs, web

from aionotify.auth import (
    AuthFailed,
    AuthUnavailable,
    CredentialsMissing,
    Identity,
    InvalidToken,
    revalidate,
)
from aionotify.auth.answer import Key
from aionotify.auth.answers import Answers, Found
from aionotify.auth.main_host.authenticator import SHARED, MainHostAuthenticator
from aionotify.auth.main_host.breaker import THRESHOLD
from aionotify.auth.revocations import Revocations
from aionotify.config import MainHostConfig
from aionotify.telemetry.logs import bare
from tests.auth.helpers import Clock, bearer, make_request, until
from tests.auth.stub_main_host import PATH, StubMainHost

Asking = Callable[..., MainHostAuthenticator]


@pytest.fixture(autouse=True)
def users(host: StubMainHost) -> None:
    host.users = {"alice-token": "alice", "other-alice-token": "alice", "bob-token": 42}


async def test_the_owner_of_a_token_is_who_the_main_host_names(asking: Asking) -> None:
    authenticator = asking()
    assert await authenticator.authenticate(bearer("alice-token")) == Identity("alice")
    assert await authenticator.authenticate(bearer("bob-token")) == Identity("42")


async def test_it_sends_the_token_and_nothing_else_of_the_client_s(
    asking: Asking, host: StubMainHost
) -> None:
    request = make_request(
        ("Authorization", "bEARER  alice-token"),
        ("Cookie", "session=secret"),
        ("X-Forwarded-For", "192.0.2.1"),
        ("User-Agent", "Mozilla"),
        ("Accept-Language", "de"),
        path="/notify?last_event_id=1",
    )
    await asking().authenticate(request)
    (asked,) = host.asked
    assert (asked.method, asked.path_qs) == ("GET", PATH)
    assert asked.headers[hdrs.AUTHORIZATION] == "Bearer alice-token"
    assert {name.lower() for name in asked.headers} == {
        "host",
        "authorization",
        "accept",
        "accept-encoding",
        "user-agent",
    }
    assert asked.headers["User-Agent"] == "aionotify"
    assert asked.headers["Accept"] == "application/json"


async def test_a_path_in_the_address_of_the_main_host_is_kept(host: StubMainHost) -> None:
    config = MainHostConfig(url=f"{host.url}/app/", path="/who/?full=0")
    authenticator = MainHostAuthenticator(config)
    await authenticator.authenticate(bearer("alice-token"))
    assert host.asked[0].path_qs == "/app/who/?full=0"
    await authenticator.close()


async def test_a_request_without_a_token_costs_the_main_host_nothing(
    asking: Asking, host: StubMainHost
) -> None:
    with pytest.raises(CredentialsMissing):
        await asking().authenticate(make_request())
    assert not host.asked


async def test_one_connection_serves_one_question_after_another(
    asking: Asking, host: StubMainHost
) -> None:
    """Accepted and refused ones: a flood of bad tokens must not cost a handshake each."""
    authenticator = asking()
    await authenticator.authenticate(bearer("alice-token"))
    for number in range(5):
        with pytest.raises(InvalidToken):
            await authenticator.authenticate(bearer(f"wrong-{number}"))
    await authenticator.authenticate(bearer("bob-token"))
    assert len({request.transport for request in host.asked}) == 1


async def test_a_refusal_that_comes_in_parts_does_not_cost_the_connection(
    asking: Asking, host: StubMainHost
) -> None:
    more = asyncio.Event()

    async def answer(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(status=401)
        await response.prepare(request)
        await response.write(b"you are")
        await more.wait()
        await response.write(b" unknown")
        return response

    host.answer = answer
    authenticator = asking()
    for token in ("one", "two"):
        asyncio.get_running_loop().call_later(0.05, more.set)
        with pytest.raises(InvalidToken):
            await authenticator.authenticate(bearer(token))
        more.clear()
    assert len({request.transport for request in host.asked}) == 1


async def test_an_answer_is_good_for_cache_ttl(
    asking: Asking, host: StubMainHost, clock: Clock
) -> None:
    authenticator = asking(cache_ttl=30)
    for _ in range(3):
        await authenticator.authenticate(bearer("alice-token"))
    assert len(host.asked) == 1
    clock.advance(29.9)
    await authenticator.authenticate(bearer("alice-token"))
    assert len(host.asked) == 1
    clock.advance(0.2)
    await authenticator.authenticate(bearer("alice-token"))
    assert len(host.asked) == 2


async def test_with_a_cache_ttl_of_zero_every_request_is_asked_about(
    asking: Asking, host: StubMainHost
) -> None:
    authenticator = asking(cache_ttl=0)
    for _ in range(3):
        await authenticator.authenticate(bearer("alice-token"))
    assert len(host.asked) == 3


async def test_an_answer_is_not_good_beyond_the_expiry_it_gave(
    asking: Asking, host: StubMainHost, clock: Clock
) -> None:
    host.expires_in = 10
    authenticator = asking(cache_ttl=30, stale_if_error=300)
    identity = await authenticator.authenticate(bearer("alice-token"))
    assert identity.expires_at is not None
    clock.advance(10)
    host.says("", status=500)
    with pytest.raises(AuthFailed):  # neither from the cache nor stale
        await authenticator.authenticate(bearer("alice-token"))


async def test_a_refusal_is_repeated_from_memory_for_refusal_ttl(
    asking: Asking, host: StubMainHost, clock: Clock
) -> None:
    """Some clients repeat a bad token every second, for ever."""
    authenticator = asking(refusal_ttl=5)
    for _ in range(50):
        with pytest.raises(InvalidToken):
            await authenticator.authenticate(bearer("wrong"))
    assert len(host.asked) == 1
    clock.advance(5)
    host.users["wrong"] = "carol"
    assert (await authenticator.authenticate(bearer("wrong"))).user_id == "carol"


async def test_a_403_is_a_refusal_too(asking: Asking, host: StubMainHost) -> None:
    host.says("no", status=403)
    with pytest.raises(InvalidToken):
        await asking().authenticate(bearer("alice-token"))


async def test_a_flood_of_bad_tokens_pushes_out_none_of_the_good(
    asking: Asking, host: StubMainHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("aionotify.auth.main_host.authenticator.MAX_KNOWN", 10)
    monkeypatch.setattr("aionotify.auth.main_host.authenticator.MAX_REFUSED", 10)
    authenticator = asking()
    await authenticator.authenticate(bearer("alice-token"))
    for number in range(30):
        with pytest.raises(InvalidToken):
            await authenticator.authenticate(bearer(f"wrong-{number}"))
    asked = len(host.asked)
    await authenticator.authenticate(bearer("alice-token"))
    assert len(host.asked) == asked


async def test_of_more_tokens_than_fit_the_longest_unused_is_asked_about_again(
    asking: Asking, host: StubMainHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("aionotify.auth.main_host.authenticator.MAX_KNOWN", 2)
    authenticator = asking()
    for token in ("alice-token", "bob-token", "alice-token", "other-alice-token", "alice-token"):
        await authenticator.authenticate(bearer(token))
    assert len(host.asked) == 3
    await authenticator.authenticate(bearer("bob-token"))
    assert len(host.asked) == 4


async def test_many_streams_of_one_token_make_one_question(
    asking: Asking, host: StubMainHost
) -> None:
    authenticator, request = asking(), bearer("alice-token")
    identities = await asyncio.gather(*(authenticator.authenticate(request) for _ in range(5000)))
    assert len(host.asked) == 1
    assert set(identities) == {Identity("alice")}


async def test_many_users_are_asked_about_once_each_and_never_too_many_at_once(
    asking: Asking, host: StubMainHost
) -> None:
    host.users = {f"token-{number}": number for number in range(1000)}
    authenticator = asking(max_concurrency=20)
    identities = await asyncio.gather(*(authenticator.identify(token) for token in host.users))
    assert len(host.asked) == 1000
    assert host.most_at_once <= 20
    assert [identity.user_id for identity in identities] == [str(n) for n in range(1000)]


async def test_one_who_leaves_does_not_take_the_question_with_them(
    asking: Asking, host: StubMainHost
) -> None:
    authenticator = asking()
    host.open.clear()
    first, second = (
        asyncio.create_task(authenticator.authenticate(bearer("alice-token"))) for _ in range(2)
    )
    await until(lambda: host.asked)
    first.cancel()
    with pytest.raises(asyncio.CancelledError):
        await first
    host.open.set()
    assert await second == Identity("alice")
    assert len(host.asked) == 1


async def test_an_answer_that_nobody_waits_for_any_more_is_remembered(
    asking: Asking, host: StubMainHost
) -> None:
    authenticator = asking()
    host.open.clear()
    only = asyncio.create_task(authenticator.authenticate(bearer("alice-token")))
    await until(lambda: host.asked)
    only.cancel()
    host.open.set()
    await until(lambda: authenticator.stats.main_host_accepted)
    await authenticator.authenticate(bearer("alice-token"))
    assert len(host.asked) == 1


async def test_closing_ends_the_questions_under_way(asking: Asking, host: StubMainHost) -> None:
    authenticator = asking(max_concurrency=1)
    host.open.clear()
    waiting = [
        asyncio.create_task(authenticator.authenticate(bearer(token)))
        for token in ("alice-token", "bob-token", "alice-token")
    ]
    await until(lambda: host.asked)
    await authenticator.close()
    for task in waiting:
        with pytest.raises(AuthUnavailable, match="stopping"):
            await task
    with pytest.raises(AuthUnavailable, match="stopping"):
        await authenticator.authenticate(bearer("alice-token"))


async def test_a_question_does_not_wait_for_its_turn_for_ever(
    asking: Asking, host: StubMainHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("aionotify.auth.main_host.authenticator.QUEUE_TIMEOUT", 0.02)
    authenticator = asking(max_concurrency=1)
    host.open.clear()
    first = asyncio.create_task(authenticator.authenticate(bearer("alice-token")))
    await until(lambda: host.asked)
    with pytest.raises(AuthUnavailable, match="overloaded") as raised:
        await authenticator.authenticate(bearer("bob-token"))
    assert raised.value.retry_after is not None
    host.open.set()
    assert await first == Identity("alice")
    assert authenticator.stats.main_host_spared == 1


async def test_not_more_than_so_many_questions_wait(
    asking: Asking, host: StubMainHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("aionotify.auth.main_host.authenticator.MAX_WAITING", 2)
    authenticator = asking(max_concurrency=1)
    host.open.clear()
    waiting = [
        asyncio.create_task(authenticator.authenticate(bearer(token)))
        for token in ("alice-token", "bob-token")
    ]
    await until(lambda: host.asked)
    with pytest.raises(AuthUnavailable, match="overloaded"):
        await authenticator.authenticate(bearer("other-alice-token"))
    host.open.set()
    await asyncio.gather(*waiting)


@pytest.mark.parametrize(
    ("value", "least", "most"),
    [
        ("17", 17, 26),
        ("86400", 60, 90),
        ("Fri, 31 Dec 1999 23:59:59 GMT", 1, 2),
        ("-1", 1, 2),
        ("9" * 5000, 1, 2),
    ],
)
async def test_when_the_main_host_wants_to_be_asked_again_is_passed_on(
    asking: Asking, host: StubMainHost, value: str, least: float, most: float
) -> None:
    """In seconds, and not for longer than a minute and a half, whatever it says."""
    host.says("", 503, {"Retry-After": value})
    with pytest.raises(AuthFailed) as raised:
        await asking().authenticate(bearer("alice-token"))
    assert raised.value.retry_after is not None
    assert least <= raised.value.retry_after <= most


async def test_a_slow_main_host_is_unavailable_and_no_refusal(
    asking: Asking, host: StubMainHost
) -> None:
    authenticator = asking(timeout=0.05)
    host.open.clear()
    with pytest.raises(AuthUnavailable, match="in time") as raised:
        await authenticator.authenticate(bearer("alice-token"))
    assert raised.value.retry_after is not None
    host.open.set()
    assert await authenticator.authenticate(bearer("alice-token")) == Identity("alice")


async def test_a_main_host_that_is_down_is_unavailable(asking: Asking, host: StubMainHost) -> None:
    authenticator = asking()
    await host.stop()
    with pytest.raises(AuthUnavailable, match="reached") as raised:
        await authenticator.authenticate(bearer("alice-token"))
    assert raised.value.retry_after is not None


@pytest.mark.parametrize("status", [500, 502, 503, 504])
async def test_an_error_of_the_main_host_s_own_is_no_refusal(
    asking: Asking, host: StubMainHost, status: int
) -> None:
    authenticator = asking()
    host.says("", status=status)
    with pytest.raises(AuthFailed) as raised:
        await authenticator.authenticate(bearer("alice-token"))
    assert raised.value.retry_after is not None
    host.answer = host.honest
    assert await authenticator.authenticate(bearer("alice-token")) == Identity("alice")


async def test_who_was_known_within_stale_if_error_gets_in_while_the_main_host_is_down(
    asking: Asking, host: StubMainHost, clock: Clock
) -> None:
    authenticator = asking(cache_ttl=30, stale_if_error=300)
    await authenticator.authenticate(bearer("alice-token"))
    await host.stop()
    clock.advance(299)
    assert await authenticator.authenticate(bearer("alice-token")) == Identity("alice")
    assert authenticator.stats.stale_accepted == 1
    with pytest.raises(AuthUnavailable):  # never seen before
        await authenticator.authenticate(bearer("bob-token"))
    clock.advance(1)
    with pytest.raises(AuthUnavailable):
        await authenticator.authenticate(bearer("alice-token"))


async def test_a_refusal_ends_what_was_known(
    asking: Asking, host: StubMainHost, clock: Clock
) -> None:
    """A revoked token must not come back to life when the main host fails."""
    authenticator = asking(cache_ttl=30, refusal_ttl=5, stale_if_error=300)
    await authenticator.authenticate(bearer("alice-token"))
    del host.users["alice-token"]
    clock.advance(31)
    with pytest.raises(InvalidToken):
        await authenticator.authenticate(bearer("alice-token"))
    host.says("", status=500)
    clock.advance(6)
    with pytest.raises(AuthFailed):
        await authenticator.authenticate(bearer("alice-token"))


async def test_a_main_host_that_keeps_failing_is_left_alone(
    asking: Asking, host: StubMainHost, clock: Clock
) -> None:
    authenticator = asking()
    host.says("", status=503)
    for number in range(50):
        with pytest.raises((AuthFailed, AuthUnavailable)):
            await authenticator.authenticate(bearer(f"token-{number}"))
    assert len(host.asked) == THRESHOLD
    assert authenticator.stats.breaker_open == 1
    assert authenticator.stats.main_host_spared == 50 - THRESHOLD


async def test_after_a_pause_one_question_finds_out_that_it_is_back(
    asking: Asking, host: StubMainHost, clock: Clock
) -> None:
    authenticator = asking()
    host.says("", status=503)
    for number in range(THRESHOLD):
        with pytest.raises(AuthFailed):
            await authenticator.authenticate(bearer(f"token-{number}"))
    host.answer = host.honest
    host.open.clear()
    clock.advance(10)
    probe = asyncio.create_task(authenticator.authenticate(bearer("alice-token")))
    await until(lambda: len(host.asked) == THRESHOLD + 1)
    with pytest.raises(AuthUnavailable, match="down"):
        await authenticator.authenticate(bearer("bob-token"))
    host.open.set()
    assert await probe == Identity("alice")
    assert await authenticator.authenticate(bearer("bob-token")) == Identity("42")
    assert authenticator.stats.breaker_open == 0


async def test_those_who_wait_for_their_turn_are_let_go_when_it_turns_out_to_be_down(
    asking: Asking, host: StubMainHost
) -> None:
    """Five timeouts tell (and what was let through meanwhile); nobody else's is waited for."""
    authenticator = asking(timeout=0.05, max_concurrency=THRESHOLD)
    host.open.clear()
    outcomes = await asyncio.gather(
        *(authenticator.authenticate(bearer(f"token-{number}")) for number in range(100)),
        return_exceptions=True,
    )
    assert {type(outcome) for outcome in outcomes} == {AuthUnavailable}
    assert len(host.asked) < 2 * THRESHOLD


async def test_bad_tokens_do_not_make_the_main_host_look_down(
    asking: Asking, host: StubMainHost
) -> None:
    """Whether refused or answered with 400: it is up, and the next user must get in."""
    authenticator = asking()
    for status in (401, 400, 404, 302):
        host.says("", status=status)
        for number in range(THRESHOLD):
            with pytest.raises((InvalidToken, AuthFailed)):
                await authenticator.authenticate(bearer(f"wrong-{status}-{number}"))
    host.answer = host.honest
    assert await authenticator.authenticate(bearer("alice-token")) == Identity("alice")


async def test_a_flapping_main_host_lets_everybody_in_who_tries_again(
    asking: Asking, host: StubMainHost, clock: Clock
) -> None:
    host.users = {f"token-{number}": number for number in range(40)}
    authenticator = asking()
    waiting = set(host.users)
    for turn in range(100):
        if turn % 3:
            host.answer = host.honest
        else:
            host.says("", status=503)
        for token in sorted(waiting)[:4]:
            try:
                await authenticator.authenticate(bearer(token))
            except (AuthFailed, AuthUnavailable):
                continue
            waiting.discard(token)
        clock.advance(1)
    assert not waiting


async def test_an_outage_is_logged_once_and_its_end_too(
    asking: Asking, host: StubMainHost, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "aionotify.auth")
    authenticator = asking()
    host.says("", status=503)
    for number in range(20):
        with pytest.raises((AuthFailed, AuthUnavailable)):
            await authenticator.authenticate(bearer(f"token-{number}"))
    host.answer = host.honest
    clock.advance(10)
    problems = [authenticator.problem]
    await authenticator.authenticate(bearer("alice-token"))
    await authenticator.authenticate(bearer("bob-token"))
    problems.append(authenticator.problem)
    assert problems == ["the main host answered 503", None]
    said = [(record.levelname, bare(record)) for record in caplog.records]
    assert said == [("WARNING", "main host is failing"), ("INFO", "main host answers again")]


async def test_revalidation_does_not_believe_the_memory(
    asking: Asking, host: StubMainHost, clock: Clock
) -> None:
    authenticator = asking(cache_ttl=3600)
    request = bearer("alice-token")
    await authenticator.authenticate(request)
    del host.users["alice-token"]
    clock.advance(SHARED)
    with pytest.raises(InvalidToken):
        await revalidate(authenticator, request)
    with pytest.raises(InvalidToken):
        await authenticator.authenticate(request)


async def test_many_streams_of_one_token_are_revalidated_with_one_question(
    asking: Asking, host: StubMainHost, clock: Clock
) -> None:
    authenticator, request = asking(cache_ttl=30), bearer("alice-token")
    await authenticator.authenticate(request)
    clock.advance(300)
    await asyncio.gather(*(revalidate(authenticator, request) for _ in range(1000)))
    clock.advance(SHARED / 2)
    await revalidate(authenticator, request)
    assert len(host.asked) == 2


async def test_revalidation_refreshes_what_is_known(
    asking: Asking, host: StubMainHost, clock: Clock
) -> None:
    authenticator = asking(cache_ttl=30, stale_if_error=300)
    await authenticator.authenticate(bearer("alice-token"))
    clock.advance(250)
    await revalidate(authenticator, bearer("alice-token"))
    clock.advance(29)
    await authenticator.authenticate(bearer("alice-token"))
    assert len(host.asked) == 2
    await host.stop()
    clock.advance(250)
    assert await authenticator.authenticate(bearer("alice-token")) == Identity("alice")


async def test_revalidation_tells_an_outage_from_a_refusal(
    asking: Asking, host: StubMainHost, clock: Clock
) -> None:
    authenticator = asking()
    await authenticator.authenticate(bearer("alice-token"))
    await host.stop()
    clock.advance(300)
    with pytest.raises(AuthUnavailable):
        await revalidate(authenticator, bearer("alice-token"))


async def test_a_user_who_is_forgotten_is_asked_about_again(
    asking: Asking, host: StubMainHost, revocations: Revocations
) -> None:
    """Closing somebody's streams would be in vain if the memory let them in again at once."""
    authenticator = asking(cache_ttl=3600)
    for token in ("alice-token", "other-alice-token", "bob-token"):
        await authenticator.authenticate(bearer(token))
    host.users = {}
    revocations.add("alice")
    for token in ("alice-token", "other-alice-token"):
        with pytest.raises(InvalidToken):
            await authenticator.authenticate(bearer(token))
    assert await authenticator.authenticate(bearer("bob-token")) == Identity("42")


async def test_an_answer_that_is_older_than_the_forgetting_does_not_count(
    asking: Asking, host: StubMainHost, revocations: Revocations
) -> None:
    """It was on its way while the user's rights changed: the main host is asked anew."""
    authenticator, late = asking(), asyncio.Event()

    async def answer(request: web.Request) -> web.StreamResponse:
        verdict = await host.honest(request)
        await late.wait()
        return verdict

    host.answer = answer
    waiting = [
        asyncio.create_task(authenticator.authenticate(bearer(token)))
        for token in ("alice-token", "alice-token", "bob-token")
    ]
    await until(lambda: len(host.asked) == 2)
    host.users = {"bob-token": 42}
    revocations.add("alice")
    late.set()
    refused, also_refused, bob = await asyncio.gather(*waiting, return_exceptions=True)
    assert isinstance(refused, InvalidToken)
    assert isinstance(also_refused, InvalidToken)
    assert bob == Identity("42")
    assert len(host.asked) == 3


async def test_a_user_who_was_forgotten_is_remembered_again(
    asking: Asking, host: StubMainHost, revocations: Revocations
) -> None:
    authenticator = asking()
    revocations.add("alice")
    for _ in range(3):
        assert await authenticator.authenticate(bearer("alice-token")) == Identity("alice")
    assert len(host.asked) == 1


async def test_forgetting_one_costs_nothing_however_many_are_known(
    asking: Asking, revocations: Revocations
) -> None:
    """Somebody may do it whenever anybody signs out."""
    authenticator = asking(cache_ttl=600)
    await authenticator.authenticate(bearer("alice-token"))
    (known,) = authenticator._known._entries.values()
    for number in range(100_000):
        authenticator._known.put(number.to_bytes(16, "big"), known)
    started = time.perf_counter()
    for number in range(1000):
        revocations.add(str(number))
    assert time.perf_counter() - started < 0.5


async def test_every_outcome_is_counted_where_it_came_from(
    asking: Asking, host: StubMainHost, clock: Clock
) -> None:
    authenticator = asking(cache_ttl=30, refusal_ttl=5, stale_if_error=300)
    for token in ("alice-token", "alice-token", "wrong", "wrong"):
        try:
            await authenticator.authenticate(bearer(token))
        except InvalidToken:
            continue
    host.says("", status=500)
    clock.advance(60)
    await authenticator.authenticate(bearer("alice-token"))
    stats = authenticator.stats
    assert (stats.cache_accepted, stats.cache_refused) == (1, 1)
    assert (stats.main_host_accepted, stats.main_host_refused, stats.main_host_failed) == (1, 1, 1)
    assert stats.stale_accepted == 1
    assert sum(stats.main_host_latency.buckets) == len(host.asked) == 3
    assert 0 < stats.main_host_latency.sum < 5


@pytest.mark.parametrize("answered", [True, False])
async def test_a_request_is_timed_until_its_answer_is_there_or_given_up(
    asking: Asking, host: StubMainHost, answered: bool
) -> None:
    """Once, however many wait for it; and an answer from memory is no request."""
    host.open.clear()
    authenticator = asking(timeout=10 if answered else 0.2)
    started = time.perf_counter()
    three = asyncio.gather(
        *(authenticator.authenticate(bearer("alice-token")) for _ in range(3)),
        return_exceptions=True,
    )
    await until(lambda: bool(host.asked))
    if answered:
        await asyncio.sleep(0.2)  # the time that is to be measured
        host.open.set()
    results = await three
    ended = time.perf_counter()
    assert [isinstance(result, AuthUnavailable) for result in results] == 3 * [not answered]
    if answered:
        await authenticator.authenticate(bearer("alice-token"))
    latency = authenticator.stats.main_host_latency
    assert sum(latency.buckets) == len(host.asked) == 1
    assert latency.buckets[bisect_left(latency.bounds, latency.sum)] == 1
    assert 0.19 < latency.sum <= ended - started


async def test_an_answer_of_another_node_does_not_hide_that_a_newer_one_has_ended(
    asking: Asking, host: StubMainHost, clock: Clock
) -> None:
    """Whoever was given longer since must not be turned away unasked."""

    class Kept:
        longest = 300.0

        async def find(self, key: Key, young: float) -> Found:
            return Found("alice", 100.0, 600.0)

        def moment(self) -> None: ...

        def accepted(self, *args: object) -> None: ...

    host.says('{"user_id": "alice", "expires_in": 10}')
    authenticator = asking(cache_ttl=0)
    await authenticator.identify("token", fresh=True)
    authenticator._answers = cast("Answers", Kept())
    clock.advance(11)
    host.says('{"user_id": "alice", "expires_in": 600}')
    await authenticator.identify("token")
    assert len(host.asked) == 2
