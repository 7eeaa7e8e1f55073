"""A real node on a Redis of its own, in a thread of the test's process.

So plain tests can use it, and tests with an event loop of their own as well.
"""

from collections.abc import Mapping
from contextlib import AsyncExitStack
from functools import partial
from types import TracebackType
from typing import Any, Final, Self

from aiohttp import web

from aionotify import tasks
from aionotify.app import create_app
from aionotify.auth.bearer import BearerAuthenticator
from aionotify.auth.identity import Identity
from aionotify.broker.embedded.server import EmbeddedServer
from aionotify.broker.sync_publisher import SyncPublisher
from aionotify.client.client import Client
from aionotify.client.parser import ServerSentEvent
from aionotify.config import Config
from aionotify.loop_thread import LoopThread

_TIMEOUT: Final = 10.0  # seconds; a machine whose cores are busy is slow, not wrong
_CONTROL: Final = "aionotify."  # how the types of control events begin


class Server:
    """A node and its Redis, which is empty at first. Needs ``aionotify-server[embedded]``.

    ::

        with Server() as server, server.listen("42") as listener:
            server.publisher.publish({"recipient_id": "42", "data": "hello"})
            assert "hello" in listener.get().data

    The token of a request is the user's id.

    Args:
        settings: of the node, sections within sections as in config.yaml.

    Attributes:
        url: of the node, ``http://127.0.0.1:…``; the stream is at ``/notify``.
        redis_url: of its Redis, for a `Publisher` of the test's own.
        publisher: a `SyncPublisher` to it.

    Raises:
        ConfigError: `settings` cannot be used, or the embedded server is not installed.
    """

    url: str
    redis_url: str
    publisher: SyncPublisher

    def __init__(self, settings: Mapping[str, Mapping[str, Any]] | None = None) -> None:
        self._settings = settings or {}
        self._thread = LoopThread("aionotify test server")
        self._cleanup = AsyncExitStack()

    def __enter__(self) -> Self:
        try:
            self._thread.run(self._start)
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._thread.run(self._cleanup.aclose)
        self._thread.stop()

    def listen(self, user_id: str, *, last_event_id: str = "") -> "Listener":
        """Return a listener to a user's events; use it as ``with server.listen(…) as listener``.

        Args:
            last_event_id: resume after this event; by default, begin with new events.
        """
        client = Client(f"{self.url}/notify", token=user_id, last_event_id=last_event_id)
        return Listener(client, self._thread)

    async def _start(self) -> None:
        redis = EmbeddedServer()
        await redis.start()
        self._cleanup.push_async_callback(redis.stop)
        self.redis_url = redis.url
        sections = {name: dict(section) for name, section in self._settings.items()}
        sections["redis"] = sections.get("redis", {}) | {"url": redis.url}
        sections["server"] = {"drain": 0} | sections.get("server", {})
        config = Config.from_mapping(sections)
        self.publisher = SyncPublisher(redis.url, prefix=config.redis.prefix)
        self._cleanup.callback(self.publisher.close)

        runner = web.AppRunner(create_app(config, _TokenIsUser()), access_log=None)
        self._cleanup.push_async_callback(runner.cleanup)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        self.url = "http://{}:{}".format(*runner.addresses[0])


class Listener:
    """The events of one user, for a test without an event loop."""

    def __init__(self, client: Client, thread: LoopThread) -> None:
        self._client = client
        self._thread = thread

    def __enter__(self) -> Self:
        """Return when the stream is open: what is published from now on arrives.

        Raises:
            StreamRefused: the server refuses it.
            TimeoutError: it does not answer.
        """
        try:
            self._thread.run(self._open)
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._thread.run(partial(self._client.__aexit__, kind, error, traceback))

    def get(self, timeout: float = _TIMEOUT) -> ServerSentEvent:
        """Wait for the next event and return it. Control events (``aionotify.…``) are left out.

        Args:
            timeout: seconds.

        Raises:
            TimeoutError: there is none.
        """
        return self._thread.run(partial(self._next, timeout))

    async def _open(self) -> None:
        await self._client.__aenter__()
        try:
            async with tasks.timeout(_TIMEOUT):
                await anext(self._client)  # aionotify.open
        except TimeoutError:
            raise TimeoutError(f"no stream within {_TIMEOUT:g} s; the log says why") from None

    async def _next(self, seconds: float) -> ServerSentEvent:
        try:
            async with tasks.timeout(seconds):
                while (event := await anext(self._client)).type.startswith(_CONTROL):
                    pass
        except TimeoutError:
            raise TimeoutError(f"no event within {seconds:g} s") from None
        return event


class _TokenIsUser(BearerAuthenticator):
    """Whoever says ``Bearer 42`` is user 42."""

    async def identify(self, token: str, *, fresh: bool = False) -> Identity:
        return Identity(token)

    async def close(self) -> None: ...
