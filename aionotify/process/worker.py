"""A process that is one of several nodes: what it is given by the parent that has started it."""

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
"""Tells a process that it is a node: the descriptors of its leash and of its sockets."""

FOR_THE_PARENT: Final = frozenset({signal.SIGUSR1, signal.SIGHUP})
"""Signals that say nothing to a node. Until it ignores them, they are to be kept from it."""


class Inherited(msgspec.Struct):
    """Descriptors, and its place among its siblings."""

    leash: int
    public: list[int]
    admin: list[int]
    kept: bool
    place: WorkerPlace | None


def main() -> int:
    """Be the node that the parent has started; return the exit code."""
    inherited = msgspec.json.decode(os.environ.pop(VARIABLE), type=Inherited)
    leash = WorkerChannel(socket.socket(fileno=inherited.leash))
    # What is sent to all of a service is for the parent alone, which says what is to be done.
    for number in FOR_THE_PARENT:
        signal.signal(number, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, FOR_THE_PARENT)
    order = leash.first_order()
    if order.config is None or order.level is None:
        return 1  # the parent is gone
    logs.configure(order.config.log.level, order.config.log.format)
    logs.set_level(order.level)
    public, admin = (
        [socket.socket(fileno=fd) for fd in fds] for fds in (inherited.public, inherited.admin)
    )
    listeners = Sockets(public, admin, inherited.kept)
    return node.serve(order.config, listeners, leash.answer, leash, inherited.place)
