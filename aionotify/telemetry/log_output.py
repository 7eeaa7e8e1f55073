"""Where the lines of the log go: written by a thread, so that who does not read them stops nothing.

A pipe that nobody reads takes 64 KiB, and then whoever writes to it waits for ever. A disk may be
full. What cannot be written is counted.
"""

import logging
import os
import select
import threading
from typing import Final, TextIO

_MAX_WAITING: Final = 1 << 20  # bytes; some 8,000 lines, until somebody reads again
_AT_ONCE: Final = select.PIPE_BUF  # bytes; more could be mixed with the lines of another process
_FLUSH: Final = 1.0  # seconds that the end of the process waits for what is not written yet

_log = logging.getLogger(__name__)


class LogOutput(logging.Handler):
    """Writes each record as a line to the file behind `stream`.

    Attributes:
        lost: lines that could not be written.

    Raises OSError or ValueError: it is closed, or there is no file behind it.
    """

    def __init__(self, stream: TextIO) -> None:
        super().__init__()
        self.stream = stream
        self.lost = 0
        self._told = 0
        self._fd = os.dup(stream.fileno())
        self._lines: list[bytes] = []
        self._waiting = 0  # bytes
        self._closing = False
        self._changed = threading.Condition()
        # A daemon: it may be in a write that never ends, and the process must be able to.
        self._thread = threading.Thread(target=self._run, name="aionotify log", daemon=True)
        self._thread.start()

    def emit(self, record: logging.LogRecord) -> None:
        """Have the line of `record` written, unless too much waits already."""
        try:
            line = f"{self.format(record)}\n".encode(errors="backslashreplace")
        except Exception:  # noqa: BLE001 - as every handler of the standard library does
            self.handleError(record)
            return
        with self._changed:
            if self._waiting + len(line) > _MAX_WAITING or self._closing:
                self.lost += 1
                return
            self._waiting += len(line)
            self._lines.append(line)
            self._changed.notify_all()

    def flush(self) -> None:
        """Wait until all lines are written, but for a second at most."""
        with self._changed:
            self._changed.wait_for(lambda: not self._waiting, _FLUSH)

    def close(self) -> None:
        """End the thread when it has written what there is; later lines are lost."""
        with self._changed:
            self._closing = True
            self._changed.notify_all()
        super().close()

    def _run(self) -> None:
        while lines := self._next():
            data = b"".join(lines)
            try:
                _write(self._fd, data)
            except OSError:  # the disk is full, or the reader has gone
                with self._changed:
                    self.lost += len(lines)
                written = False
            else:
                written = True
            with self._changed:
                self._waiting -= len(data)
                self._changed.notify_all()
            if written and self.lost > self._told:
                lines_lost, self._told = self.lost - self._told, self.lost
                _log.warning("log lines lost", extra={"fields": {"lines": lines_lost}})
        os.close(self._fd)

    def _next(self) -> list[bytes]:
        """Wait for lines, and take as many as go together; none when it is time to end."""
        with self._changed:
            self._changed.wait_for(lambda: self._lines or self._closing)
            taken = self._lines[:1]
            size = sum(map(len, taken))
            for line in self._lines[1:]:
                if (size := size + len(line)) > _AT_ONCE:
                    break
                taken.append(line)
            del self._lines[: len(taken)]
        return taken


def _write(fd: int, data: bytes) -> None:
    rest = memoryview(data)
    while rest:
        try:
            rest = rest[os.write(fd, rest) :]
        except BlockingIOError:  # another process that has it open does not want to wait
            waiting = select.poll()
            waiting.register(fd, select.POLLOUT)
            waiting.poll()
