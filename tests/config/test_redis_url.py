"""What `redis.url` may say, and what is said of one that it may not."""

import pytest

from aionotify.broker.connection.endpoint import Endpoint
from aionotify.config import Config, RedisConfig
from aionotify.config.redis_url import Address, parse
from aionotify.errors import ConfigError


@pytest.mark.parametrize(
    ("url", "address", "shown"),
    [
        ("redis://r", Address("redis", (("r", 6379),)), "redis://r:6379/0"),
        (
            "redis://me:p%40ss%2F@10.0.0.1:7000/3",
            Address("redis", (("10.0.0.1", 7000),), db=3, username="me", password="p@ss/"),
            "redis://10.0.0.1:7000/3",
        ),
        ("redis://:pw@[::1]/", Address("redis", (("::1", 6379),), password="pw"), None),
        ("redis://:p@ss@r", Address("redis", (("r", 6379),), password="p@ss"), "redis://r:6379/0"),
        (
            "rediss://r:1/2?ssl_ca_certs=%2Fca.pem&ssl_check_hostname=false",
            Address(
                "rediss",
                (("r", 1),),
                db=2,
                options={"ssl_ca_certs": "/ca.pem", "ssl_check_hostname": "false"},
            ),
            "rediss://r:1/2",
        ),
        (
            "unix://:pw@/run/redis/r%20.sock?db=4",
            Address("unix", path="/run/redis/r .sock", db=4, password="pw", options={"db": "4"}),
            "unix:///run/redis/r .sock?db=4",
        ),
        (
            "redis+sentinel://u:p@a,b:2,[fd00::3]:3/main/5?sentinel_password=s",
            Address(
                "redis+sentinel",
                (("a", 26379), ("b", 2), ("fd00::3", 3)),
                service="main",
                db=5,
                username="u",
                password="p",
                options={"sentinel_password": "s"},
            ),
            "redis+sentinel://a:26379,b:2,[fd00::3]:3/main/5",
        ),
        (
            "rediss+sentinel://a/main?sentinel_username=u&ssl_ca_certs=/ca.pem",
            Address(
                "rediss+sentinel",
                (("a", 26379),),
                service="main",
                options={"sentinel_username": "u", "ssl_ca_certs": "/ca.pem"},
            ),
            "rediss+sentinel://a:26379/main/0",
        ),
        ("embedded://", Address("embedded"), "embedded://"),
    ],
)
def test_every_way_to_name_a_redis(url: str, address: Address, shown: str | None) -> None:
    """An address has all parts of its text, and shows none of the secret ones."""
    assert parse(url) == address
    assert str(parse(url)) == shown or shown is None


def test_a_plus_is_a_plus_and_what_is_percent_encoded_is_decoded_once() -> None:
    """In user, password and options alike (RFC 3986), whatever an HTML form would mean by it."""
    for given in ("a+b/c=%", "a%2Bb%2Fc%3D%25"):
        options = f"sentinel_username={given}&sentinel_password={given}&ssl_ca_certs=/{given}"
        address = parse(f"rediss+sentinel://{given.replace('/', '%2F')}:x+y@a/main?{options}")
        assert (address.username, address.password) == ("a+b/c=%", "x+y")
        assert address.options == {
            "sentinel_username": "a+b/c=%",
            "sentinel_password": "a+b/c=%",
            "ssl_ca_certs": "/a+b/c=%",
        }


def test_an_option_that_is_left_empty_is_none() -> None:
    assert parse("redis+sentinel://a/main?sentinel_password=").options == {}


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("http://r", "begins with redis://"),
        ("localhost:6379", "begins with redis://"),
        ("redis+cluster://r", "not supported yet"),
        ("redis://", "expected a host"),
        ("redis:///0", "expected a host"),
        ("redis://:6379/0", "expected a host"),
        ("redis://user:password@/0", "expected a host"),
        ("rediss://?ssl_check_hostname=false", "expected a host"),
        ("redis://r:0", "expected a host"),
        ("redis://r:65536", "expected a host"),
        ("redis://r:port", "expected a host"),
        ("redis://a,b", "expected a host"),
        ("redis://r/zero", "number of a database"),
        ("redis://r/0/1", "number of a database"),
        ("redis://r/٣", "number of a database"),
        ("redis://r?protocol=3", "unknown option"),
        ("rediss://r?ssl_check_hostname=no", "ssl_check_hostname=true or =false"),
        ("unix://run/redis.sock", "absolute path"),
        ("unix://", "absolute path"),
        ("unix:///", "absolute path"),
        ("unix://redis.sock", "absolute path"),
        ("unix:///r.sock?db=x", "number of a database"),
        ("redis+sentinel://a,b", "service's name"),
        ("redis+sentinel://a,,b/main", "expected a host"),
        ("redis+sentinel:///main", "expected a host"),
        ("rediss+sentinel://:26379/main", "expected a host"),
        ("rediss+sentinel://a/main?sentinel_user=x", "unknown option"),
        ("embedded:///var/lib", "nothing after embedded://"),
    ],
)
def test_a_wrong_address_is_refused_with_what_was_expected(url: str, expected: str) -> None:
    """The problem is that of `redis.url`, in what was read and in what was put together in code."""
    for refused in (
        lambda: Endpoint(RedisConfig(url=url)),
        lambda: Config.from_mapping({"redis": {"url": url}}),
    ):
        with pytest.raises(ConfigError) as caught:
            refused()
        assert list(caught.value.problems) == ["redis.url"]
        assert expected in caught.value.problems["redis.url"]


@pytest.mark.parametrize(
    "url",
    [
        "redis://:sec/ret@r",
        "redis://:sec?ret@r",
        "redis://:sec#ret@r:x",
        "redis://sec:ret@r:x",
        "redis+sentinel://:sec/ret@r",
        "unix://sec:ret@r/x",
        "redis:/sec:ret@r",
        "unix:///x?password=ret&sec=ret",
    ],
)
def test_a_password_that_breaks_the_address_is_not_quoted(url: str) -> None:
    """Neither of its halves shows up in the error, nor in what caused the error."""
    with pytest.raises(ValueError, match=r"expected|unknown") as caught:
        parse(url)
    text = f"{caught.value} {caught.value.__cause__}"
    assert "sec" not in text
    assert "ret" not in text


def test_the_repr_of_an_address_has_no_secrets() -> None:
    """User, password and options may be in a traceback's locals, not in their text."""
    text = repr(parse("redis+sentinel://sec:ret@r/main?sentinel_password=sec"))
    assert "sec" not in text
    assert "ret" not in text
