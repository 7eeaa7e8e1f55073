"""``aionotify publish --url``: one request to a node, which answers each event in its turn."""

import asyncio
import os
import sys
import threading
from collections.abc import AsyncIterator, Callable
from typing import Any, Final, NoReturn

import aiohttp
import msgspec
from aiohttp import hdrs

from aionotify.config.fields import without_newline
from aionotify.errors import AionotifyError

_KEY: Final = "AIONOTIFY_PUBLISH_KEY"
_NDJSON: Final = "application/x-ndjson"
_READ: Final = 65536  # bytes


class NotPublished(AionotifyError):
    """The node refuses the request, or ends it before it has answered everything."""


def publish_http(
    url: str, event: bytes | None, refuse: Callable[[str], NoReturn], *, ephemeral: bool
) -> int:
    """Publish an event, or the lines of standard input as they come, and print each answer.

    Returns:
        How many events failed.

    Raises:
        NotPublished: and what was not answered may have been published or not.
    """
    key = without_newline(os.environ.get(_KEY))
    if not key:
        refuse(f"set ${_KEY} to a publish key of the node; arguments are seen by other users")
    try:
        return asyncio.run(_publish(url, key, event, ephemeral=ephemeral))
    except (aiohttp.ClientError, OSError, ValueError) as error:
        raise NotPublished(f"{url}: {str(error) or type(error).__name__}") from error


async def _publish(url: str, key: str, event: bytes | None, *, ephemeral: bool) -> int:
    body = _Body(_stdin() if event is None else _one(event))
    headers = {hdrs.AUTHORIZATION: f"Bearer {key}", hdrs.ACCEPT: _NDJSON}
    params = {"ephemeral": "true"} if ephemeral else {}
    timeout = aiohttp.ClientTimeout(total=None, sock_connect=10)
    failed = number = 0
    async with (
        aiohttp.ClientSession(timeout=timeout) as session,
        session.post(url, data=body, headers=headers, params=params) as response,
    ):
        if response.content_type != _NDJSON:
            raise NotPublished(f"{url}: {response.status}: {await _said(response)}")
        async for line in response.content:
            number += 1
            answer = msgspec.json.decode(line)
            if "error" in answer:
                failed += 1
                told = f"aionotify: event {number}: {_explained(answer['error'])}"
                print(told, file=sys.stderr)
            else:
                del answer["status"]
                print(msgspec.json.encode(answer).decode(), flush=True)
        if not body.is_over:
            raise NotPublished(f"{url}: the node ended the request after {number} answers")
    return failed


class _Body:
    """Says whether all of it was taken.

    Attributes:
        is_over: whether it was.
    """

    def __init__(self, parts: AsyncIterator[bytes]) -> None:
        self.is_over = False
        self._parts = parts

    async def __aiter__(self) -> AsyncIterator[bytes]:
        async for part in self._parts:
            yield part
        self.is_over = True


async def _one(event: bytes) -> AsyncIterator[bytes]:
    yield event


async def _stdin() -> AsyncIterator[bytes]:
    loop, queue = asyncio.get_running_loop(), asyncio.Queue[bytes](1)

    def read() -> None:
        part = b"-"
        while part:
            # Not through sys.stdin, whose lock would be held when Ctrl-C ends the process.
            part = os.read(0, _READ)
            putting = queue.put(part)
            try:
                asyncio.run_coroutine_threadsafe(putting, loop).result()
            except (RuntimeError, asyncio.CancelledError):
                putting.close()  # or Python would warn that it was never awaited
                return  # nobody reads any more

    threading.Thread(target=read, name="aionotify stdin", daemon=True).start()
    while part := await queue.get():
        yield part


async def _said(response: aiohttp.ClientResponse) -> str:
    """What a node, or whoever answers in its place, has to say."""
    try:
        return _explained((await response.json())["error"])
    except (aiohttp.ContentTypeError, ValueError, KeyError, TypeError):
        return response.reason or "no event was answered"


def _explained(error: dict[str, Any]) -> str:
    fields = error.get("fields", {})
    return "; ".join(f"{name}: {text}" for name, text in fields.items()) or str(error["message"])
