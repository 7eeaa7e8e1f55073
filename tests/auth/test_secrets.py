"""Nothing that opens a door is ever written down."""

import logging
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace

import pytest
from aiohttp import web
from redis.asyncio import Redis

from aionotify.auth import AuthError, Identity, revalidate
from aionotify.auth.answer import Key
from aionotify.auth.jwt.authenticator import JWTAuthenticator
from aionotify.auth.main_host.authenticator import MainHostAuthenticator
from aionotify.auth.publish_keys import PublishKeys
from aionotify.auth.ticket_authenticator import TicketAuthenticator
from aionotify.auth.tickets import Grant, Tickets
from aionotify.broker.connection.pipeline import by_client
from aionotify.broker.keys import Keys
from aionotify.broker.ticket_store import RedisTicketStore
from aionotify.config import JWTConfig, MainHostConfig, PublishKey
from aionotify.errors import ConfigError
from tests.auth.answer_nodes import Node
from tests.auth.helpers import bearer, make_request
from tests.auth.jwt_tokens import SECRET, claims, ec, forge, public_pem, sign, static
from tests.auth.stub_main_host import StubMainHost
from tests.harness import RedisServer

GOOD, BAD, COOKIE, KEY = (
    "good-token-7Qx",
    "bad-token-8Zk",
    "cookie-token-9Wv",
    "publish-key-0123-Rt",
)


@pytest.fixture
def secrets() -> set[str]:
    """All that must not be found; the tests add what they make."""
    return {GOOD, BAD, COOKIE, KEY, SECRET}


class Said(logging.Handler):
    """Writes everything down, with all that a formatter could ever use."""

    def __init__(self, said: list[str]) -> None:
        super().__init__(logging.DEBUG)
        self.said = said

    def emit(self, record: logging.LogRecord) -> None:
        self.said += [record.getMessage(), repr(record.__dict__)]
        if record.exc_info:
            self.said.append(logging.Formatter().formatException(record.exc_info))


@pytest.fixture(autouse=True)
def said(secrets: set[str]) -> Iterator[list[str]]:
    """Everything that was logged at any level, and all texts that a test adds."""
    said: list[str] = []
    handler, root = Said(said), logging.getLogger()
    level = root.level
    root.addHandler(handler)
    root.setLevel(logging.DEBUG)
    yield said
    root.setLevel(level)
    root.removeHandler(handler)
    text = "\n".join(said)
    assert text
    assert not [secret for secret in secrets if secret[:16] in text]


@pytest.fixture
async def redis(redis_server: RedisServer) -> AsyncIterator[Redis]:
    async with Redis(port=redis_server.port, protocol=2) as client:
        yield client


async def attempt(
    authenticator: TicketAuthenticator | MainHostAuthenticator | JWTAuthenticator,
    request: web.Request,
    said: list[str],
) -> None:
    """Let `request` in and ask again, whatever comes of it, and note what errors say."""
    again = (
        authenticator.ask_again(authenticator.holder(request))
        if isinstance(authenticator, TicketAuthenticator)
        else revalidate(authenticator, request)
    )
    for call in (authenticator.authenticate(request), again):
        try:
            said.append(repr(await call))
        except AuthError as error:
            said += [str(error), repr(error)]
    said.append(repr(authenticator.__dict__))


async def test_no_token_is_written_down_whatever_the_main_host_does(
    host: StubMainHost, said: list[str]
) -> None:
    host.users = {GOOD: "alice", COOKIE: "bob"}
    requests = [
        bearer(GOOD),
        bearer(BAD),
        bearer(f"{BAD}*"),
        bearer(BAD * 500),
        make_request(("Authorization", f"Basic {BAD}")),
        make_request(("Authorization", f"Bearer {GOOD}"), ("Authorization", f"Bearer {BAD}")),
        make_request(("Cookie", f"session={COOKIE}")),
        make_request(("Cookie", f"session={COOKIE}"), ("Origin", "https://evil.example")),
    ]
    echo = f'{{"user_id": ["{GOOD}", "{BAD}", "{COOKIE}"]}}'
    config = MainHostConfig(url=host.url, timeout=0.2, cache_ttl=0.0, refusal_ttl=0.0)
    for answer in ("honest", (echo, 200), (echo, 500), (f"{GOOD}{BAD}", 200), "silent", "down"):
        authenticator = MainHostAuthenticator(config, cookie="session")
        if answer == "silent":
            host.open.clear()
        elif answer == "down":
            await host.stop()
        elif isinstance(answer, tuple):
            host.says(*answer)
        for request in requests:
            await attempt(authenticator, request, said)
        await authenticator.close()


async def test_no_jwt_and_no_key_is_written_down(
    host: StubMainHost, said: list[str], secrets: set[str]
) -> None:
    tokens = [
        sign(ec(), "ES256"),
        sign(ec(), "ES256", claims(exp=1)),
        sign(ec(), "ES256", claims(sub="*")),
        forge({"alg": "none"}, claims()),
        forge({"alg": "HS256"}, claims(), public_pem(ec()).encode()),
        forge({"alg": "ES256", "crit": ["x"]}, claims()),
    ]
    secrets |= set(tokens) | {token.split(".")[1] for token in tokens}
    host.says("nonsense")
    for config in (
        static(public_pem(ec()), "ES256"),
        static(SECRET, "HS256"),
        JWTConfig(jwks_url=host.url, algorithms=("ES256",)),
    ):
        authenticator = JWTAuthenticator(config)
        for token in tokens:
            await attempt(authenticator, bearer(token), said)
        await authenticator.close()


def test_a_key_that_cannot_be_used_is_not_quoted(said: list[str]) -> None:
    for key in (SECRET[:20], f"-----BEGIN PUBLIC KEY-----\n{SECRET}", f'{{"kty": "oct", "{SECRET}'):
        with pytest.raises(ConfigError) as raised:
            JWTAuthenticator(static(key, "HS256"))
        said += [str(raised.value), repr(raised.value.__dict__)]


async def test_no_ticket_is_written_down(
    host: StubMainHost, redis: Redis, said: list[str], secrets: set[str]
) -> None:
    host.users = {GOOD: "alice"}
    inner = MainHostAuthenticator(MainHostConfig(url=host.url))
    store = RedisTicketStore(by_client(lambda: redis), Keys("aionotify", "push_notifications"))
    entrance = TicketAuthenticator(inner, Tickets(store, 30))
    issued = await entrance.issue(bearer(GOOD))
    secrets.add(issued.ticket)
    said.append(repr(issued))
    for ticket in (issued.ticket, issued.ticket, issued.ticket[:-1], f"{issued.ticket}&ticket=x"):
        await attempt(entrance, make_request(path=f"/notify?ticket={ticket}"), said)
    await inner.close()


async def test_no_token_that_other_nodes_may_know_is_written_down(
    host: StubMainHost, redis: Redis, redis_server: RedisServer, said: list[str]
) -> None:
    host.users = {GOOD: "alice", COOKIE: "bob"}
    nodes = [Node(redis) for _ in range(2)]
    for node in nodes:
        authenticator = MainHostAuthenticator(MainHostConfig(url=host.url), answers=node.answers)
        for token in (GOOD, COOKIE, BAD):
            authenticator.opened(token)
            await attempt(authenticator, bearer(token), said)
            said += [repr(node.answers.__dict__), repr(Key(host.url, token))]
            await node.flush()
        await authenticator.close()
        said.append(repr(node.answers.__dict__))
        await node.close()
    for name in redis_server.cli("KEYS", "*"):
        said += [name, repr(await redis.dump(name))]


def test_values_that_hold_a_secret_do_not_show_it(said: list[str]) -> None:
    keys = PublishKeys((PublishKey(KEY, "shop:"),))
    said += [
        repr(Grant(Identity("alice"), GOOD)),
        repr(PublishKey(KEY)),
        repr(keys.__dict__),
        repr(keys.match(KEY)),
        repr(replace(JWTConfig(), key=SECRET)),
    ]
