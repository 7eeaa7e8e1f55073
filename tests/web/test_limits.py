"""Limits by address and rate, and whose a request is taken to be."""

import pytest
from aiohttp import web
from aiohttp.test_utils import make_mocked_request
from multidict import CIMultiDict

from aionotify.errors import NodeFull, TooManyStreams
from aionotify.web.limits import Limits
from tests.auth.helpers import Clock


def request(remote: str, *forwarded: str) -> web.Request:
    headers = CIMultiDict([("X-Forwarded-For", value) for value in forwarded])
    return make_mocked_request("GET", "/notify", headers=headers).clone(remote=remote)


def address(remote: str, *forwarded: str, trusted: tuple[str, ...] = ("10.0.0.0/8",)) -> str:
    return Limits(trusted_proxies=trusted).address(request(remote, *forwarded))


# Whose a request is


def test_without_a_trusted_proxy_the_header_is_ignored() -> None:
    assert address("203.0.113.1", "198.51.100.1", trusted=()) == "203.0.113.1"


def test_from_anybody_but_a_trusted_proxy_the_header_is_ignored() -> None:
    assert address("203.0.113.1", "198.51.100.1") == "203.0.113.1"


def test_a_trusted_proxy_is_believed() -> None:
    assert address("10.0.0.1", "203.0.113.1") == "203.0.113.1"


@pytest.mark.parametrize(
    "forwarded",
    [
        ("192.0.2.66, 203.0.113.1",),
        ("192.0.2.66", "203.0.113.1"),
        ("10.9.9.9, 203.0.113.1",),
        ("nonsense, , 203.0.113.1, 10.0.0.2",),
        ("203.0.113.1,10.0.0.3,10.0.0.2",),
        ("192.0.2.66,192.0.2.67," * 500 + "203.0.113.1, ",),
    ],
)
def test_an_address_that_a_client_wrote_before_the_proxies_did_is_ignored(
    forwarded: tuple[str, ...],
) -> None:
    assert address("10.0.0.1", *forwarded) == "203.0.113.1"


def test_address_behind_nothing_but_proxies_is_the_farthest_of_them() -> None:
    assert address("10.0.0.1", "10.0.0.3, 10.0.0.2") == "10.0.0.3"
    assert address("10.0.0.1") == "10.0.0.1"


@pytest.mark.parametrize("written", ["203.0.113.1:54321", "::ffff:203.0.113.1"])
def test_an_address_is_the_same_however_it_is_written(written: str) -> None:
    assert address("10.0.0.1", written) == "203.0.113.1"


def test_a_proxy_is_known_also_on_a_socket_that_listens_on_ipv6_and_ipv4() -> None:
    assert address("::ffff:10.0.0.1", "203.0.113.1") == "203.0.113.1"


@pytest.mark.parametrize(
    "written",
    ["2001:db8:1:2::1", "2001:db8:1:2:ffff::", "[2001:db8:1:2::9]:443", "[2001:db8:1:2::9]"],
)
def test_a_network_of_ipv6_counts_as_one(written: str) -> None:
    assert address("10.0.0.1", written) == "2001:db8:1:2::/64"
    assert address("10.0.0.1", "2001:db8:1:3::1") != "2001:db8:1:2::/64"


def test_a_client_of_a_unix_socket_is_a_proxy() -> None:
    assert address("", "203.0.113.1", trusted=()) == "203.0.113.1"
    assert address("", trusted=()) == ""


@pytest.mark.parametrize(
    "junk", ["unknown", "_hidden", "1.2.3.4.5", "a" * 8000, "\xff", "[::1", "::1%" + "z" * 99]
)
def test_a_text_that_is_no_address_is_one_client_and_not_a_long_one(junk: str) -> None:
    assert address("10.0.0.1", junk) == address("10.0.0.1", junk)
    assert len(address("10.0.0.1", junk)) <= 64


# How many there may be


def test_an_address_may_have_so_many_and_another_one_has_its_own() -> None:
    limits = Limits(max_streams_per_address=2)
    first, second = request("203.0.113.1"), request("203.0.113.2")
    entered = [limits.enter(first), limits.enter(first)]
    with pytest.raises(TooManyStreams) as refused:
        limits.enter(first)
    assert refused.value.retry_after
    limits.enter(second)
    limits.leave(entered[0])
    limits.enter(first)


def test_those_who_have_left_are_not_remembered() -> None:
    limits = Limits(max_streams_per_address=2)
    for number in range(9):
        limits.leave(limits.enter(request(f"203.0.113.{number}")))
    assert not limits._open


def test_handshakes_come_at_a_rate_after_a_burst_of_one_second() -> None:
    clock = Clock()
    limits = Limits(handshake_rate=5, clock=clock)
    anybody = request("203.0.113.1")
    for _ in range(5):
        limits.enter(anybody)
    with pytest.raises(NodeFull) as refused:
        limits.enter(anybody)
    assert refused.value.retry_after
    clock.advance(0.21)
    limits.enter(anybody)
    with pytest.raises(NodeFull):
        limits.enter(anybody)
    clock.advance(3600)
    for _ in range(5):
        limits.enter(anybody)
    with pytest.raises(NodeFull):
        limits.enter(anybody)


def test_less_than_one_in_a_second_is_a_rate_too() -> None:
    clock = Clock()
    limits = Limits(handshake_rate=0.5, clock=clock)
    limits.enter(request("203.0.113.1"))
    clock.advance(1.9)
    with pytest.raises(NodeFull):
        limits.enter(request("203.0.113.1"))
    clock.advance(0.2)
    limits.enter(request("203.0.113.1"))


def test_a_refusal_of_an_address_costs_others_nothing_of_the_rate() -> None:
    limits = Limits(max_streams_per_address=1, handshake_rate=2, clock=Clock())
    limits.enter(request("203.0.113.1"))
    for _ in range(10):
        with pytest.raises(TooManyStreams):
            limits.enter(request("203.0.113.1"))
    limits.enter(request("203.0.113.2"))


def test_without_limits_there_are_none() -> None:
    limits = Limits()
    anybody = request("203.0.113.1")
    for _ in range(10_000):
        limits.enter(anybody)


def test_other_limits_count_for_those_who_come_and_forget_nobody_who_is_there() -> None:
    clock = Clock()
    limits = Limits(max_streams_per_address=3, clock=clock)
    here = [limits.enter(request("203.0.113.1")) for _ in range(3)]
    limits.adopt(Limits(max_streams_per_address=2, handshake_rate=1))
    with pytest.raises(TooManyStreams):
        limits.enter(request("203.0.113.1"))
    for address in here[:2]:
        limits.leave(address)
    clock.advance(1)
    limits.enter(request("203.0.113.1"))
    with pytest.raises(NodeFull):
        limits.enter(request("203.0.113.2"))
    limits.adopt(Limits(max_streams_per_address=1, trusted_proxies=["203.0.113.0/24"]))
    assert limits.enter(request("203.0.113.1", "198.51.100.7")) == "198.51.100.7"


def test_a_limit_per_address_counts_those_who_come_when_there_is_one() -> None:
    limits = Limits()
    before = limits.enter(request("203.0.113.1"))
    limits.adopt(Limits(max_streams_per_address=1))
    limits.enter(request("203.0.113.1"))
    limits.leave(before)
    with pytest.raises(TooManyStreams):
        limits.enter(request("203.0.113.1"))
