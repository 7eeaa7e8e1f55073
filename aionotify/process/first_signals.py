"""SIGTERM before the event loop runs, in a process for which nothing happens by default.

Imports next to nothing: it is used before anything else.
"""

import os
import signal
from types import FrameType

_CODE = 128 + signal.SIGTERM  # as a shell reports a process that the signal has ended


def end_on_sigterm() -> None:
    """Let SIGTERM end process 1, the first of a container: the kernel would drop the signal.

    Any other process it ends anyway. The event loop puts a handler of its own in place.
    """
    if os.getpid() == 1:
        signal.signal(signal.SIGTERM, _end)


def _end(number: int, frame: FrameType | None) -> None:
    os._exit(_CODE)  # there is nothing yet to be put in order
