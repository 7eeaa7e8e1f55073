"""From a configuration to a running server: limits, sockets, and one process or several."""

import contextlib
import resource
import signal
import socket
from collections.abc import Callable

from aionotify.auth.factory import with_files
from aionotify.config import Config
from aionotify.process import node, supervisor, systemd
from aionotify.process.node import Sockets
from aionotify.process.reload import Reloading
from aionotify.process.sockets import CannotListen, listen


def run(config: Config, load: Callable[[], Config], prepare: node.Prepare = node.as_it_is) -> int:
    """Serve until SIGTERM or SIGINT, and return the exit code.

    0 after an orderly stop within ``server.drain`` seconds and a little more; 1 after a second
    signal or if a worker failed. The caller sets up logging.

    Args:
        load: reads the configuration again at SIGHUP.
        prepare: see `node.serve`; for a server of one process.

    Raises CannotListen, and what the application raises at its start.
    """
    # SIGUSR1 changes the log level. It must not end the process before the handler is installed.
    signal.signal(signal.SIGUSR1, signal.SIG_IGN)
    _raise_file_limit()
    # Read files here, so that all workers have the same content, also those that start later.
    config = with_files(config)
    reloading = Reloading(config, lambda: with_files(load()), systemd.notify)
    sockets = _sockets(config)
    if len(sockets) > 1:
        return supervisor.supervise(config, sockets, reloading)
    return node.serve(config, sockets[0], systemd.notify, reloading, prepare=prepare)


def _sockets(config: Config) -> list[Sockets]:
    """Return the sockets of each worker: those passed by systemd, or our own."""
    server, admin = config.server, config.admin
    passed = systemd.take_sockets()
    passed_admin = passed.pop("admin", [])
    public = [sock for sockets in passed.values() for sock in sockets]
    publics = (
        [public] * server.workers
        if public
        else _listen("server", server.host, server.port, server.workers)
    )
    if passed_admin or admin.port is None:
        admins = [passed_admin] * server.workers
    else:
        admins = _listen("admin", admin.host, admin.port, server.workers)
    pairs = zip(publics, admins, strict=True)
    return [Sockets(*pair, kept=bool(public)) for pair in pairs]


def _listen(section: str, host: str, port: int, processes: int) -> list[list[socket.socket]]:
    try:
        return listen(host, port, processes)
    except CannotListen as error:
        name = "host" if host.startswith("unix:") else "port"
        raise CannotListen(f"{error} (--{section}.{name})") from None


def _raise_file_limit() -> None:
    """Raise the soft limit of open files to the hard one: it is often 1,024."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(ValueError, OSError):  # macOS reports unlimited but does not allow it
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
