"""Standard input, output and error, which whoever starts us may have closed.

Imports next to nothing: it is used before anything else.
"""

import os
import sys
from typing import Final

_STREAMS: Final = (("stdin", "r"), ("stdout", "w"), ("stderr", "w"))  # by file descriptor


def open_closed() -> None:
    """Open ``/dev/null`` in place of each that is closed.

    Otherwise the next file or socket gets its number, and what is meant for the log is written to
    that.
    """
    for number, (name, mode) in enumerate(_STREAMS):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # gets the lowest number that is free, which is this
            os.set_inheritable(number, True)
        if getattr(sys, name) is None:
            setattr(sys, name, open(number, mode, closefd=False))  # noqa: SIM115
