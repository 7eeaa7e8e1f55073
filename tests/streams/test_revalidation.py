"""Revalidation: a stream ends when its token does, and not before."""

import asyncio
import gc
import time
import weakref
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace

import pytest

from aionotify.auth import AuthError, AuthUnavailable, CredentialsMissing, Identity, InvalidToken
from aionotify.streams.recipient import Recipient
from aionotify.streams.revalidation import Revalidation
from tests.harness import eventually


class Clock:
    """Unix time, as we say."""

    def __init__(self) -> None:
        self.now = 1_000_000.0

    def __call__(self) -> float:
        return self.now


class Stream:
    """A stream that notes why it was closed."""

    recipient: Recipient

    def __init__(self) -> None:
        self.closed: list[str] = []

    def regroup(self, groups: frozenset[str]) -> None:
        raise NotImplementedError

    def close(self, reason: str) -> None:
        self.closed.append(reason)


class Host:
    """Answers questions with what it has been told to, an Identity or an error."""

    def __init__(self, *answers: Identity | Exception) -> None:
        self.answers = list(answers)
        self.asked = 0

    async def __call__(self) -> Identity:
        self.asked += 1
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, Exception):
            raise answer
        return answer


Asked = Callable[[], Awaitable[Identity]]
AnyRevalidation = Revalidation[Asked]


async def put(host: Asked) -> Identity:
    """Ask a host, which stands for the request that opened a stream."""
    return await host()


ALICE, BOB = Identity("alice"), Identity("bob")


@pytest.fixture
async def running() -> AsyncIterator[list[AnyRevalidation]]:
    """A list; a `Revalidation` that is put into it is run, and stopped at the end."""
    started: list[AnyRevalidation] = []
    tasks: list[asyncio.Task[None]] = []

    class Running(list[AnyRevalidation]):
        def append(self, revalidation: AnyRevalidation) -> None:
            super().append(revalidation)
            tasks.append(asyncio.create_task(revalidation.run()))

    yield Running(started)
    for task in tasks:
        assert not task.done(), "it has ended by itself"
        task.cancel()
    if tasks:
        await asyncio.wait(tasks)


async def test_a_token_is_asked_about_again_and_again(running: list[AnyRevalidation]) -> None:
    revalidation, stream, host = Revalidation(0.02, put), Stream(), Host(ALICE)
    running.append(revalidation)
    revalidation.add(stream, ALICE, host)
    await eventually(lambda: host.asked >= 3)
    assert stream.closed == []


async def test_nothing_is_asked_before_the_interval_has_nearly_passed(
    running: list[AnyRevalidation],
) -> None:
    clock = Clock()
    revalidation, host, witness = (
        Revalidation(300, put, clock=clock, timer=clock),
        Host(ALICE),
        Host(ALICE),
    )
    running.append(revalidation)
    revalidation.add(Stream(), ALICE, host)
    clock.now += 239
    revalidation.add(Stream(), Identity("witness", expires_at=clock.now), witness)  # wakes it
    ended = Stream()
    revalidation.add(ended, Identity("ended", expires_at=clock.now), witness)
    await eventually(lambda: ended.closed)
    assert host.asked == 0
    clock.now += 62
    last = Stream()
    revalidation.add(last, Identity("last", expires_at=1.0), witness)
    await eventually(lambda: host.asked == 1 and last.closed)


async def test_streams_that_open_together_are_not_asked_about_together() -> None:
    clock = Clock()
    revalidation = Revalidation(300, put, clock=clock, timer=clock)
    for _ in range(200):
        revalidation.add(Stream(), ALICE, Host(ALICE))
    moments = sorted(due - clock.now for _, due in revalidation._questions.items())
    assert moments[0] >= 240
    assert moments[-1] <= 300
    assert moments[-1] - moments[0] > 30


@pytest.mark.parametrize("refusal", [InvalidToken("no"), CredentialsMissing("signed out")])
async def test_a_definite_refusal_ends_the_stream(
    running: list[AnyRevalidation], refusal: AuthError
) -> None:
    revalidation, stream, host = Revalidation(0.02, put), Stream(), Host(ALICE, refusal)
    running.append(revalidation)
    revalidation.add(stream, ALICE, host)
    await eventually(lambda: stream.closed)
    assert stream.closed == ["token_refused"]
    assert host.asked == 2


async def test_a_token_that_has_become_somebody_elses_ends_the_stream(
    running: list[AnyRevalidation],
) -> None:
    revalidation, stream = Revalidation(0.02, put), Stream()
    running.append(revalidation)
    revalidation.add(stream, ALICE, Host(BOB))
    await eventually(lambda: stream.closed == ["token_refused"])


@pytest.mark.parametrize(
    "failure", [AuthUnavailable("the main host is down"), ValueError("a bug of somebody's")]
)
async def test_no_answer_says_nothing_about_the_token(
    running: list[AnyRevalidation], failure: Exception
) -> None:
    revalidation, stream, host = Revalidation(0.02, put), Stream(), Host(failure, failure, ALICE)
    running.append(revalidation)
    revalidation.add(stream, ALICE, host)
    await eventually(lambda: host.asked >= 4)
    assert stream.closed == []


async def test_a_token_ends_when_it_expires_without_being_asked_about(
    running: list[AnyRevalidation],
) -> None:
    clock = Clock()
    revalidation, stream, other = (
        Revalidation(300, put, clock=clock, timer=clock),
        Stream(),
        Stream(),
    )
    host = Host(ALICE)
    running.append(revalidation)
    revalidation.add(stream, Identity("alice", expires_at=clock.now + 10), host)
    clock.now += 10.1
    revalidation.add(other, Identity("bob", expires_at=clock.now - 1), host)  # wakes it
    await eventually(lambda: stream.closed and other.closed)
    assert stream.closed == ["token_expired"]
    assert host.asked == 0


async def test_a_token_expires_however_many_answers_are_waited_for(
    running: list[AnyRevalidation],
) -> None:
    """Also that of a stream that is being asked about, or waits to be."""
    revalidation, silent = Revalidation(86_400, put), 0

    async def never() -> Identity:
        nonlocal silent
        silent += 1
        await asyncio.get_running_loop().create_future()
        return ALICE

    running.append(revalidation)
    streams = [Stream() for _ in range(100)]
    expires_at = time.time() + 0.5
    for stream in streams:
        identity = Identity("alice", expires_at=expires_at)
        revalidation.add(stream, identity, never, at_once=True)
    others = [Stream() for _ in range(100)]
    for stream in others:
        revalidation.add(stream, ALICE, never, at_once=True)
    await eventually(lambda: silent == 32)
    late = Stream()
    revalidation.add(late, Identity("alice", expires_at=time.time()), never)
    await eventually(lambda: late.closed and all(stream.closed for stream in streams), timeout=10)
    assert all(stream.closed == ["token_expired"] for stream in streams)
    assert not any(stream.closed for stream in others)
    assert silent == 32, "one that has ended is asked about no more"


async def test_many_tokens_that_expire_together_do_not_hold_up_the_loop(
    running: list[AnyRevalidation],
) -> None:
    clock = Clock()
    revalidation = Revalidation(86_400, put, clock=clock, timer=clock)
    streams = [Stream() for _ in range(1000)]
    for stream in streams:
        revalidation.add(stream, Identity("alice", expires_at=clock.now), Host(ALICE))
    running.append(revalidation)
    await asyncio.sleep(0)
    assert 0 < sum(bool(stream.closed) for stream in streams) < 1000
    await eventually(lambda: all(stream.closed for stream in streams))


async def test_a_clock_that_is_set_ahead_has_tokens_expire_at_once(
    running: list[AnyRevalidation],
) -> None:
    """Nobody has to wake it for that."""
    clock, stream = Clock(), Stream()
    revalidation = Revalidation(86_400, put, clock=clock)
    running.append(revalidation)
    revalidation.add(stream, Identity("alice", expires_at=clock.now + 3600), Host(ALICE))
    await asyncio.sleep(0.01)
    clock.now += 3600
    await eventually(lambda: stream.closed == ["token_expired"], timeout=10)


async def test_an_answer_may_prolong_what_would_have_expired(
    running: list[AnyRevalidation],
) -> None:
    loop = asyncio.get_running_loop()
    clock = loop.time
    revalidation, stream = Revalidation(0.05, put, clock=clock, timer=clock), Stream()
    host = Host(Identity("alice", expires_at=clock() + 60))
    running.append(revalidation)
    revalidation.add(stream, Identity("alice", expires_at=clock() + 0.3), host)
    until = clock() + 0.35
    await eventually(lambda: clock() > until)
    assert stream.closed == []


async def test_the_soonest_is_seen_to_first_however_late_it_comes(
    running: list[AnyRevalidation],
) -> None:
    revalidation, host = Revalidation(300, put), Host(ALICE)
    running.append(revalidation)
    revalidation.add(Stream(), ALICE, host)
    await asyncio.sleep(0)  # it now sleeps for minutes
    expired = Stream()
    revalidation.add(expired, Identity("bob", expires_at=1.0), host)
    await eventually(lambda: expired.closed, timeout=2)


async def test_one_who_never_answers_holds_up_nobody(
    running: list[AnyRevalidation], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("aionotify.streams.revalidation._TIMEOUT", 0.05)
    revalidation, stream = Revalidation(0.01, put), Stream()
    silent = 0

    async def never() -> Identity:
        nonlocal silent
        silent += 1
        await asyncio.get_running_loop().create_future()
        return ALICE

    running.append(revalidation)
    stuck = [Stream() for _ in range(100)]
    for each in stuck:
        revalidation.add(each, ALICE, never)
    await eventually(lambda: silent >= 32)
    revalidation.add(stream, ALICE, Host(InvalidToken("no")))
    await eventually(lambda: stream.closed == ["token_refused"])
    assert not any(each.closed for each in stuck)


async def test_a_stream_that_has_ended_is_let_go_of_at_once(running: list[AnyRevalidation]) -> None:
    """With its request: those who come and go are many in one interval."""
    revalidation = Revalidation(86_400, put)
    running.append(revalidation)
    stream, host = Stream(), Host(ALICE)
    references = weakref.ref(stream), weakref.ref(host)
    revalidation.discard(revalidation.add(stream, ALICE, host))
    del stream, host
    gc.collect()
    assert [reference() for reference in references] == [None, None]


async def test_those_who_come_and_go_leave_nothing_behind() -> None:
    revalidation = Revalidation(86_400, put)
    kept = [revalidation.add(Stream(), ALICE, Host(ALICE)) for _ in range(10)]
    for _ in range(5000):
        revalidation.discard(revalidation.add(Stream(), ALICE, Host(ALICE)))
    assert [number for number, _ in revalidation._questions.items()] == kept
    for number in kept:
        revalidation.discard(number)
    assert len(revalidation._questions) == len(revalidation._expiries) == 0


async def test_an_answer_about_a_stream_that_has_ended_is_of_no_use(
    running: list[AnyRevalidation],
) -> None:
    revalidation, stream = Revalidation(0.01, put), Stream()
    asked, answer = asyncio.Event(), asyncio.Event()

    async def slow() -> Identity:
        asked.set()
        await answer.wait()
        raise InvalidToken("no")

    running.append(revalidation)
    number = revalidation.add(stream, ALICE, slow)
    await asked.wait()
    revalidation.discard(number)
    answer.set()
    other = Stream()
    revalidation.add(other, ALICE, Host(BOB))
    await eventually(lambda: other.closed)
    assert stream.closed == []


async def test_a_clock_that_is_set_ahead_starts_no_storm_of_questions(
    running: list[AnyRevalidation],
) -> None:
    clock = Clock()
    revalidation, host = Revalidation(300, put, clock=clock), Host(ALICE)
    running.append(revalidation)
    for _ in range(50):
        revalidation.add(Stream(), ALICE, host)
    clock.now += 86_400
    witness = Stream()
    revalidation.add(witness, Identity("witness", expires_at=clock.now), host)
    await eventually(lambda: witness.closed)
    assert host.asked == 0


async def test_a_clock_that_is_set_back_puts_off_no_question(
    running: list[AnyRevalidation],
) -> None:
    clock = Clock()
    revalidation, host = Revalidation(0.02, put, clock=clock), Host(ALICE)
    running.append(revalidation)
    revalidation.add(Stream(), ALICE, host)
    clock.now -= 86_400
    await eventually(lambda: host.asked >= 3)


async def test_a_token_lives_until_the_clock_says_that_it_has_expired(
    running: list[AnyRevalidation],
) -> None:
    """Set back while it is waited for, the clock has it live longer, and nobody is asked."""
    clock = Clock()
    revalidation, stream, host = Revalidation(300, put, clock=clock), Stream(), Host(ALICE)
    running.append(revalidation)
    revalidation.add(stream, Identity("alice", expires_at=clock.now + 0.05), host)
    clock.now -= 0.05
    until = asyncio.get_running_loop().time() + 0.09
    await eventually(lambda: asyncio.get_running_loop().time() > until)
    assert stream.closed == []
    clock.now += 1
    await eventually(lambda: stream.closed == ["token_expired"])
    assert host.asked == 0


def due(revalidation: AnyRevalidation, number: int) -> float:
    """In how many seconds a stream is to be asked about."""
    return dict(revalidation._questions.items()).get(number, 0.0) - revalidation._timer()


async def test_it_may_be_told_to_ask_sooner_and_then_goes_on_as_usual(
    running: list[AnyRevalidation],
) -> None:
    """As of a stream that comes from another node, where that was due."""
    clock = Clock()
    revalidation = Revalidation(300, put, clock=clock, timer=clock)
    running.append(revalidation)
    numbers = [
        revalidation.add(Stream(), replace(ALICE, ask_at=at), Host(ALICE))
        for at in (None, clock.now + 100, clock.now + 10_000)
    ]
    usual, sooner, later = (due(revalidation, each) for each in numbers)
    assert 240 <= usual <= 300
    assert sooner == 100
    assert 240 <= later <= 300


@pytest.mark.parametrize("answer", [AuthUnavailable("no answer"), ALICE])
async def test_who_was_to_be_asked_sooner_is_so_once(
    running: list[AnyRevalidation], answer: Identity | Exception
) -> None:
    clock = Clock()
    revalidation, host = Revalidation(300, put, clock=clock, timer=clock), Host(answer)
    running.append(revalidation)
    number = revalidation.add(Stream(), replace(ALICE, ask_at=clock.now), host)
    await eventually(lambda: host.asked == 1 and due(revalidation, number) > 0)
    assert 240 <= due(revalidation, number) <= 300


# Another configuration


async def test_all_are_asked_about_within_a_time_when_all_is_to_be_asked_again(
    running: list[AnyRevalidation],
) -> None:
    clock = Clock()
    revalidation = Revalidation(86_400, put, clock=clock, timer=clock)
    for _ in range(200):
        revalidation.add(Stream(), ALICE, Host(ALICE))
    revalidation.ask_all(10)
    moments = sorted(due - clock.now for _, due in revalidation._questions.items())
    assert len(moments) == 200
    assert 0 <= moments[0] < 2
    assert 8 < moments[-1] <= 10


async def test_asking_about_all_ends_whoever_is_refused_and_only_them(
    running: list[AnyRevalidation],
) -> None:
    revalidation, refused, accepted = Revalidation(86_400, put), Stream(), Stream()
    host = Host(ALICE)
    running.append(revalidation)
    revalidation.add(refused, ALICE, Host(InvalidToken("no")))
    revalidation.add(accepted, ALICE, host)
    revalidation.ask_all(0)
    await eventually(lambda: refused.closed == ["token_refused"] and host.asked == 1)
    assert accepted.closed == []


async def test_whoever_is_let_in_when_all_are_being_asked_is_asked_about_at_once(
    running: list[AnyRevalidation],
) -> None:
    revalidation, stream = Revalidation(86_400, put), Stream()
    running.append(revalidation)
    revalidation.add(stream, ALICE, Host(InvalidToken("no")), at_once=True)
    await eventually(lambda: stream.closed == ["token_refused"])


async def test_asking_about_all_again_and_again_leave_nothing_behind(
    running: list[AnyRevalidation],
) -> None:
    """Not even while a question is under way."""
    revalidation = Revalidation(86_400, put)
    asked, answer = asyncio.Event(), asyncio.Event()

    async def slow() -> Identity:
        asked.set()
        await answer.wait()
        return ALICE

    running.append(revalidation)
    numbers = [revalidation.add(Stream(), ALICE, Host(ALICE)) for _ in range(10)]
    revalidation.add(Stream(), ALICE, slow, at_once=True)
    await asked.wait()
    for _ in range(1000):
        revalidation.ask_all(86_400)
    assert sorted(number for number, _ in revalidation._questions.items()) == numbers
    answer.set()
    await eventually(lambda: len(revalidation._questions) == 11)


async def test_a_shorter_interval_counts_for_streams_that_are_open(
    running: list[AnyRevalidation],
) -> None:
    revalidation, host = Revalidation(86_400, put), Host(ALICE)
    running.append(revalidation)
    revalidation.add(Stream(), ALICE, host)
    revalidation.adopt(Revalidation(0.02, put))
    await eventually(lambda: host.asked >= 3)


async def test_a_longer_interval_counts_from_the_next_question_on() -> None:
    clock = Clock()
    revalidation = Revalidation(10, put, clock=clock, timer=clock)
    revalidation.add(Stream(), ALICE, Host(ALICE))
    revalidation.adopt(Revalidation(300, put))
    assert due(revalidation, 0) <= 10
    revalidation.add(Stream(), ALICE, Host(ALICE))
    assert due(revalidation, 1) >= 240


# --- groups --------------------------------------------------------------------------------------


async def test_a_stream_is_told_of_other_groups_and_of_the_same_ones_is_not() -> None:
    """Whoever can give no answer says nothing of them."""
    before, after = frozenset({"a"}), frozenset({"b"})
    host = Host(
        Identity("alice", groups=before),
        Identity("alice", groups=after),
        AuthUnavailable("no"),
        Identity("alice", groups=after),
        Identity("alice"),
    )
    told: list[tuple[object, frozenset[str]]] = []
    revalidation: AnyRevalidation = Revalidation(
        0.02, put, lambda stream, groups: told.append((stream, groups))
    )
    stream = Stream()
    revalidation.add(stream, Identity("alice", groups=before), host)
    task = asyncio.create_task(revalidation.run())
    await eventually(lambda: host.asked > 5)
    task.cancel()
    assert told == [(stream, after), (stream, frozenset())]
    assert stream.closed == []
