"""Calls that many wait for and nobody owns."""

import asyncio
import gc
from functools import partial

import pytest

from aionotify.auth.single_flight import FlightCancelled, SingleFlight
from tests.auth.helpers import until


async def test_calls_for_different_keys_run_side_by_side() -> None:
    flights = SingleFlight[str]("aionotify-test")
    both = asyncio.Barrier(2)

    async def call(result: str) -> str:
        await both.wait()
        return result

    results = await asyncio.gather(*(flights.run(key, partial(call, key)) for key in "ab"))
    assert results == ["a", "b"]
    assert len(flights) == 0


async def test_a_call_that_fails_fails_for_all_who_wait_and_is_made_anew_afterwards() -> None:
    flights = SingleFlight[str]("aionotify-test")
    calls = 0

    async def call() -> str:
        nonlocal calls
        calls += 1
        await asyncio.sleep(0)
        if calls == 1:
            raise ValueError("no")
        return "yes"

    outcomes = await asyncio.gather(
        *(flights.run("key", call) for _ in range(3)), return_exceptions=True
    )
    assert [str(outcome) for outcome in outcomes] == ["no"] * 3
    assert await flights.run("key", call) == "yes"


async def test_closing_cancels_what_runs_and_lets_nothing_start() -> None:
    flights = SingleFlight[None]("aionotify-test")
    cancelled, started = False, asyncio.Event()

    async def call() -> None:
        nonlocal cancelled
        started.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            cancelled = True
            raise

    waiting = asyncio.create_task(flights.run("key", call))
    await started.wait()
    await flights.close()
    assert cancelled
    with pytest.raises(FlightCancelled):
        await waiting
    with pytest.raises(FlightCancelled):
        await flights.run("key", call)
    assert len(flights) == 0


async def test_a_failure_that_nobody_waits_for_is_not_reported_as_forgotten() -> None:
    complaints: list[dict[str, object]] = []
    asyncio.get_running_loop().set_exception_handler(lambda loop, what: complaints.append(what))
    flights = SingleFlight[None]("aionotify-test")
    go_on = asyncio.Event()

    async def call() -> None:
        await go_on.wait()
        raise ValueError("no")

    waiting = asyncio.create_task(flights.run("key", call))
    await until(lambda: len(flights))
    waiting.cancel()
    await asyncio.wait([waiting])
    del waiting  # or its traceback keeps the call alive
    go_on.set()
    await until(lambda: not len(flights))
    gc.collect()
    assert not complaints
