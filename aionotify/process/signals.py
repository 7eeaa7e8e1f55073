"""Signals of a process that may get each of them twice.

The one-file binary serves from a second process, and its first process passes signals on. A
terminal, or a service manager that signals all processes, sends the second process the same signal
itself.
"""

import asyncio
import math
import signal
import sys
from collections.abc import Callable

_ECHO = 0.5  # seconds; a person who repeats a signal takes longer


def hold_hangup() -> None:
    """Hold a SIGHUP, which would end the process, until `on_hangup` is called."""
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGHUP})


def on_hangup(handler: Callable[[], object]) -> None:
    """Call `handler` on the running event loop for each SIGHUP, and for one that was held.

    Echoes count too: a quick second SIGHUP looks the same, and another reload does no harm.
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
