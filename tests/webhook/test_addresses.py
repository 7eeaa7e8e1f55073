"""Which addresses may be connected to, however they are written."""

import ipaddress
import socket

import pytest

from aionotify.webhook.addresses import AddressRefused, allowed, guarded

PUBLIC = ("93.184.215.14", "8.8.8.8", "2606:2800:21f:cb07:6820:80da:af6b:8b2c", "2a00:1450::1")
INNER = (
    *("127.0.0.1", "127.8.8.8", "0.0.0.0", "::1", "::", "localhost", ""),
    *("10.1.2.3", "172.16.0.1", "172.31.255.255", "192.168.1.1", "100.64.0.1", "fd00::1"),
    *("169.254.1.1", "fe80::1", "fe80::1%lo", "fec0::1", "169.254.169.254", "fd00:ec2::254"),
    *("100.100.100.200", "168.63.129.16", "192.0.0.192", "192.88.99.1", "198.18.0.1"),
    *("224.0.0.1", "ff02::1", "240.0.0.1", "255.255.255.255", "192.0.2.1", "203.0.113.5"),
    *("2001:db8::1", "3fff::1", "100::1", "2001::1", "64:ff9b:1::1", "5f00::1"),
)
"""This machine, private networks, link-local ones, clouds' metadata, groups, and nobody's."""
WRAPPED = (
    *("::ffff:127.0.0.1", "::ffff:a9fe:a9fe", "::127.0.0.1", "::10.0.0.1"),
    *("64:ff9b::7f00:1", "64:ff9b::169.254.169.254", "2002:7f00:1::1", "2001:0:7f00:1::1"),
)
"""IPv6 addresses that lead to such an IPv4 address."""
ODD = (
    "127.1",
    "0",
    "2130706433",
    "0x7f.1",
    "0x7f000001",
    "0177.0.0.1",
    "127.0.0.1.",
    "\uff11\uff12\uff17.0.0.1",
)
"""What a resolver takes for 127.0.0.1."""


@pytest.mark.parametrize("address", PUBLIC)
def test_a_public_address_may_be_connected_to(address: str) -> None:
    assert allowed(address)


def test_a_public_address_may_be_behind_nat64() -> None:
    """As where there is no IPv4 (RFC 6147)."""
    assert allowed("64:ff9b::8.8.8.8")
    assert allowed("::ffff:8.8.8.8")


@pytest.mark.parametrize("address", [*INNER, *WRAPPED, *ODD])
def test_no_other_address_may(address: str) -> None:
    assert not allowed(address)


def test_a_network_that_is_allowed_is_so_in_both_families() -> None:
    networks = [ipaddress.ip_network(each) for each in ("10.1.0.0/16", "fd00:1::/32")]
    for address in ("10.1.2.3", "::ffff:10.1.2.3", "fd00:1::5"):
        assert allowed(address, networks)
    for address in ("10.2.0.1", "fd00:2::5", "127.0.0.1"):
        assert not allowed(address, networks)


def test_no_socket_is_made_for_an_address_that_is_refused() -> None:
    make = guarded(["127.0.0.1/32"])
    tcp = socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP, ""
    with make((*tcp, ("127.0.0.1", 80))) as made:
        assert made.family == socket.AF_INET
    with pytest.raises(AddressRefused, match=r"^127\.0\.0\.2 is no public address"):
        make((*tcp, ("127.0.0.2", 80)))
