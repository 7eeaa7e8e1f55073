"""Signals: each is heard, and one that is passed on to us a second time is no second one."""

import asyncio
import os
import signal
import sys
from collections.abc import Iterator

import pytest

from aionotify.process.signals import hold_hangup, on_hangup, on_signal
from tests.harness import eventually

NUMBERS = (signal.SIGUSR1, signal.SIGUSR2)


@pytest.fixture(autouse=True)
def _signals_as_they_were() -> Iterator[None]:
    before = {number: signal.getsignal(number) for number in (*NUMBERS, signal.SIGHUP)}
    blocked = signal.pthread_sigmask(signal.SIG_BLOCK, ())
    yield
    for number, handler in before.items():
        signal.signal(number, handler)
    signal.pthread_sigmask(signal.SIG_SETMASK, blocked)


async def send(number: signal.Signals) -> None:
    """Send us a signal, and wait until it has been handled."""
    loop = asyncio.get_running_loop()
    done = asyncio.Event()
    loop.add_signal_handler(signal.SIGWINCH, done.set)  # after the other, and handled after it
    os.kill(os.getpid(), number)
    os.kill(os.getpid(), signal.SIGWINCH)
    await done.wait()
    loop.remove_signal_handler(signal.SIGWINCH)


@pytest.mark.parametrize(("frozen", "times"), [(False, 2), (True, 1)])
async def test_an_echo_is_ignored_where_there_may_be_one(
    monkeypatch: pytest.MonkeyPatch, frozen: bool, times: int
) -> None:
    """Only the one-file binary has a parent that passes on what we were sent as well."""
    monkeypatch.setattr(sys, "frozen", frozen, raising=False)
    count: list[str] = []
    on_signal(NUMBERS, lambda: count.append("heard"))
    for number in NUMBERS:
        await send(number)
    assert len(count) == times


async def test_a_hangup_is_kept_until_somebody_wants_it() -> None:
    """One that comes while the configuration is read ends nothing, and is not lost."""
    hold_hangup()
    signal.raise_signal(signal.SIGHUP)  # to this thread: another test may have left one unmasked
    count: list[str] = []
    on_hangup(lambda: count.append("heard"))
    await eventually(lambda: bool(count))
