"""What `redis.url` may say, and what is said of one that it may not."""

import pytest

from aionotify.broker.connection.url import Address, parse
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
        ("embedded://", Address("embedded"), "embedded://"),
    ],
)
def test_every_way_to_name_a_redis(url: str, address: Address, shown: str | None) -> None:
    """An address has all parts of its text, and shows none of the secret ones."""
    assert parse(url) == address
    assert str(parse(url)) == shown or shown is None


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("http://r", "begins with one of redis://"),
        ("localhost:6379", "begins with one of redis://"),
        ("redis+cluster://r", "not supported yet"),
        ("redis://", "expected a host"),
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
        ("unix:///r.sock?db=x", "number of a database"),
        ("redis+sentinel://a,b", "service's name"),
        ("redis+sentinel://a,,b/main", "expected a host"),
        ("embedded:///var/lib", "nothing after embedded://"),
    ],
)
def test_a_wrong_address_is_refused_with_what_was_expected(url: str, expected: str) -> None:
    """The problem is that of `redis.url`."""
    with pytest.raises(ConfigError) as caught:
        parse(url)
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
    with pytest.raises(ConfigError) as caught:
        parse(url)
    text = f"{caught.value} {caught.value.__cause__}"
    assert "sec" not in text
    assert "ret" not in text


def test_the_repr_of_an_address_has_no_secrets() -> None:
    """User, password and options may be in a traceback's locals, not in their text."""
    text = repr(parse("redis+sentinel://sec:ret@r/main?sentinel_password=sec"))
    assert "sec" not in text
    assert "ret" not in text
