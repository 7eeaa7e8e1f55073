"""One node: the application on an event loop, from its first connection to an orderly stop.

This module knows when the application starts, drains and stops, not what it does.
"""

import asyncio
import contextlib
import gc
import itertools
import logging
import signal
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol

from aiohttp import web

from aionotify import app as application
from aionotify import tasks
from aionotify.config import Config
from aionotify.process import systemd
from aionotify.process.http_log import ConnectionLog
from aionotify.process.signals import on_signal
from aionotify.process.sockets import BACKLOG, address_of, tune
from aionotify.telemetry.open_files import accept_quietly
from aionotify.telemetry.worker_peers import WorkerPlace

logger = logging.getLogger(__name__)

# aiohttp drops all of them, with no more than a warning, when one is misspelt.
RUNNER_OPTIONS: dict[str, Any] = {
    "handler_cancellation": True,  # a waiting stream must notice that its client has left
    "access_log": None,  # a line costs more than a delivery, and would have query strings in it
    "shutdown_timeout": 1.0,  # seconds, up to twice; drain has ended the streams by then
    # Seconds between two requests, and for a request's head. A proxy (nginx: 60) must close first.
    "keepalive_timeout": 75.0,
    "lingering_time": 2.0,  # seconds in which the rest of a refused body is read
    "auto_decompress": False,  # unpacking a body can cost a thousand times what sending it does
}

# asyncio accepts up to this many connections in a row before it does anything else, and makes as
# many attempts when no file descriptor is left.
_ACCEPTED_AT_ONCE = 128

_STATUS_INTERVAL = 2.0  # seconds; people read it
_HANDSHAKE = 0.1  # seconds from a connection to its request
_ANSWER_CHECK_INTERVAL = 0.05  # seconds
_GRACE = 1.0  # seconds that draining may take beyond `server.drain`
_CLEANUP = 5.0  # seconds in which the application closes its connections


@dataclass(frozen=True, slots=True)
class Sockets:
    """The listening sockets of one node. Without `admin` sockets, the public ones serve everything.

    Attributes:
        kept: whether systemd keeps the public ones open for the next process.
    """

    public: Sequence[socket.socket]
    admin: Sequence[socket.socket] = ()
    kept: bool = False


Prepare = Callable[[web.Application, Sockets], None]


def as_it_is(app: web.Application, sockets: Sockets) -> None:
    """Add nothing to the application."""


class Guide(Protocol):
    """What changes the configuration of a node while it serves: signals, or a parent.

    Attributes:
        problem: why the last change failed, for a status; None if it did not.
    """

    problem: str | None

    def listen(self) -> None:
        """Begin to receive changes, on the running event loop."""

    async def run(
        self, adopt: Callable[[Config], Awaitable[object]], refused: Callable[[], None]
    ) -> None:
        """Apply each change. The node stops when this returns.

        Args:
            adopt: puts a configuration in force; after a ConfigError nothing has changed.
            refused: called for a configuration that could not be put in force.
        """


def serve(
    config: Config,
    sockets: Sockets,
    tell: Callable[[str], None],
    guide: Guide,
    place: WorkerPlace | None = None,
    prepare: Prepare = as_it_is,
) -> int:
    """Serve until SIGTERM, SIGINT or the guide's order to stop, and return the exit code.

    0 after an orderly stop, which takes ``server.drain`` seconds and a little more; 1 after a
    second signal.

    Args:
        tell: called with the states of sd_notify(3).
        place: the node's place among its peers, if it has any.
        prepare: adds something to the application before it starts.
    """
    collect_less()
    with asyncio.Runner(loop_factory=_loop_factory()) as runner:
        return runner.run(_serve(config, sockets, tell, guide, place, prepare))


def collect_less() -> None:
    """Make the garbage collector run less often.

    With Python's defaults, opening 10,000 streams causes full collections of a quarter of a second
    each, a quarter of the total time. Imported modules are never collected again.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(10_000, 10, 10)


async def _serve(
    config: Config,
    sockets: Sockets,
    tell: Callable[[str], None],
    guide: Guide,
    place: WorkerPlace | None,
    prepare: Prepare,
) -> int:
    stop = _stop_on_signal()
    accept_quietly(asyncio.get_running_loop())
    guide.listen()
    try:
        async with _running(config, sockets, place, prepare) as (app, runner), watched(tell):
            addresses = [address_of(sock) for sock in sockets.public]
            logger.info("listening", extra={"fields": _described(sockets)})
            tell(f"READY=1\nSTATUS=Serving on {' '.join(addresses)}")
            async with _guided(app, guide, tell, stop):
                await stop.wait()
            tell("STOPPING=1\nSTATUS=Ending the open streams")
            await _leave(app, runner, kept=sockets.kept)
    except asyncio.CancelledError:
        logger.warning("stopped by a second signal")
        return 1
    logger.info("stopped")
    return 0


def _stop_on_signal() -> asyncio.Event:
    """Return the event that the first SIGTERM or SIGINT sets; a second one cancels the caller."""
    task, stop = asyncio.current_task(), asyncio.Event()
    count = itertools.count()

    def end() -> None:
        if next(count) == 0:
            stop.set()
        elif task is not None:
            task.cancel()

    on_signal((signal.SIGTERM, signal.SIGINT), end)
    return stop


@contextlib.asynccontextmanager
async def _guided(
    app: web.Application, guide: Guide, tell: Callable[[str], None], stop: asyncio.Event
) -> AsyncIterator[None]:
    """Let `guide` change the configuration of `app`, and report its status."""

    async def follow() -> None:
        await guide.run(partial(application.reload, app), partial(application.not_reloaded, app))
        stop.set()

    def status() -> str:
        return "; ".join(filter(None, (application.status(app), guide.problem)))

    async with running_beside(follow(), "guide"), running_beside(report(tell, status), "status"):
        yield


@contextlib.asynccontextmanager
async def _running(
    config: Config, sockets: Sockets, place: WorkerPlace | None, prepare: Prepare
) -> AsyncIterator[tuple[web.Application, web.AppRunner]]:
    """Run the application on `sockets`; at the end, close its connections.

    Yields the runner of the public sockets.
    """
    app = application.create_app(config)
    prepare(app, sockets)
    if place is not None:
        await _join(app, place)
    async with contextlib.AsyncExitStack() as undo:
        runner = await start(undo, app, sockets.public)
        if sockets.admin:
            await start(undo, application.create_admin_app(app), sockets.admin)
        yield app, runner


async def _join(app: web.Application, place: WorkerPlace) -> None:
    try:
        await application.join(app, place)
    except OSError as error:  # a directory that is full, gone, or too deep for a socket
        fields = {"reason": str(error)}
        logger.warning("metrics of other workers are not available", extra={"fields": fields})


async def start(
    undo: contextlib.AsyncExitStack, app: web.Application, sockets: Sequence[socket.socket]
) -> web.AppRunner:
    """Serve `app` on `sockets` until `undo` is closed."""
    log = ConnectionLog(partial(application.count_malformed, app))
    runner = web.AppRunner(app, logger=log, **RUNNER_OPTIONS)
    undo.push_async_callback(_clean_up, runner)
    await runner.setup()
    for sock in sockets:
        tune(sock)
        await web.SockSite(runner, sock, backlog=_ACCEPTED_AT_ONCE).start()
        sock.listen(BACKLOG)
    return runner


async def _clean_up(runner: web.AppRunner) -> None:
    try:
        async with tasks.timeout(_CLEANUP):
            await runner.cleanup()
    except TimeoutError:
        logger.warning(
            "some connections did not close in time", extra={"fields": {"seconds": _CLEANUP}}
        )


async def _leave(app: web.Application, runner: web.AppRunner, *, kept: bool) -> None:
    """Stop accepting connections, and end every stream within ``server.drain`` seconds.

    If that is cancelled, end them at once. A socket of our own is closed after
    ``server.drain_delay`` seconds, in which whoever sends clients here can find out that it should
    not. Connections to one that is `kept` are the next process's.
    """
    server = application.config_of(app).server
    delay = 0.0 if kept else server.drain_delay
    seconds = server.drain - delay
    logger.info("draining", extra={"fields": {"seconds": server.drain, "delay": delay}})
    application.announce_drain(app)
    try:
        await asyncio.sleep(delay)
        end = asyncio.get_running_loop().time() + seconds
        await _stop_accepting(runner)
        async with tasks.timeout(seconds + _GRACE):
            await application.drain(app, seconds)
        await _wait_for_answers(runner, end)
    except TimeoutError:
        logger.warning("some streams did not end in time", extra={"fields": {"seconds": seconds}})
    except asyncio.CancelledError:
        with contextlib.suppress(TimeoutError):
            async with tasks.timeout(_GRACE):
                await application.drain(app, 0)
        raise


async def _stop_accepting(runner: web.AppRunner) -> None:
    """Close the sockets, and the connections that wait for a request."""
    for site in list(runner.sites):
        await site.stop()
    # Connections accepted last still send their request; it gets an answer.
    await asyncio.sleep(_HANDSHAKE)
    if runner.server is not None:
        for connection in runner.server.connections:
            _let_go(connection)


async def _wait_for_answers(runner: web.AppRunner, end: float) -> None:
    """Wait for the requests that are under way, to the time `end` at most.

    After `_stop_accepting` there are no other connections.
    """
    server, clock = runner.server, asyncio.get_running_loop().time
    while server and server.connections and clock() < end:  # noqa: ASYNC110 - there is no event
        await asyncio.sleep(_ANSWER_CHECK_INTERVAL)


def _let_go(connection: web.RequestHandler) -> None:
    """Close a connection: after the answer that is under way, or now if it waits for a request.

    After aiohttp's `close` one that waits stays open, and drops the request that comes.
    """
    if connection._waiter is not None and not connection._waiter.done():
        connection.force_close()
    else:
        connection.close()


@contextlib.asynccontextmanager
async def watched(tell: Callable[[str], None]) -> AsyncIterator[None]:
    """Report to the service manager's watchdog, if it has one, that this event loop runs."""
    interval = systemd.watchdog_interval()
    if interval is None:
        yield
        return
    async with running_beside(_report_life(tell, interval / 3), "watchdog"):
        yield


@contextlib.asynccontextmanager
async def running_beside(work: Coroutine[Any, Any, None], name: str) -> AsyncIterator[None]:
    """Run `work` as a task, and cancel it in the end."""
    task = asyncio.create_task(work, name=name)
    try:
        yield
    finally:
        await tasks.cancelled([task])


async def _report_life(tell: Callable[[str], None], interval: float) -> None:
    while True:
        tell("WATCHDOG=1")
        await asyncio.sleep(interval)


async def report(tell: Callable[[str], None], status: Callable[[], str]) -> None:
    """Tell the status each time it changes."""
    told = ""
    while True:
        if (now := status()) != told:
            tell(f"STATUS={now}")
            told = now
        await asyncio.sleep(_STATUS_INTERVAL)


def _described(sockets: Sockets) -> dict[str, object]:
    fields: dict[str, object] = {"address": " ".join(map(address_of, sockets.public))}
    if sockets.admin:
        fields["admin"] = " ".join(map(address_of, sockets.admin))
    return fields | {"loop": type(asyncio.get_running_loop()).__module__.partition(".")[0]}


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    try:
        import uvloop
    except ImportError:
        return None
    return uvloop.new_event_loop
