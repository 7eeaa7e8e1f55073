"""Children that end at SIGINT, whoever started the tests.

What a script runs in the background ignores SIGINT, and so does whatever that starts: a test that
sends it would wait for ever.
"""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

_starting: Final[list[None]] = []  # one for each who does, since several may at once


@contextmanager
def interruptible() -> Iterator[None]:
    """Have what is started meanwhile ignore no SIGINT."""
    if not _starting and signal.getsignal(signal.SIGINT) is not signal.SIG_IGN:
        yield
        return
    _starting.append(None)
    signal.signal(signal.SIGINT, signal.default_int_handler)  # which nobody inherits
    try:
        yield
    finally:
        _starting.pop()
        if not _starting:
            signal.signal(signal.SIGINT, signal.SIG_IGN)
