"""A Valkey server process that stops when we stop, and whose output goes to our log.

The server is the child of a guard, a shell of a few lines that waits for a word on its standard
input. When our process ends in any way, including SIGKILL, the kernel closes that pipe, and the
guard stops the server and cleans up. PR_SET_PDEATHSIG would need no shell, but it follows the
thread that forked and not the process, needs code between fork and exec in a process with threads,
and is Linux only.

This module starts and stops a process. Its options, and whether it is started again, are decided
elsewhere.
"""

import asyncio
import logging
import os
import signal
import subprocess
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from aionotify import tasks
from aionotify.errors import BrokerUnavailable

logger = logging.getLogger(__name__)

START_TIMEOUT = 10.0  # s until the server answers anything; 0.04 is usual
STOP_TIMEOUT = 10.0  # s between SIGTERM and SIGKILL; the last write has to reach the disk

# $0 is the socket. EOF instead of a word means that our process is gone and the guard must clean
# up. It closes its own output, so that EOF on our side means the end of the server. A limit on the
# size of files (LimitFSIZE=, ulimit -f) must cause an error, like a full disk, and not a signal
# that ends the server at its next write.
GUARD = """
umask 077
trap '' XFSZ
"$@" & server=$!
exec >/dev/null 2>&1
read -r word
kill "$server"
wait "$server"; status=$?
if [ -z "$word" ]; then rm -f "$0"; rmdir "${0%/*}"; fi
exit "$status"
"""


class ServerProcess:
    """One life of the server that `command` starts and that listens on `socket`.

    It inherits the descriptors `inherit`. If our process ends without `stop`, the guard removes the
    socket and its directory, which must otherwise be empty.
    """

    def __init__(self, command: Sequence[str], socket: Path, inherit: Sequence[int]) -> None:
        self._socket = socket
        # Not the event loop's own subprocesses: uvloop leaves the guard copies of the server's
        # output, whose end then never comes, and asyncio's need a watcher of child processes.
        self._process = subprocess.Popen(  # noqa: S603 - the words are ours, no shell splits them
            ["/bin/sh", "-c", GUARD, str(socket), *command],
            bufsize=0,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            # Ours may contain secrets and, in a frozen application, its own LD_LIBRARY_PATH.
            env={"PATH": os.defpath},
            pass_fds=inherit,
            # A Ctrl-C in the terminal must not reach the server: we need it until we have drained.
            start_new_session=True,
        )
        self._complaints: deque[str] = deque(maxlen=3)
        self._reading = asyncio.create_task(self._read_log(), name="embedded-server-log")

    @property
    def complaint(self) -> str:
        """The server's last warnings, or an empty text."""
        return "; ".join(self._complaints)

    async def answering(self) -> None:
        """Return when the server answers PING, after it has loaded its data.

        Raises BrokerUnavailable: it exited, with its last warnings, or it does not answer.
        """
        loop = asyncio.get_running_loop()
        deadline = loop.time() + START_TIMEOUT
        while not self._reading.done():
            answer = await _ping(self._socket)
            if answer.startswith(b"+PONG"):
                return
            if not answer and loop.time() > deadline:
                raise BrokerUnavailable(
                    f"the embedded server did not answer for {START_TIMEOUT:g} s"
                )
            await asyncio.wait([self._reading], timeout=0.02)
        raise BrokerUnavailable(f"the embedded server exited during its start: {self.complaint}")

    async def gone(self) -> None:
        """Return when the server has exited, for any reason."""
        await asyncio.wait([self._reading])

    async def stop(self) -> int:
        """Stop the server, by force if necessary; return its exit status."""
        assert self._process.stdin is not None
        with suppress(BrokenPipeError, ValueError):  # the guard has ended, or was told already
            self._process.stdin.write(b"stop\n")
        self._process.stdin.close()
        if not self._reading.done():
            await asyncio.wait([self._reading], timeout=STOP_TIMEOUT)
        if not self._reading.done():
            os.killpg(self._process.pid, signal.SIGKILL)
            await self.gone()
        # A few ms, for the guard ends with its server; a thread, for wait() blocks.
        return await asyncio.to_thread(self._process.wait)

    async def _read_log(self) -> None:
        loop = asyncio.get_running_loop()
        output = asyncio.StreamReader()
        pipe, _ = await loop.connect_read_pipe(
            lambda: asyncio.StreamReaderProtocol(output), self._process.stdout
        )
        try:
            # By chunk, for a line may exceed readline()'s limit; one cut in two is no harm.
            while chunk := await output.read(65536):
                for line in chunk.decode(errors="replace").splitlines():
                    self._note(line)
        finally:
            pipe.close()

    def _note(self, line: str) -> None:
        logger.debug("embedded server output", extra={"fields": {"line": line}})
        _, mark, warning = line.partition(" # ")  # "<pid>:<role> <date> # <warning>"
        if mark:
            self._complaints.append(warning)


async def _ping(socket: Path) -> bytes:
    """Ping the server once; return an empty text if it does not answer."""
    writer = None
    try:
        async with tasks.timeout(1):
            reader, writer = await asyncio.open_unix_connection(socket)
            writer.write(b"PING\r\n")
            return await reader.readline()
    except OSError:
        return b""
    finally:
        if writer is not None:
            writer.close()
