"""Children that end at SIGINT, whoever started the tests.

What a script runs in the background ignores SIGINT, and so does whatever that starts: a test that
sends it would wait for ever.
"""

import signal
import sys
from typing import Final

# In the child, for only the main thread of the tests could do it for all that they start.
_HEAR: Final = """
import os, signal, sys
signal.signal(signal.SIGINT, signal.SIG_DFL)
os.execvp(sys.argv[1], sys.argv[1:])
"""


def interruptible(*command: str) -> tuple[str, ...]:
    """Return `command` as one that does not ignore SIGINT, though we may."""
    if signal.getsignal(signal.SIGINT) is not signal.SIG_IGN:
        return command
    return (sys.executable, "-ISc", _HEAR, *command)
