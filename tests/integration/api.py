"""What applications ask of a node, with a publisher's key."""

from collections.abc import Mapping
from typing import Any, NamedTuple
from urllib.parse import quote, urlencode

import aiohttp
from yarl import URL

from tests.harness import NotifyServer

KEY = "publisher-key-0123456789"
SCOPED = "scoped-key-0123456789"  # for recipients that begin with "shop:"
SETTINGS: Mapping[str, object] = {
    "admin.publish_keys": [KEY, {"key": SCOPED, "recipients": "shop:"}]
}


class Answer(NamedTuple):
    status: int
    body: Any


class Api:
    """Requests to one node; `key` None sends none."""

    def __init__(self, server: NotifyServer, key: str | None = KEY) -> None:
        self._url = server.url
        self._headers = {"Authorization": f"Bearer {key}"} if key else {}

    async def publish(self, *events: Mapping[str, Any]) -> list[Any]:
        """Publish events; return the answer to each. All must be accepted."""
        answer = await self._ask("POST", "/publish", json=list(events))
        assert answer.status == 202, answer
        answers: list[Any] = answer.body
        return answers

    async def presence(self, *users: str) -> Answer:
        params = [("recipient_id", user) for user in users]
        return await self._ask("GET", "/presence", params=params)

    async def listed(self, **query: object) -> Answer:
        """A page of who is online."""
        return await self._ask("GET", f"/presence?{urlencode(query)}")

    async def close_streams(self, user: str) -> Answer:
        return await self._ask("DELETE", f"/streams/{quote(user, safe='')}")

    async def recall(self, event_id: str, **params: str) -> Answer:
        return await self._ask("DELETE", f"/inbox/{quote(event_id, safe='')}", params=params)

    async def _ask(self, method: str, path: str, **more: Any) -> Answer:
        url = URL(self._url + path, encoded=True)
        async with (
            aiohttp.ClientSession(headers=self._headers) as session,
            session.request(method, url, **more) as response,
        ):
            return Answer(response.status, await response.json() if await response.read() else None)
