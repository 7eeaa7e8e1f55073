"""Limits that are checked before authentication.

A refused client retries, some every second for ever. So a refusal must cost next to nothing here,
and nothing in the main host or Redis.
"""

import ipaddress
import re
import time
from collections import Counter
from collections.abc import Callable, Sequence
from ipaddress import IPv4Address, IPv6Address
from typing import Final

from aiohttp import hdrs, web

from aionotify.errors import NodeFull, TooManyStreams

ADDRESS: Final = web.RequestKey("aionotify.address", str)
"""Whose stream a request counts as. Whoever takes it from the request passes it to `leave`."""

_Address = IPv4Address | IPv6Address

# A client with one IPv6 address has its whole network, and could use another address per stream.
_IPV6_BITS: Final = 64
_WITH_PORT: Final = re.compile(r"\[([^]]*)\](?::\d+)?|([\d.]+):\d+", re.ASCII)


class Limits:
    """Streams per client address, and handshakes per second.

    Args:
        max_streams_per_address: 0 = no limit.
        handshake_rate: new streams per second, with bursts of one second's worth; 0 = no limit.
        trusted_proxies: networks whose ``X-Forwarded-For`` is trusted.
        clock: monotonic seconds.
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

    def adopt(self, other: "Limits") -> None:
        """Take the limits of `other`. Streams opened without a limit per address stay uncounted."""
        self._max_per_address = other._max_per_address
        self._rate, self._burst = other._rate, other._burst
        self._trusted = other._trusted

    def enter(self, request: web.Request) -> str | None:
        """Count a new stream; return the address to pass to `leave`.

        Raises:
            NodeFull: too many handshakes per second.
            TooManyStreams: this address has too many streams.
        """
        if not self._max_per_address:
            # Finding the address costs more than all other limits.
            self._take_token()
            return None
        address = self.address(request)
        if self._open[address] >= self._max_per_address:
            raise TooManyStreams(
                f"an address may have {self._max_per_address} open streams", retry_after=30
            )
        self._take_token()
        self._open[address] += 1
        return address

    def leave(self, address: str | None) -> None:
        if address is None:
            return
        self._open[address] -= 1
        if not self._open[address]:
            del self._open[address]

    def address(self, request: web.Request) -> str:
        """Return the client's address of a request; for IPv6, its network of 64 bits.

        The client is the last hop in X-Forwarded-For that is not a trusted proxy. The header is
        read from the right, because a client can invent everything left of what our proxies wrote.
        """
        text = request.remote or ""
        address = _parsed(text)
        # A Unix socket has no address, and only proxies connect to it.
        if not text or self._is_trusted(address):
            hops = ",".join(request.headers.getall(hdrs.X_FORWARDED_FOR, ())).split(",")
            for hop in reversed([hop.strip() for hop in hops if hop.strip()]):
                text, address = hop, _parsed(hop)
                if not self._is_trusted(address):
                    break
        if isinstance(address, IPv6Address):
            return str(ipaddress.ip_network((address.packed[:8] + bytes(8), _IPV6_BITS)))
        return str(address or text[:64])

    def _is_trusted(self, address: _Address | None) -> bool:
        return address is not None and any(address in network for network in self._trusted)

    def _take_token(self) -> None:
        if not self._rate:
            return
        now = self._clock()
        self._tokens = min(self._burst, self._tokens + (now - self._filled_at) * self._rate)
        self._filled_at = now
        if self._tokens < 1:
            raise NodeFull("too many new streams per second", retry_after=1)
        self._tokens -= 1


def _parsed(text: str) -> _Address | None:
    """Return the address in `text`, which may have a port, as some proxies write it."""
    match = _WITH_PORT.fullmatch(text)
    try:
        address = ipaddress.ip_address((match[1] or match[2]) if match else text)
    except ValueError:
        return None
    # A dual-stack socket reports an IPv4 client as ::ffff:192.0.2.1.
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return mapped or address
