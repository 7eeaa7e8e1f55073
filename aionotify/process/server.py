"""From a configuration to a running server: limits, sockets, and one process or several."""

import contextlib
import resource
import signal
from collections.abc import Callable

from aionotify.auth.factory import with_files
from aionotify.config import Config
from aionotify.process import node, supervisor, systemd
from aionotify.process.node import Sockets
from aionotify.process.reload import Reloading
from aionotify.process.sockets import listen


def run(config: Config, load: Callable[[], Config]) -> int:
    """Serve until SIGTERM or SIGINT, and return the exit code.

    0 after an orderly end within ``server.drain`` seconds and a little, 1 when a second signal
    cut it short or a worker failed. Setting up logging is the caller's. `load` reads the
    configuration again, at SIGHUP.

    Raises CannotListen, and what the application raises at its start.
    """
    # What changes the log level must not end us before we listen to it.
    signal.signal(signal.SIGUSR1, signal.SIG_IGN)
    _raise_file_limit()
    # Here, so that a worker that comes later has what was in a file when the others read it.
    config = with_files(config)
    reloading = Reloading(config, lambda: with_files(load()), systemd.notify)
    listeners = _listeners(config)
    if len(listeners) > 1:
        return supervisor.supervise(config, listeners, reloading)
    return node.serve(config, listeners[0], systemd.notify, reloading)


def _listeners(config: Config) -> list[Sockets]:
    """Return what each worker listens on: what systemd has opened for us, or our own."""
    server, admin = config.server, config.admin
    passed = systemd.take_sockets()
    passed_admin = passed.pop("admin", [])
    public = [sock for sockets in passed.values() for sock in sockets]
    publics = (
        [public] * server.workers if public else listen(server.host, server.port, server.workers)
    )
    if passed_admin or admin.port is None:
        admins = [passed_admin] * server.workers
    else:
        admins = listen(admin.host, admin.port, server.workers)
    pairs = zip(publics, admins, strict=True)
    return [Sockets(*pair, kept=bool(public)) for pair in pairs]


def _raise_file_limit() -> None:
    """Allow as many open files, so as many streams, as we may: the soft limit is often 1,024."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(ValueError, OSError):  # macOS calls unlimited what it does not allow
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
