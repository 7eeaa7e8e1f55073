"""Signals of a process that may get each of them twice.

The one-file binary serves from a second process, to which the first one passes on what it gets. A
terminal, or a service manager that signals all processes, has then signalled it already.
"""

import asyncio
import math
import signal
import sys
from collections.abc import Callable

_ECHO = 0.5  # seconds; who insists takes longer


def hold_hangup() -> None:
    """Keep a SIGHUP, which would end us, until `on_hangup` is called."""
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGHUP})


def on_hangup(handler: Callable[[], object]) -> None:
    """Call `handler` on the running event loop for each SIGHUP, and for one that was kept.

    An echo is passed on as well: it may be no echo, but somebody who was quick.
    """
    asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, handler)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGHUP})


def on_signal(numbers: tuple[signal.Signals, ...], handler: Callable[[], object]) -> None:
    """Call `handler` on the running event loop for each of the signals, but not for an echo."""
    loop = asyncio.get_running_loop()
    last = -math.inf

    def without_echo() -> None:
        nonlocal last
        if loop.time() - last > _ECHO:
            last = loop.time()
            handler()

    for number in numbers:
        frozen = getattr(sys, "frozen", False)
        loop.add_signal_handler(number, without_echo if frozen else handler)
