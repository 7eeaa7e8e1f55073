"""A small shop with two customers, which is the main host of the demo's notification server.

Customers order and write to each other; the shop announces. Each of these becomes a durable event,
which the shop publishes with `aionotify.Publisher`: it needs Redis, and no notification server. The
page and its files are `page`'s, who a token belongs to is `main_host`'s.
"""

import asyncio
import hmac
import itertools
import secrets
import time
from collections.abc import AsyncIterator, Mapping
from dataclasses import asdict, dataclass
from types import MappingProxyType
from typing import Final, TypeVar

import msgspec
from aiohttp import hdrs, web
from aiohttp.typedefs import Handler

from aionotify import tasks
from aionotify.broker.publisher import Publisher
from aionotify.demo.server_process import ServerBusy, ServerFailed, ServerProcess
from aionotify.errors import BrokerError, InvalidEvent
from aionotify.web.errors import error_response, json_response

_SHIPPING: Final = 3.0  # seconds from an order to its leaving: enough to close something before
_PUBLISH_TIMEOUT: Final = 5.0  # seconds; then whoever waits is told
_RETRY_INTERVAL: Final = 1.0  # seconds
_LONGEST: Final = 500  # characters of a message

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Product:
    """What the shop sells; `price` is in cents."""

    name: str
    price: int


PRODUCTS: Final[Mapping[str, Product]] = MappingProxyType(
    {
        "lamp": Product("Desk lamp", 49_00),
        "teapot": Product("Teapot", 32_00),
        "plant": Product("House plant", 18_50),
    }
)


class Refused(Exception):
    """A request that the shop does not carry out; the text says why, to whoever asked."""

    def __init__(self, status: int, message: str) -> None:
        self.status = status
        super().__init__(message)


class _Order(msgspec.Struct):
    product: str


class _Announcement(msgspec.Struct):
    text: str


class _Message(_Announcement):
    to: str


class Shop:
    """The shop's side of the demo.

    Args:
        users: the user of each token.
        key: what the operator shows, to announce and to end the server.
    """

    def __init__(
        self, publisher: Publisher, server: ServerProcess, users: Mapping[str, str], key: str
    ) -> None:
        self._publisher = publisher
        self._server = server
        self._users = users
        self._key = key
        self._numbers = itertools.count(1001)
        self._shipping: set[asyncio.Task[None]] = set()

    def routes(self) -> list[web.RouteDef]:
        """Return what the page asks for."""
        return [
            web.post("/orders", self._order),
            web.post("/messages", self._message),
            web.post("/announcements", self._announce),
            web.get("/server", self._state),
            web.post("/server/{does:restart|kill}", self._change_server),
        ]

    async def shipping(self, app: web.Application) -> AsyncIterator[None]:
        """Give up in the end what is still to be shipped; for `cleanup_ctx`."""
        yield
        await tasks.cancelled(self._shipping)

    async def _order(self, request: web.Request) -> web.Response:
        user = self._customer(request)
        order = await _body(request, _Order)
        if order.product not in PRODUCTS:
            raise Refused(404, "there is no such product")
        product, number = PRODUCTS[order.product], next(self._numbers)
        data = {"order": number, "text": f"{product.name}, order {number}"}
        await self._publish(user, "order.confirmed", data, f"order-{number}-confirmed")
        task = asyncio.create_task(self._ship(user, number, data), name=f"order {number}")
        self._shipping.add(task)
        task.add_done_callback(self._shipping.discard)
        return json_response({"order": number}, 201)

    async def _ship(self, user: str, number: int, data: Mapping[str, object]) -> None:
        await asyncio.sleep(_SHIPPING)
        while True:
            try:
                # With one id, however often it is tried: it arrives once.
                await self._publish(user, "order.shipped", data, f"order-{number}-shipped")
            except (Refused, BrokerError):
                await asyncio.sleep(_RETRY_INTERVAL)
            else:
                return

    async def _message(self, request: web.Request) -> web.Response:
        sender = self._customer(request)
        message = await _body(request, _Message)
        if message.to not in self._users.values():
            raise Refused(404, "there is no such customer")
        data = {"from": sender, "text": _checked(message.text)}
        await self._publish(message.to, "message", data, secrets.token_urlsafe(12))
        return json_response({}, 201)

    async def _announce(self, request: web.Request) -> web.Response:
        self._operator(request)
        announcement = await _body(request, _Announcement)
        data = {"text": _checked(announcement.text)}
        await self._publish("*", "announcement", data, secrets.token_urlsafe(12))
        return json_response({}, 201)

    async def _state(self, request: web.Request) -> web.Response:
        return json_response({"pid": self._server.pid})

    async def _change_server(self, request: web.Request) -> web.Response:
        self._operator(request)
        kills = request.match_info["does"] == "kill"
        seconds = await (self._server.kill() if kills else self._server.restart())
        return json_response({"pid": self._server.pid, "seconds": seconds})

    async def _publish(self, recipient_id: str, type: str, data: object, id: str) -> None:
        event = {"recipient_id": recipient_id, "event": type, "id": id, "data": data}
        event["sent_at"] = time.time_ns() // 1_000_000
        try:
            async with tasks.timeout(_PUBLISH_TIMEOUT):
                await self._publisher.publish(event)
        except TimeoutError:
            raise Refused(503, "Redis does not answer") from None

    def _customer(self, request: web.Request) -> str:
        token = _bearer(request)
        if token not in self._users:
            raise Refused(401, "sign in first")
        return self._users[token]

    def _operator(self, request: web.Request) -> None:
        shown = _bearer(request).encode(errors="surrogateescape")  # what is no UTF-8 in it
        if not hmac.compare_digest(shown, self._key.encode()):
            raise Refused(401, "only the shop may do that")


def products() -> list[dict[str, object]]:
    """Return the products, for the page."""
    return [{"id": id, **asdict(product)} for id, product in PRODUCTS.items()]


@web.middleware
async def answering(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Answer what goes wrong in words for whoever asked."""
    try:
        return await handler(request)
    except Refused as error:
        return error_response(error.status, "refused", str(error))
    except InvalidEvent as error:
        return error_response(400, "invalid_event", str(error))
    except ServerBusy as error:
        return error_response(409, "server_busy", str(error))
    except ServerFailed as error:
        return error_response(503, "server_failed", str(error))
    except BrokerError:
        return error_response(503, "redis_unavailable", "Redis does not answer")


async def _body(request: web.Request, type: type[T]) -> T:
    try:
        return msgspec.json.decode(await request.read(), type=type)
    except msgspec.MsgspecError as error:  # which quotes no value
        raise Refused(400, str(error)) from None


def _checked(text: str) -> str:
    if not text.strip():
        raise Refused(400, "write something first")
    if len(text) > _LONGEST:
        raise Refused(400, f"that is {len(text)} characters, and {_LONGEST} fit")
    return text


def _bearer(request: web.Request) -> str:
    """Return the token in the request; another site's page cannot put one there (CSRF)."""
    scheme, _, token = request.headers.get(hdrs.AUTHORIZATION, "").partition(" ")
    return token if scheme.lower() == "bearer" else ""
