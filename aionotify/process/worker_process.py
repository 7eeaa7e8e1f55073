"""Starts the process of a worker.

This module does not know when one is started, or what becomes of it.
"""

import asyncio
import contextlib
import os
import signal
import socket
import sys
from collections.abc import Iterator, Mapping
from typing import Final

import msgspec

from aionotify.process.node import Sockets
from aionotify.process.worker import FOR_THE_PARENT, VARIABLE, Inherited
from aionotify.telemetry.worker_peers import WorkerPlace

_OURS: Final = ("NOTIFY_SOCKET", "WATCHDOG_PID")  # meant for the parent only


async def spawn(
    sockets: Sockets,
    channel: socket.socket,
    place: WorkerPlace | None,
    environ: Mapping[str, str],
) -> asyncio.subprocess.Process:
    """Start a worker that serves on `sockets`, and return its process.

    Args:
        channel: the worker's end; on the other one it waits for its first order.
        place: its place among its peers, if it has any.
        environ: variables beside ours.
    """
    public, admin = ([sock.fileno() for sock in s] for s in (sockets.public, sockets.admin))
    inherited = Inherited(channel.fileno(), public, admin, sockets.kept, place)
    inherited_environ = {n: value for n, value in os.environ.items() if n not in _OURS}
    # -P: do not import modules from the current directory.
    is_frozen = getattr(sys, "frozen", False)
    command = [sys.executable] if is_frozen else [sys.executable, "-P", "-m", "aionotify"]
    with _blocked(FOR_THE_PARENT):
        return await asyncio.create_subprocess_exec(
            *command,
            env={**inherited_environ, **environ, VARIABLE: msgspec.json.encode(inherited).decode()},
            stdin=asyncio.subprocess.DEVNULL,
            pass_fds=[channel.fileno(), *public, *admin],
        )


@contextlib.contextmanager
def _blocked(numbers: frozenset[signal.Signals]) -> Iterator[None]:
    """Block signals for a process that starts meanwhile; they would end it by default."""
    signal.pthread_sigmask(signal.SIG_BLOCK, numbers)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, numbers)
