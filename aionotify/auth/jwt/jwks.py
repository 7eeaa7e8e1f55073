"""Signing keys that their owner publishes at an address, and changes now and then.

Fetches when a token asks for it, never by itself.
"""

import logging
import time
from collections.abc import Callable, Collection

import aiohttp
import msgspec
from joserfc.jwk import Key

from aionotify.auth.http_client import HttpClient, NoAnswer, read_body
from aionotify.auth.jwt.keys import KeyRing, public_keys
from aionotify.auth.outage_log import OutageLog
from aionotify.auth.single_flight import FlightCancelled, SingleFlight
from aionotify.auth.stats import AuthStats
from aionotify.errors import AuthUnavailable

TIMEOUT = 3.0  # seconds
MAX_BYTES = 262_144  # large sets with certificate chains have about 30,000
MAX_AGE = 3600.0  # seconds; for so long is a key trusted that its owner has withdrawn
PAUSE = 30.0  # seconds between two fetches, however many unknown keys tokens ask for
SHORT_PAUSE = 2.0  # seconds, after one that has failed
MAX_WITHDRAWN = 100  # names of keys that were there once; an owner has a handful in a year

_log = logging.getLogger(__name__)


class Jwks:
    """The key set at `url`, kept for an hour.

    A token with an unknown key id makes it look again, at most every 30 seconds. Until then nobody
    can tell whether that key has just been published, so it is no refusal. When looking fails it
    goes on with the keys it has. `clock` is in seconds.
    """

    def __init__(
        self,
        url: str,
        algorithms: Collection[str],
        *,
        stats: AuthStats,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._url, self._algorithms = url, tuple(algorithms)
        self._stats, self._clock = stats, clock
        self._ring = KeyRing((), ())
        self._fetched = self._next_fetch = float("-inf")
        self._failing = False
        self._withdrawn: dict[str, None] = {}
        self._flight = SingleFlight[None]("aionotify-jwks")
        self._http = HttpClient(TIMEOUT, connections=1)
        self._outage = OutageLog(_log, "jwks address", url, clock)

    @property
    def problem(self) -> str | None:
        """See `KeySource`."""
        return self._outage.problem

    async def find(self, algorithm: str, kid: str | None) -> Key | None:
        """See `KeySource`.

        Raises AuthUnavailable when the key is unknown and the set cannot be fetched, or not yet
        again, for then nobody can tell whether it is in there.
        """
        key = self._ring.get(algorithm, kid)
        if key is not None and self._clock() - self._fetched < MAX_AGE:
            return key
        asked = self._clock() >= self._next_fetch or len(self._flight) > 0
        if asked:
            try:
                await self._flight.run(self._url, self._fetch)
            except FlightCancelled:
                raise AuthUnavailable("aionotify is stopping", retry_after=1.0) from None
            key = self._ring.get(algorithm, kid)
        if key is None and (self._failing or not (asked or self._is_settled(kid))):
            why = "cannot be fetched" if self._failing else "are not to be fetched again yet"
            pause = max(self._next_fetch - self._clock(), 0.0)
            raise AuthUnavailable(f"the signing keys {why}", retry_after=pause)
        return key

    def _is_settled(self, kid: str | None) -> bool:
        """Whether looking again would make no difference to a token that names `kid`."""
        return kid is None or kid in self._withdrawn or kid in self._ring.names()

    async def close(self) -> None:
        """End a fetch that is under way."""
        await self._flight.close()
        await self._http.close()

    async def _fetch(self) -> None:
        try:
            keys = await self._download()
        except (NoAnswer, ValueError, RecursionError) as error:
            self._failing = True
            self._stats.jwks_failed += 1
            self._outage.failed(_reason(error))
        else:
            gone = {**self._withdrawn, **dict.fromkeys(self._ring.names())}
            left = [name for name in gone if name not in keys.names()]
            self._withdrawn = dict.fromkeys(left[-MAX_WITHDRAWN:])
            self._ring, self._failing = keys, False
            self._fetched = self._clock()
            self._stats.jwks_fetched += 1
            self._outage.answered()
        self._next_fetch = self._clock() + (SHORT_PAUSE if self._failing else PAUSE)

    async def _download(self) -> KeyRing:
        body = await self._http.get(self._url, _read)
        ring = KeyRing(public_keys(msgspec.json.decode(body)), self._algorithms)
        if not ring:
            raise ValueError("it has no key that is fit for the algorithms")
        return ring


async def _read(response: aiohttp.ClientResponse) -> bytes:
    if response.status != 200:
        raise ValueError(f"it answered {response.status}")
    body = await read_body(response, MAX_BYTES)
    if body is None:
        raise ValueError(f"its answer has more than {MAX_BYTES} bytes")
    return body


def _reason(error: Exception) -> str:
    # The library's words may quote what came.
    if isinstance(error, msgspec.DecodeError | UnicodeDecodeError | RecursionError):
        return "its answer is not JSON"
    return str(error)
