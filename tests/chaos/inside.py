"""A node in the test's own process: all real, but an answer or a message can be held up."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from importlib import resources
from typing import Any, Self

import msgspec
from aiohttp import web
from redis import Redis

from aionotify import Config, Identity, Publisher, create_app
from aionotify.events import cursor
from aionotify.events.page import Entry, Page
from aionotify.process.node import RUNNER_OPTIONS
from aionotify.streams.reasons import CloseReason
from aionotify.web.services import SERVICES
from tests.harness import RedisServer, SSEClient, eventually


class TokenIsUser:
    """An authenticator that takes everybody for who they say they are."""

    async def authenticate(self, request: web.Request) -> Identity:
        return Identity(request.headers["Authorization"].removeprefix("Bearer "))


class InsideNode:
    """One node on `redis`, from `async with`. `inbox` are settings of that section."""

    def __init__(self, redis: RedisServer, inbox: Mapping[str, int]) -> None:
        self.redis = redis
        self.app = create_app(
            Config.from_mapping({"redis": {"url": redis.url}, "inbox": dict(inbox)}),
            TokenIsUser(),
        )
        self.services = self.app[SERVICES]
        self.publisher: Publisher = self.services.publisher
        self.url = ""
        self._undo = AsyncExitStack()

    async def __aenter__(self) -> Self:
        async with AsyncExitStack() as undo:
            runner = web.AppRunner(self.app, **RUNNER_OPTIONS)
            undo.push_async_callback(runner.cleanup)
            undo.callback(setattr, self.services.hub, "closed", True)
            await runner.setup()
            # Streams go on whichever data set there is, as they do with a main host.
            vars(self.services.subscriber._sink)["_missed"] = lambda: None
            site = web.TCPSite(runner, "127.0.0.1", 0)
            await site.start()
            self.url = f"http://127.0.0.1:{runner.addresses[0][1]}/notify"
            self._undo = undo.pop_all()
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        for stream in self.services.hub.streams():
            stream.close(CloseReason.DRAIN)
        await self._undo.aclose()

    async def open(
        self, user: str = "u", last_event_id: str = "", *, live: bool = True
    ) -> SSEClient:
        """A stream of `user`, by default once it is live."""
        client = SSEClient(self.url, token=user)
        client.last_event_id = last_event_id
        self._undo.push_async_callback(client.close)
        before = set(self.services.hub.streams())
        await client.connect()
        if live:
            await eventually(lambda: len(before) < len(self.services.hub.streams()))
            await self.all_live()
        return client

    async def all_live(self) -> None:
        """Return when no stream is catching up."""
        await eventually(lambda: all(stream.live for stream in self.services.hub.streams()))

    def keep(self, data: Any, user: str = "u", channel: str = "nowhere") -> int:
        """Store an event whose message pub/sub loses; return its position."""
        keys = self.services.subscriber._keys
        event = msgspec.json.encode({"recipient_id": user, "data": data})
        inbox = self.services.terms.config.inbox
        times = self.services.data_set.floor, self.services.data_set.since
        args = (channel, event, inbox.max_events, inbox.retention, 60, "PUBLISH", *times)
        with Redis(port=self.redis.port, protocol=2) as client:
            reply: Any = client.eval(_append(), 1, keys.inbox(user), *args)
        return int(reply[0])

    async def leave(self, client: SSEClient) -> str:
        """Close a client's stream; return where it was, once nothing is left of it."""
        before = len(self.services.hub.streams())
        await client.close()
        await eventually(lambda: len(self.services.hub.streams()) < before)
        return client.last_event_id

    def cursor(self, position: int, user: str = "u") -> str:
        """What a client of `user` has as its last event id, at an event of its own."""
        everyone = self.services.hub.everyone.newest
        assert everyone is not None
        own = cursor.own_part(position, cursor.tag(user))
        return (cursor.everyone_part(self.services.hub.epoch, everyone) + own).decode()

    def hold_messages(self) -> Callable[[], None]:
        """Let no durable message reach the hub until the returned function is called."""
        # What the subscriber tells; it knows the hub's method only by that.
        told, held = vars(self.services.subscriber._sink), []
        deliver = told["durable"]

        def hold(recipient_id: str, entry: Entry) -> None:
            held.append((recipient_id, entry))

        def release() -> None:
            told["durable"] = deliver
            assert held, "or there was nothing to hold"
            for message in held:
                deliver(*message)

        told["durable"] = hold
        return release

    def hold_question(self, recipient_id: str) -> Callable[[], None]:
        """Ask how far an inbox reaches only when the returned function is called."""
        inbox, going = self.services.inbox, asyncio.Event()
        ask = inbox.newest

        async def newest(recipient_ids: Sequence[str]) -> list[Page | Exception]:
            if recipient_id in recipient_ids:
                await going.wait()
            return await ask(recipient_ids)

        def release() -> None:
            vars(inbox).pop("newest")
            going.set()

        vars(inbox)["newest"] = newest
        return release


def data_of(client: SSEClient) -> list[Any]:
    """The data of each event, and ``gap: <reason>`` for each gap; no other control events."""
    seen: list[Any] = []
    for event in client.events:
        content = msgspec.json.decode(event.data)
        if event.event == "aionotify.gap":
            seen.append(f"gap: {content['reason']}")
        elif not event.event.startswith("aionotify."):
            seen.append(content["data"])
    return seen


def _append() -> str:
    return resources.files("aionotify.broker").joinpath("append.lua").read_text()
