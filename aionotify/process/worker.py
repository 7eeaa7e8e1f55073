"""A worker process: it takes its sockets and its configuration from the parent that started it."""

import os
import signal
import socket
from typing import Final

import msgspec

from aionotify.process import node
from aionotify.process.node import Sockets
from aionotify.process.worker_channel import WorkerChannel
from aionotify.telemetry import logs
from aionotify.telemetry.worker_peers import WorkerPlace

VARIABLE: Final = "AIONOTIFY_WORKER"
"""Tells a process that it is a worker: the descriptors of its channel and its sockets."""

FOR_THE_PARENT: Final = frozenset({signal.SIGUSR1, signal.SIGHUP})
"""Signals for the parent only. They are blocked for a worker until it ignores them."""


class Inherited(msgspec.Struct):
    """What a worker inherits: file descriptors, and its place among its peers."""

    channel: int
    public: list[int]
    admin: list[int]
    kept: bool
    place: WorkerPlace | None


def main() -> int:
    """Run the worker that the parent has started; return the exit code."""
    inherited = msgspec.json.decode(os.environ.pop(VARIABLE), type=Inherited)
    channel = WorkerChannel(socket.socket(fileno=inherited.channel))
    # A service manager signals every process. Only the parent acts on these, and sends orders.
    for number in FOR_THE_PARENT:
        signal.signal(number, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, FOR_THE_PARENT)
    order = channel.first_order()
    if order.config is None or order.level is None:
        return 1  # the parent is gone
    logs.configure(order.config.log.level, order.config.log.format)
    logs.set_level(order.level)
    public, admin = (
        [socket.socket(fileno=fd) for fd in fds] for fds in (inherited.public, inherited.admin)
    )
    sockets = Sockets(public, admin, inherited.kept)
    return node.serve(order.config, sockets, channel.answer, channel, inherited.place)
