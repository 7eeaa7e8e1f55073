"""One question to the main host: whose is this token?

The wire contract and nothing else: no memory, no limits.
"""

import math
import random
import re
import time
from contextlib import suppress
from dataclasses import dataclass
from functools import partial

import aiohttp
import msgspec
from aiohttp import hdrs

from aionotify.auth.http_client import Garbled, HttpClient, NoAnswer, TooLate, read_body
from aionotify.auth.identity import MAX_GROUPS, Identity, groups_from
from aionotify.config import MainHostConfig
from aionotify.errors import AuthError, AuthFailed, AuthUnavailable, InvalidToken

_LONGEST_RETRY = 60  # seconds
_LONGEST_LIFETIME = 1e10  # seconds, 317 years; an integer may be too large to be added to a time


@dataclass(frozen=True, slots=True)
class Accepted:
    """The main host names a user. `lifetime` is in seconds, infinite when it gave none."""

    identity: Identity
    lifetime: float = math.inf


@dataclass(frozen=True, slots=True)
class Denied:
    """Nobody was named.

    `error` says why; only `InvalidToken` is a refusal. `message` is for the client, `cause` for who
    operates this, where there is more to say. `unwell` means that the main host as a whole seems to
    fail, rather than this one question. `retry_after` is in seconds.
    """

    error: type[AuthError]
    message: str
    unwell: bool = False
    retry_after: float | None = None
    cause: str = ""

    @property
    def reason(self) -> str:
        """Why, for a log."""
        return self.cause or self.message


class MainHostClient:
    """Asks the main host at `url`, over connections that it keeps open.

    An answer with more than `max_groups` groups is not valid.
    """

    def __init__(self, config: MainHostConfig, max_groups: int = MAX_GROUPS) -> None:
        self.url = config.url.rstrip("/") + config.path
        self._http = HttpClient(config.timeout, config.max_concurrency)
        self._read = partial(_read, max_groups=max_groups)

    async def ask(self, token: str) -> Accepted | Denied:
        """Send `token` as it came, in a GET with an Authorization header; follow no redirect."""
        try:
            headers: dict[str, str] = {
                hdrs.AUTHORIZATION: f"Bearer {token}",
                # Frameworks answer 401 to those who want JSON, and redirect others to a login.
                hdrs.ACCEPT: "application/json",
            }
            return await self._http.get(self.url, self._read, headers)
        except TooLate as error:
            message = "the main host did not answer in time"
            return Denied(AuthUnavailable, message, unwell=True, cause=str(error))
        except Garbled as error:
            message = "the main host's answer is not HTTP"
            return Denied(AuthFailed, message, unwell=True, cause=str(error))
        except NoAnswer as error:
            message = "the main host cannot be reached"
            return Denied(AuthUnavailable, message, unwell=True, cause=str(error))

    async def close(self) -> None:
        """Close the connections."""
        await self._http.close()


async def _read(response: aiohttp.ClientResponse, max_groups: int) -> Accepted | Denied:
    status = response.status
    if status in (401, 403):
        # The status has said it all; the body is read so that the connection can be used again.
        with suppress(aiohttp.ClientError, TimeoutError):
            await read_body(response)
        return Denied(InvalidToken, "the token is not valid")
    if not 200 <= status < 300:
        message = f"the main host answered {status}"
        again = _retry_after(response.headers.get(hdrs.RETRY_AFTER, ""))
        return Denied(AuthFailed, message, unwell=status >= 500, retry_after=again)
    body = await read_body(response)
    if body is None:
        return Denied(AuthFailed, "the main host's answer is too long")
    try:
        return _parse(body, max_groups)
    except (ValueError, RecursionError):
        return Denied(AuthFailed, "the main host's answer is not JSON")
    except AuthError as error:
        return Denied(type(error), error.message)


def _retry_after(value: str) -> float | None:
    """The seconds of a Retry-After (RFC 9110 section 10.2.3), bounded; None where it has none."""
    if not re.fullmatch(r"[0-9]{1,9}", value, re.ASCII):
        return None
    # Those who are turned away together must not come back together.
    return min(int(value), _LONGEST_RETRY) * random.uniform(1.0, 1.5)


def _parse(body: bytes, max_groups: int) -> Accepted | Denied:
    answer = msgspec.json.decode(body)
    if not isinstance(answer, dict) or "user_id" not in answer:
        raise AuthFailed("the main host's answer has no user_id")
    groups = groups_from(given if (given := answer.get("groups")) is not None else (), max_groups)
    expires_in = answer.get("expires_in")
    if expires_in is None:
        return Accepted(Identity(answer["user_id"], groups=groups))
    # Taking an end that we do not understand for "no end" would be the wrong way round.
    if isinstance(expires_in, bool) or not isinstance(expires_in, (int, float)):
        raise AuthFailed("the main host's expires_in is not a number")
    if expires_in <= 0:
        raise InvalidToken("the token has expired")
    lifetime = min(expires_in, _LONGEST_LIFETIME)
    expires_at = time.time() + lifetime
    return Accepted(Identity(answer["user_id"], groups=groups, expires_at=expires_at), lifetime)
