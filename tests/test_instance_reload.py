"""Another configuration for an instance that runs: every part has it, or none."""

import asyncio
import os
from collections.abc import Iterator, Mapping
from ipaddress import IPv4Network, IPv6Network
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

import aionotify
from aionotify import Config, ConfigError
from aionotify.config import SETTINGS
from aionotify.instance import Instance
from aionotify.web.services import SERVICES
from tests.auth.jwt_tokens import SECRET
from tests.embedded import TokenIsUser, config, served
from tests.harness import MainHost, RedisServer, eventually
from tests.integration.talk import ask, publish, received, stream

# Every setting


JWT: Mapping[str, object] = {
    "auth.method": "jwt",
    "auth.jwt.algorithms": ["HS256"],
    "auth.jwt.key": SECRET,
}

OTHERS: Mapping[str, object] = {
    "server.host": "127.0.0.2",
    "server.port": 9001,
    "server.workers": 2,
    "server.max_streams": 7,
    "server.max_streams_per_user": 7,
    "server.max_streams_per_address": 7,
    "server.handshake_rate": 7,
    "server.trusted_proxies": ["10.0.0.0/8"],
    "server.drain": 7,
    "server.drain_delay": 3,
    "admin.host": "127.0.0.2",
    "admin.port": 9002,
    "admin.publish_keys": ["publisher-key-0123456789"],
    "admin.max_publish_bytes": 7_777_777,
    "auth.method": "jwt",
    "auth.cookie": "session",
    "auth.ticket_ttl": 7,
    "auth.revalidate": 7,
    "auth.main_host.url": "http://127.0.0.2:8000",
    "auth.main_host.path": "/who/",
    "auth.main_host.timeout": 7,
    "auth.main_host.cache_ttl": 7,
    "auth.main_host.refusal_ttl": 7,
    "auth.main_host.stale_if_error": 7,
    "auth.main_host.max_concurrency": 7,
    "auth.jwt.key": SECRET[::-1],
    "auth.jwt.key_file": "key",
    "auth.jwt.jwks_url": "http://127.0.0.2/keys",
    "auth.jwt.algorithms": ["HS384"],
    "auth.jwt.audience": "us",
    "auth.jwt.issuer": "them",
    "auth.jwt.user_claim": "uid",
    "auth.jwt.groups_claim": "groups",
    "auth.jwt.leeway": 7,
    "redis.url": "redis://127.0.0.2",
    "redis.channel": "other",
    "redis.prefix": "other",
    "redis.data_dir": "other",
    "redis.wait_replicas": 7,
    "events.max_bytes": 777,
    "inbox.max_events": 7,
    "inbox.retention": 7,
    "inbox.idempotency": 7,
    "publish.stream": True,
    "away.stream": "mailer",
    "away.max_entries": 5000,
    "away.webhook": "https://shop.example/away",
    "away.types": ["order=60"],
    "presence.events": True,
    "presence.grace": 7,
    "presence.max_events": 7,
    "presence.webhook": "https://shop.example/presence",
    "webhook.secret": f"whsec_{'A' * 32}",
    "webhook.timeout": 7,
    "webhook.allow_http": True,
    "webhook.allow": ["10.1.2.3/32"],
    "stream.heartbeat": 7,
    "stream.send_timeout": 7,
    "stream.retry": 777,
    "stream.buffer": 7777,
    "stream.hand_over": False,
    "stream.max_groups": 7,
    "groups.memberships": True,
    "cors.origins": ["https://app.example.com"],
    "cors.headers": ["X-Tenant"],
    "log.level": "debug",
    "log.format": "json",
}
TOGETHER: Mapping[str, Mapping[str, object]] = {
    "auth.method": JWT,
    "auth.jwt.key_file": {"auth.jwt.key": None},
    "auth.jwt.jwks_url": {"auth.jwt.key": None, "auth.jwt.algorithms": ["RS256"]},
}
"""What else has to change with a setting."""
BEFORE: Mapping[str, Mapping[str, object]] = {
    "cors.origins": {"auth.cookie": "id"},
    "away.webhook": {"webhook.secret": f"whsec_{'A' * 32}"},
    "away.types": {"away.stream": "mailer"},
    "presence.webhook": {"presence.events": True, "webhook.secret": f"whsec_{'A' * 32}"},
}
"""What else has to be there for a setting to count."""


NO_CA = "rediss://127.0.0.1?ssl_ca_certs=/nonexistent/ca.pem"
NO_KEY = ("auth.jwt.key_file", "auth.jwt.jwks_url")


def made(settings: Mapping[str, object]) -> Config:
    """A configuration, of settings by their dotted names."""
    mapping: dict[str, Any] = {}
    for path, value in settings.items():
        *sections, key = path.split(".")
        section = mapping
        for name in sections:
            section = section.setdefault(name, {})
        section[key] = value
    return Config.from_mapping(mapping)


PASSING = {
    *("_filled_at", "_tokens", "_hash_key", "_node", "_sha", "_source", "at", "rounds"),
    "started_at",
}
"""What is not configured, by name."""


def held(thing: object, path: str = "", inside: tuple[int, ...] = ()) -> Iterator[tuple[str, Any]]:
    """All plain values in an object of ours, and in those that it has."""
    match thing:
        case None | bool() | int() | float() | str() | bytes() | IPv4Network() | IPv6Network():
            yield path, thing
        case list() | tuple():
            for index, each in enumerate(thing):
                yield from held(each, f"{path}[{index}]", inside)
        case set() | frozenset():
            yield path, thing
        case asyncio.Semaphore():
            yield path, thing._value
        case _ if type(thing).__module__.startswith("aionotify.") and id(thing) not in inside:
            names = [*getattr(thing, "__dict__", ()), *getattr(thing, "__slots__", ())]
            for name in names:
                if name not in PASSING:
                    yield from held(getattr(thing, name), f"{path}.{name}", (*inside, id(thing)))


def test_here_is_another_value_for_every_setting() -> None:
    assert list(OTHERS) == list(SETTINGS)


@pytest.mark.asyncio(loop_factories=["asyncio"])
@pytest.mark.parametrize("path", SETTINGS)
async def test_a_setting_is_in_force_everywhere_or_takes_a_restart(
    path: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As it says of itself; and after a reload all is as it is after a start."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "key").write_text(SECRET[::-1])
    base = JWT if path.startswith("auth.jwt.") else BEFORE.get(path, {})
    old, new = made(base), made({**base, **TOGETHER.get(path, {}), path: OTHERS[path]})
    instance = Instance(old)
    waiting = await instance.reload(new)
    running, at_start = dict(held(instance.services)), dict(held(Instance(old).services))
    if SETTINGS[path].fixed:
        assert waiting == (path,)
        assert running == at_start
    else:
        assert waiting == ()
        assert running == dict(held(Instance(new).services)) != at_start
    await instance.services.authenticator.close()


# All of it or nothing


def last_part_refuses(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: object, **kwargs: object) -> None:
        raise ConfigError({"server.handshake_rate": "is not to our liking"})

    monkeypatch.setattr("aionotify.instance.Reloads", refuse)  # after all the others


@pytest.mark.asyncio(loop_factories=["asyncio"])
async def test_a_reload_that_fails_has_changed_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    old = Config()
    instance = Instance(old)
    at_start, inner = dict(held(instance.services)), instance.services.authenticator._inner
    wrong = [
        made(
            {
                **OTHERS,
                **JWT,
                "auth.jwt.key": "short" * 4,
                **dict.fromkeys((*NO_KEY, "away.webhook")),
            }
        ),
        made({"redis.url": NO_CA, "server.drain": 1}),
        made({"redis.url": f"{NO_CA}&ssl_check_hostname=false", "auth.cookie": "id"}),
    ]
    for each in wrong:
        with pytest.raises(ConfigError):
            await instance.reload(each)
    last_part_refuses(monkeypatch)
    with pytest.raises(ConfigError, match="liking"):
        await instance.reload(made({**JWT, "server.drain": 1}))
    assert instance.services.reloads.successful is False
    instance.services.reloads.successful = True
    assert dict(held(instance.services)) == at_start
    assert instance.services.authenticator._inner is inner
    assert instance.services.revalidation.rounds == 0


@pytest.mark.asyncio(loop_factories=["asyncio"])
async def test_an_authenticator_stays_the_same_unless_another_one_is_configured() -> None:
    """What is remembered of tokens is of use for as long as nothing of that has changed."""
    instance = Instance(Config())
    tickets, revalidation = instance.services.authenticator, instance.services.revalidation
    inner = tickets._inner
    of_no_matter: list[Mapping[str, object]] = [
        {"log.level": "debug", "stream.retry": 100, "admin.publish_keys": ["publisher-key-01234"]},
        {"auth.ticket_ttl": 7, "auth.revalidate": 7, "cors.origins": ["https://a.example"]},
        {"auth.jwt.audience": "us"},
        {},
    ]
    for harmless in of_no_matter:
        await instance.reload(made(harmless))
        assert tickets._inner is inner
    assert revalidation.rounds == 0
    judged_anew: list[Mapping[str, object]] = [
        {"auth.main_host.timeout": 7},
        {"auth.cookie": "id"},
        JWT,
        {**JWT, "auth.jwt.leeway": 7},
    ]
    for number, telling in enumerate(judged_anew, 1):
        await instance.reload(made(telling))
        assert tickets._inner is not inner
        assert revalidation.rounds == number
        inner = tickets._inner
    await tickets.close()


# Inside an application


@pytest.mark.parametrize("prefix", ["", "/push"])
async def test_an_application_reloads_what_it_has_set_up_under_a_prefix(
    redis_server: RedisServer, prefix: str
) -> None:
    app, url = web.Application(), redis_server.url
    aionotify.setup(app, config(url), prefix=prefix, authenticator=TokenIsUser())
    aionotify.setup(app, config(url), prefix="/other", authenticator=TokenIsUser())
    async with served(app) as address, stream(address + prefix, "42") as client:
        new = config("redis://127.0.0.9", server={"max_streams_per_user": 1, "port": 1})
        waiting = await aionotify.reload(app, new, prefix=prefix)
        assert waiting == ("server.port", "redis.url")
        answer = await ask(address, f"{prefix}/notify", token="token-42")
        assert answer.code == "too_many_streams"
        publish(redis_server, {"recipient_id": "42"})
        await received(client, 1)
        async with (
            stream(f"{address}/other", "42") as first,
            stream(f"{address}/other", "42") as second,
        ):
            assert (first.status, second.status) == (200, 200)


async def test_an_authenticator_of_the_application_stays(redis_server: RedisServer) -> None:
    life: list[str] = []

    class Lively(TokenIsUser):
        async def start(self) -> None:
            life.append("start")

        async def close(self) -> None:
            life.append("close")

    app = web.Application()
    aionotify.setup(app, config(redis_server.url), authenticator=Lively())
    async with served(app) as url, stream(url, "42") as client:
        auth = {"method": "jwt", "jwt": {"key_file": "/nonexistent", "algorithms": ["RS256"]}}
        await aionotify.reload(app, config(redis_server.url, auth=auth))
        assert (await ask(url, "/notify/ticket", "POST", token="token-43")).status == 201
        assert life == ["start"]
        assert client.end is None
    assert life == ["start", "close"]


async def test_a_refusal_shows_in_the_metrics_until_a_reload_succeeds(
    redis_server: RedisServer,
) -> None:
    app = web.Application()
    aionotify.setup(app, config(redis_server.url), authenticator=TokenIsUser())
    async with served(app) as url:

        async def successful() -> bool:
            answer = await ask(url, "/metrics")
            return b"aionotify_config_last_reload_successful 1.0" in answer.body

        assert await successful()
        with pytest.raises(ConfigError):
            await aionotify.reload(app, config(NO_CA))
        assert not await successful()
        before = app[SERVICES].reloads.at
        await aionotify.reload(app, config(redis_server.url))
        assert await successful()
        assert app[SERVICES].reloads.at > before


async def test_reloads_at_the_same_time_end_with_the_last_one(redis_server: RedisServer) -> None:
    app = web.Application()
    aionotify.setup(app, config(redis_server.url))
    async with served(app):
        hosts = [{"main_host": {"url": f"http://127.0.0.1:{port}"}} for port in range(1, 21)]
        configs = [config(redis_server.url, auth=auth) for auth in hosts]
        await asyncio.gather(*(aionotify.reload(app, each) for each in configs))
        assert app[SERVICES].terms.config == configs[-1]


@pytest.mark.asyncio(loop_factories=["asyncio"])
async def test_reloads_leave_nothing_behind(redis_server: RedisServer, main_host: MainHost) -> None:
    """Neither tasks nor descriptors, whoever else was asked meanwhile."""
    app = web.Application()

    def asking(path: str) -> Config:
        auth = {"main_host": {"url": main_host.url, "path": path}}
        return config(redis_server.url, auth=auth)

    def tasks() -> set[str]:
        return {task.get_name() for task in asyncio.all_tasks() if "aionotify" in task.get_name()}

    async def reload(url: str, turns: range) -> int:
        for turn in turns:
            await aionotify.reload(app, asking(f"/{turn}"))
            assert (await ask(url, "/notify/ticket", "POST", token=f"token-{turn}")).status == 201
        return len(os.listdir("/proc/self/fd"))

    aionotify.setup(app, asking("/0"))
    async with served(app) as url, stream(url, "42") as client:
        few = await reload(url, range(1, 11))  # by then all that lasts is there
        before = tasks()
        many = await reload(url, range(11, 51))
        await eventually(lambda: tasks() == before)
        assert many < few + 10  # Redis may have a connection more
        assert client.end is None
    assert {asked.path for asked in main_host.asked} == {f"/{turn}" for turn in range(51)}


async def test_reloading_what_was_never_set_up_says_which_call_is_missing() -> None:
    app = web.Application()
    with pytest.raises(RuntimeError, match="setup"):
        await aionotify.reload(app, Config())
    aionotify.setup(app, Config(), prefix="/push")
    with pytest.raises(RuntimeError, match="setup"):
        await aionotify.reload(app, Config())
