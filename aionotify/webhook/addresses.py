"""Which addresses may be posted to, judged when a socket is made to connect to one.

An address in the configuration may be somebody's who names a host that leads inside: to this
machine, to its network, to the metadata of its cloud (OWASP: server-side request forgery). A name
says nothing, and what it resolves to may change. So the rule is applied to the very address that is
connected to, whether it was resolved or written out.
"""

import ipaddress
import socket
from collections.abc import Callable, Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from typing import Any, Final

_Address = IPv4Address | IPv6Address
_Network = IPv4Network | IPv6Network

# What is no matter of registries, or of the registries of an old Python.
_REFUSED: Final[Sequence[_Network]] = tuple(
    map(
        ipaddress.ip_network,
        (
            *("168.63.129.16/32", "192.0.0.0/24", "192.88.99.0/24"),  # Azure's own; Oracle's; 6to4
            # Teredo, 6to4 and documentation: the first two lead to any IPv4 address.
            *("2001::/23", "2001:db8::/32", "2002::/16", "3fff::/20"),
        ),
    )
)
_GLOBAL_UNICAST: Final = IPv6Network("2000::/3")  # RFC 4291 section 2.4; the rest is somebody's own
_NAT64: Final = IPv6Network("64:ff9b::/96")  # RFC 6052: the last 32 bits are an IPv4 address


class AddressRefused(OSError):
    """An address that may not be connected to; the text says which."""


def allowed(address: str, networks: Sequence[_Network] = ()) -> bool:
    """Whether an address may be connected to: a public one, or one of `networks`.

    What is not written as an address usually is ("127.1", "0177.0.0.1") may not, whatever it means.
    """
    try:
        parsed = _unwrapped(ipaddress.ip_address(address))
    except ValueError:
        return False
    if any(parsed in network for network in networks):
        return True
    if isinstance(parsed, IPv6Address) and parsed not in _GLOBAL_UNICAST:
        return False
    refused = parsed.is_multicast or any(parsed in network for network in _REFUSED)
    return parsed.is_global and not refused


def guarded(networks: Sequence[str]) -> Callable[[Any], socket.socket]:
    """Return what makes sockets for aiohttp's connector: only to addresses that are allowed."""
    known = [ipaddress.ip_network(network) for network in networks]

    def make(info: tuple[int, int, int, str, tuple[Any, ...]]) -> socket.socket:
        family, kind, protocol, _, (address, *_) = info
        if not allowed(address, known):
            raise AddressRefused(f"{address} is no public address, and webhook.allow has it not")
        return socket.socket(family, kind, protocol)

    return make


def _unwrapped(address: _Address) -> _Address:
    """The IPv4 address to which an IPv6 address leads, if it does."""
    if isinstance(address, IPv6Address):
        if address.ipv4_mapped is not None:
            return address.ipv4_mapped
        if address in _NAT64:
            return IPv4Address(address.packed[-4:])
    return address
