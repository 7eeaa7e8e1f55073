"""Posts to a webhook, signed: one attempt. Whoever calls tries again, and says how often.

The signature is that of Standard Webhooks (https://www.standardwebhooks.com), for which there are
libraries in most languages: HMAC-SHA256 over the id, the time and the body.
"""

import base64
import hashlib
import hmac
import time
from collections.abc import Sequence
from typing import Final

import aiohttp
from aiohttp import hdrs

from aionotify.auth.http_client import HttpClient, NoAnswer
from aionotify.webhook.addresses import guarded

_CONNECTIONS: Final = 10
_PREFIX: Final = "whsec_"
# Too slow, too early, too many; not there during a deploy; not signed with the secret of now.
_NOT_NOW: Final = (401, 403, 404, 408, 425, 429)


class NotDelivered(Exception):
    """It was not taken; the text says why, in an operator's words and without secrets.

    Attributes:
        is_final: whether the application has refused what was posted, and will again.
    """

    def __init__(self, reason: str, *, is_final: bool = False) -> None:
        super().__init__(reason)
        self.is_final = is_final


class WebhookSender:
    """Posts, each time with a signature of its own.

    Args:
        secret: ``whsec_`` and the key in base64.
        timeout: seconds for a whole exchange.
        allow: networks that may be posted to though they are not public.
        allow_http: whether an address may begin with ``http://``.
    """

    def __init__(
        self, *, secret: str, timeout: float, allow: Sequence[str] = (), allow_http: bool = False
    ) -> None:
        self._key = base64.b64decode(secret.removeprefix(_PREFIX))
        self._allow_http = allow_http
        self._client = HttpClient(timeout, _CONNECTIONS, socket_factory=guarded(allow))

    async def post(self, url: str, id: str, body: bytes) -> None:
        """Post JSON; return when it was taken, with a status of 200 to 299.

        Args:
            id: the same whenever the same is posted again.

        Raises NotDelivered.
        """
        if not url.startswith("https://") and not self._allow_http:
            raise NotDelivered("its address is no https:// one, and webhook.allow_http is off")
        now = str(int(time.time()))
        headers = {
            hdrs.CONTENT_TYPE: "application/json",
            "webhook-id": id,
            "webhook-timestamp": now,
            "webhook-signature": signature(self._key, id, now, body),
        }
        try:
            status = await self._client.post(url, body, _status, headers)
        except NoAnswer as error:
            raise NotDelivered(str(error)) from error
        if 300 <= status < 400:
            raise NotDelivered(f"it redirects ({status}), which is not followed")
        if not 200 <= status < 300:
            is_final = 400 <= status < 500 and status not in _NOT_NOW
            raise NotDelivered(f"it answered {status}", is_final=is_final)

    async def close(self) -> None:
        """Close the connections."""
        await self._client.close()


def signature(key: bytes, id: str, timestamp: str, body: bytes) -> str:
    """Return what ``webhook-signature`` says (Standard Webhooks 1.0, "Signature scheme")."""
    signed = f"{id}.{timestamp}.".encode() + body
    return "v1," + base64.b64encode(hmac.digest(key, signed, hashlib.sha256)).decode()


async def _status(response: aiohttp.ClientResponse) -> int:
    response.close()  # what it has to say is of no interest, however long it is
    return response.status
