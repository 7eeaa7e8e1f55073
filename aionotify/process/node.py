"""One node: the application on an event loop, from its first connection to an orderly end.

Knows when the application starts, drains and stops, not what it does.
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
    "handler_cancellation": True,  # a parked stream has to notice that its client is gone
    "access_log": None,  # a line costs more than a delivery, and would have query strings in it
    "shutdown_timeout": 1.0,  # seconds, up to twice; drain has ended the streams by then
    # Seconds between two requests, and for a request's head to come in. A proxy (nginx: 60) has to
    # be the first to close.
    "keepalive_timeout": 75.0,
    "lingering_time": 2.0,  # seconds in which the rest of a refused body is read
    "auto_decompress": False,  # unpacking a body can cost a thousand times what sending it does
}

# asyncio tries to accept as many connections as it is told the backlog is before it does anything
# else, and when it is out of file descriptors, too.
_ACCEPTED_AT_ONCE = 128

_STATUS_INTERVAL = 2.0  # seconds; it is read by people
_HANDSHAKE = 0.1  # seconds from a connection to its request
_GRACE = 1.0  # seconds that draining may take beyond what it was given
_CLEANUP = 5.0  # seconds for what the application closes at the end


@dataclass(frozen=True, slots=True)
class Sockets:
    """The sockets of one node. No `admin` sockets: everything is served on the public ones.

    Attributes:
        kept: whoever passed on the public ones keeps them open for the node that comes next.
    """

    public: Sequence[socket.socket]
    admin: Sequence[socket.socket] = ()
    kept: bool = False


class Guide(Protocol):
    """What changes the configuration of a node while it serves: signals, or a parent.

    Attributes:
        problem: what went wrong with the last change, for a status; None if nothing did.
    """

    problem: str | None

    def listen(self) -> None:
        """Take note of what is to be changed, on the running event loop."""

    async def run(
        self, adopt: Callable[[Config], Awaitable[object]], refused: Callable[[], None]
    ) -> None:
        """Change what is to be changed. To return is the order to stop.

        Args:
            adopt: puts a configuration in force; after a ConfigError all is as it was before.
            refused: told of one that could not be put in force.
        """


def serve(
    config: Config,
    listeners: Sockets,
    tell: Callable[[str], None],
    guide: Guide,
    place: WorkerPlace | None = None,
) -> int:
    """Serve until SIGTERM, SIGINT or the guide's order to stop, and return the exit code.

    0 after an orderly end, which takes ``server.drain`` seconds and a little; 1 when a second
    signal has cut it short.

    Args:
        tell: called with the states of sd_notify(3).
        place: where the node is among its siblings, if they are to hear of each other.
    """
    collect_less()
    with asyncio.Runner(loop_factory=_loop_factory()) as runner:
        return runner.run(_serve(config, listeners, tell, guide, place))


def collect_less() -> None:
    """Have the garbage collector look at many streams less often.

    A stream is some 65 objects that live for long. With Python's defaults 10,000 that open at once
    are looked at all over again seven times, a quarter of a second each, and that is a quarter of
    what opening them takes. What is imported is never looked at again.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(10_000, 10, 10)


async def _serve(
    config: Config,
    listeners: Sockets,
    tell: Callable[[str], None],
    guide: Guide,
    place: WorkerPlace | None,
) -> int:
    stop = _stop_on_signal()
    accept_quietly(asyncio.get_running_loop())
    guide.listen()
    try:
        async with _running(config, listeners, place) as (app, runner), watched(tell):
            addresses = [address_of(sock) for sock in listeners.public]
            logger.info("listening", extra={"fields": _described(listeners)})
            tell(f"READY=1\nSTATUS=Serving on {' '.join(addresses)}")
            async with _guided(app, guide, tell, stop):
                await stop.wait()
            tell("STOPPING=1\nSTATUS=Ending the open streams")
            seconds = application.config_of(app).server.drain
            logger.info("draining", extra={"fields": {"seconds": seconds}})
            if listeners.kept:
                await _hand_over(runner)
            await _drain(app, seconds)
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
    """Have `guide` change what `app` goes by, and tell how it is."""

    async def follow() -> None:
        await guide.run(partial(application.reload, app), partial(application.not_reloaded, app))
        stop.set()

    def status() -> str:
        return "; ".join(filter(None, (application.status(app), guide.problem)))

    async with running_beside(follow(), "guide"), running_beside(report(tell, status), "status"):
        yield


@contextlib.asynccontextmanager
async def _running(
    config: Config, listeners: Sockets, place: WorkerPlace | None
) -> AsyncIterator[tuple[web.Application, web.AppRunner]]:
    """Run the application on `listeners`; at the end, close what it has open.

    The runner is that of the public sockets.
    """
    app = application.create_app(config)
    if place is not None:
        await _join(app, place)
    async with contextlib.AsyncExitStack() as undo:
        runner = await start(undo, app, listeners.public)
        if listeners.admin:
            await start(undo, application.create_admin_app(app), listeners.admin)
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


async def _hand_over(runner: web.AppRunner) -> None:
    """Leave it to the next node to accept connections, and have those there are made anew."""
    for site in list(runner.sites):
        await site.stop()
    # Those that were accepted last have yet to send their request; it gets an answer.
    await asyncio.sleep(_HANDSHAKE)
    if runner.server is not None:
        for connection in runner.server.connections:
            _let_go(connection)


def _let_go(connection: web.RequestHandler) -> None:
    """Close a connection: after the answer that is under way, or now if it waits for a request.

    After aiohttp's `close` one that waits stays open, and drops the request that comes.
    """
    if connection._waiter is not None and not connection._waiter.done():
        connection.force_close()
    else:
        connection.close()


async def _drain(app: web.Application, seconds: float) -> None:
    """End every stream within `seconds`, or at once when that is cancelled."""
    try:
        async with tasks.timeout(seconds + _GRACE):
            await application.drain(app, seconds)
    except TimeoutError:
        logger.warning("some streams did not end in time", extra={"fields": {"seconds": seconds}})
    except asyncio.CancelledError:
        with contextlib.suppress(TimeoutError):
            async with tasks.timeout(_GRACE):
                await application.drain(app, 0)
        raise


@contextlib.asynccontextmanager
async def watched(tell: Callable[[str], None]) -> AsyncIterator[None]:
    """Tell the service manager that this event loop turns, for as long as it wants to know."""
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
    """Tell a status each time it is another."""
    told = ""
    while True:
        if (now := status()) != told:
            tell(f"STATUS={now}")
            told = now
        await asyncio.sleep(_STATUS_INTERVAL)


def _described(listeners: Sockets) -> dict[str, object]:
    fields: dict[str, object] = {"address": " ".join(map(address_of, listeners.public))}
    if listeners.admin:
        fields["admin"] = " ".join(map(address_of, listeners.admin))
    return fields | {"loop": type(asyncio.get_running_loop()).__module__.partition(".")[0]}


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    try:
        import uvloop
    except ImportError:
        return None
    return uvloop.new_event_loop
