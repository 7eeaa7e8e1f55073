"""Limits that are looked at before anybody is asked who a request is from.

A client that is refused repeats itself, some every second for ever: refusing must cost next to
nothing, and nothing at all elsewhere.
"""

import ipaddress
import time
from collections import Counter
from collections.abc import Callable, Sequence

from aiohttp import hdrs, web

from aionotify.errors import NodeFull, TooManyStreams


class Limits:
    """Streams per client address, and handshakes per second.

    Args:
        max_streams_per_address: 0 = no limit.
        handshake_rate: new streams per second, with bursts of one second's worth; 0 = no limit.
        trusted_proxies: networks whose ``X-Forwarded-For`` is believed.
        clock: seconds that only go forward.
    """

    def __init__(
        self,
        *,
        max_streams_per_address: int = 0,
        handshake_rate: float = 0,
        trusted_proxies: Sequence[str] = (),
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._max_per_address = max_streams_per_address
        self._rate = handshake_rate
        self._trusted = [ipaddress.ip_network(network) for network in trusted_proxies]
        self._clock = clock
        self._open: Counter[str] = Counter()
        self._tokens = self._burst = max(1.0, handshake_rate)
        self._filled_at = clock()

    def enter(self, request: web.Request) -> str:
        """Count a stream in; returns the address under which it is to be counted out.

        Raises:
            NodeFull: too many handshakes in this second.
            TooManyStreams: too many streams of this address.
        """
        address = self.address(request)
        if self._max_per_address and self._open[address] >= self._max_per_address:
            raise TooManyStreams(
                f"an address may have {self._max_per_address} open streams", retry_after=30
            )
        self._take_token()
        self._open[address] += 1
        return address

    def leave(self, address: str) -> None:
        self._open[address] -= 1
        if not self._open[address]:
            del self._open[address]

    def address(self, request: web.Request) -> str:
        """The client's address: the last one in X-Forwarded-For that no proxy of ours has.

        Read from the right, since everything to the left of what our own proxies wrote is the
        client's to make up.
        """
        address = request.remote or ""
        if not self._trusted or not self._is_trusted(address):
            return address
        hops = ",".join(request.headers.getall(hdrs.X_FORWARDED_FOR, ())).split(",")
        for hop in reversed(hops):
            if not (hop := hop.strip()):
                continue
            address = hop
            if not self._is_trusted(address):
                break
        return address[:64]

    def _is_trusted(self, address: str) -> bool:
        try:
            parsed = ipaddress.ip_address(address)
        except ValueError:
            return not address  # a unix socket has no address, and only a proxy connects to one
        return any(parsed in network for network in self._trusted)

    def _take_token(self) -> None:
        if not self._rate:
            return
        now = self._clock()
        self._tokens = min(self._burst, self._tokens + (now - self._filled_at) * self._rate)
        self._filled_at = now
        if self._tokens < 1:
            raise NodeFull("too many new streams in this second", retry_after=1)
        self._tokens -= 1
