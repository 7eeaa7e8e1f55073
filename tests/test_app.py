"""Inside somebody's application: it gets streams, and stays what it was."""

import asyncio
import importlib.util
import logging
import re
import signal
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

import aionotify
from aionotify.auth.main_host.authenticator import MainHostAuthenticator
from aionotify.config import MainHostConfig
from aionotify.web.services import SERVICES
from tests.embedded import TokenIsUser, config, served
from tests.harness import RedisServer, SSEClient, eventually
from tests.integration.talk import ask, messages, publish, received, stream

USER = web.RequestKey("user", str)
EXAMPLES = Path(__file__).parents[1] / "docs" / "examples"


def example(name: str) -> ModuleType:
    """An example of the documentation, as a module."""
    spec = importlib.util.spec_from_file_location(name, EXAMPLES / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


async def signed_in(url: str, user: str) -> dict[str, str]:
    """Log in as in the examples; return the headers that a browser would send from then on."""
    async with (
        aiohttp.ClientSession() as session,
        session.post(f"{url}/login", data={"user": user}) as response,
    ):
        assert response.status == 200
        cookies = [f"{cookie.key}={cookie.value}" for cookie in response.cookies.values()]
        assert cookies
        return {"Cookie": "; ".join(cookies)}


def connections(redis: RedisServer) -> int:
    return str(redis.cli("CLIENT", "LIST")).count("name=aionotify")


# --- the examples of docs/embedding.rst ----------------------------------------------------------


def test_every_example_is_tried_here() -> None:
    assert sorted(path.stem for path in EXAMPLES.glob("*.py")) == [
        *("main_host", "security", "session", "shop", "two"),
    ]


async def test_the_main_host_answers_what_it_is_asked() -> None:
    async with TestServer(example("main_host").make_app()) as host:
        asking = MainHostAuthenticator(MainHostConfig(url=str(host.make_url(""))))
        identity = await asking.identify("secret-of-alice")
        assert identity.user_id == "alice"
        assert identity.expires_at is not None
        with pytest.raises(aionotify.InvalidToken):
            await asking.identify("made-up")
        await asking.close()


async def test_the_shop_tells_its_customers(redis_server: RedisServer) -> None:
    async with served(example("shop").make_app(redis_server.url)) as url:
        alice = SSEClient(f"{url}/push/notify", token="secret-of-alice")
        bob = SSEClient(f"{url}/push/notify", token="secret-of-bob")
        async with alice, bob:
            assert (await ask(url, "/orders/7/ship", "POST")).json == {"shipped": "7"}
            assert (await ask(url, "/orders/8/ship", "POST")).json == {"shipped": "8"}
            [event] = await received(alice, 1)
            assert event == {
                "recipient_id": "alice",
                "event": "order.shipped",
                "data": {"order": "7"},
            }
            assert (await received(bob, 1))[0]["data"] == {"order": "8"}
            assert len(messages(alice)) == 1
        assert (await ask(url, "/push/notify")).code == "credentials_missing"
        assert (await ask(url, "/push/notify", token="other")).code == "invalid_token"
        unknown = await ask(url, "/orders/9/ship", "POST")
        assert (unknown.status, unknown.body) == (404, b"404: Not Found")
        assert (await ask(url, "/notify")).status == 404


@pytest.mark.parametrize("prefix", ["", "/push"])
async def test_an_application_publishes_with_the_settings_it_was_set_up_with(
    redis_server: RedisServer, prefix: str
) -> None:
    """Also from a sub-application of its own."""

    async def publish(request: web.Request) -> web.Response:
        publisher = request.config_dict[aionotify.PUBLISHER]
        published = await publisher.publish({"recipient_id": "42", "data": request.path})
        return web.json_response({"event_id": published.event_id})

    def make(app: web.Application) -> web.Application:
        app.router.add_post("/tell", publish)
        return app

    app = make(web.Application())
    app.add_subapp("/below/", make(web.Application()))
    settings = config(redis_server.url, redis={"url": redis_server.url, "prefix": "mine"})
    aionotify.setup(app, settings, prefix=prefix, authenticator=TokenIsUser())
    async with served(app) as url, stream(url + prefix, "42") as client:
        for path in ("/tell", "/below/tell"):
            assert (await ask(url, path, "POST")).status == 200
        assert [event["data"] for event in await received(client, 2)] == ["/tell", "/below/tell"]
    assert redis_server.cli("LLEN", "mine:{42}:inbox") == 2
    assert connections(redis_server) == 0


def test_of_several_instances_none_is_whom_an_application_publishes_to() -> None:
    app = web.Application()
    for prefix in ("/a", "/b", "/c"):
        aionotify.setup(app, aionotify.Config(), prefix=prefix, authenticator=TokenIsUser())
        assert (aionotify.PUBLISHER in app) == (prefix == "/a")
    assert isinstance(
        aionotify.create_app(aionotify.Config())[aionotify.PUBLISHER], aionotify.Publisher
    )


# aiohttp-session keeps what it has to keep under texts.
@pytest.mark.filterwarnings("ignore:It is recommended to use web.RequestKey")
async def test_streams_go_by_a_session(redis_server: RedisServer) -> None:
    async with served(example("session").make_app(redis_server.url)) as url:
        assert (await ask(url)).code == "credentials_missing"
        headers = await signed_in(url, "alice")
        async with SSEClient(f"{url}/notify", headers=headers) as client:
            assert client.status == 200
            publish(redis_server, {"recipient_id": "alice", "n": 1})
            assert await received(client, 1) == [{"recipient_id": "alice", "n": 1}]
        forged = {"Cookie": headers["Cookie"][:-4] + "AAAA"}
        assert (await ask(url, headers=forged)).code == "credentials_missing"


async def test_streams_go_by_a_policy_and_end_with_it(redis_server: RedisServer) -> None:
    async with served(example("security").make_app(redis_server.url, revalidate=1)) as url:
        assert (await ask(url)).code == "credentials_missing"
        headers, other = await signed_in(url, "alice"), await signed_in(url, "bob")
        alice = SSEClient(f"{url}/notify", headers=headers)
        bob = SSEClient(f"{url}/notify", headers=other)
        async with alice, bob:
            await alice.wait_events(1)
            await ask(url, "/users/alice/ban", "POST")
            assert await alice.wait_end() == "complete"
            assert alice.events[-1].event == "aionotify.expired"
            assert bob.end is None
        assert (await ask(url, headers=headers)).code == "credentials_missing"


async def test_two_instances_in_one_process_have_nothing_in_common(
    redis_server: RedisServer,
) -> None:
    async with served(example("two").make_app(redis_server.url)) as url:
        headers = {"X-User": "42"}
        customer = SSEClient(f"{url}/customers/notify", headers=headers)
        staff = SSEClient(f"{url}/staff/notify", headers=headers)
        async with customer, staff:
            await staff.wait_events(1)
            await customer.wait_events(1)
            redis_server.cli("PUBLISH", "staff_notifications", '{"recipient_id": 42, "n": 1}')
            redis_server.cli("PUBLISH", "customers_notifications", '{"recipient_id": "*", "n": 2}')
            inbox = aionotify.Publisher(redis_server.url, prefix="staff")
            async with inbox:
                await inbox.publish({"recipient_id": "42", "n": 3})
            assert [event["n"] for event in await received(staff, 2)] == [1, 3]
            assert [event["n"] for event in await received(customer, 1)] == [2]
            for users in ("customers", "staff"):
                metrics = await ask(url, f"/{users}/metrics")
                assert b"aionotify_streams 1.0" in metrics.body
                assert (await ask(url, f"/{users}/readyz")).status == 200
    assert connections(redis_server) == 0


# --- what stays as it was ------------------------------------------------------------------------


async def test_the_applications_own_routes_errors_and_middlewares_stay(
    redis_server: RedisServer,
) -> None:
    seen: list[str] = []

    @web.middleware
    async def theirs(request: web.Request, handler: Any) -> web.StreamResponse:
        seen.append(request.path)
        request[USER] = "42"
        response: web.StreamResponse = await handler(request)
        return response

    class TheirUser:
        async def authenticate(self, request: web.Request) -> aionotify.Identity:
            return aionotify.Identity(request[USER])

    async def health(request: web.Request) -> web.Response:
        return web.Response(text="theirs")

    async def broken(request: web.Request) -> web.Response:
        raise web.HTTPConflict(text="theirs, too")

    app = web.Application(middlewares=[theirs])
    app.router.add_get("/healthz", health)
    app.router.add_get("/broken", broken)
    aionotify.setup(app, config(redis_server.url), authenticator=TheirUser())
    async with served(app) as url:
        assert (await ask(url, "/healthz")).body == b"theirs"
        assert (await ask(url, "/broken")).body == b"theirs, too"
        assert (await ask(url, "/nowhere")).body == b"404: Not Found"
        async with SSEClient(f"{url}/notify") as client:  # let in by their middleware
            publish(redis_server, {"recipient_id": "42"})
            await received(client, 1)
    assert seen == ["/healthz", "/broken", "/nowhere", "/notify"]


async def test_neither_logging_nor_signals_are_ours(redis_server: RedisServer) -> None:
    numbers = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1)
    root, handlers = logging.getLogger(), [signal.getsignal(number) for number in numbers]
    before = [*root.handlers], root.level, asyncio.get_running_loop().get_exception_handler()
    app = web.Application()
    aionotify.setup(app, config(redis_server.url), authenticator=TokenIsUser())
    async with served(app) as url, stream(url, "42"):
        loop = asyncio.get_running_loop()
        assert ([*root.handlers], root.level, loop.get_exception_handler()) == before
        assert [signal.getsignal(number) for number in numbers] == handlers
        assert not logging.getLogger("aionotify").handlers


async def test_setup_does_nothing_before_the_application_starts(redis_server: RedisServer) -> None:
    tasks = asyncio.all_tasks()
    app = web.Application()
    aionotify.setup(app, config("redis://127.0.0.1:1/0"), authenticator=TokenIsUser())
    await asyncio.sleep(0)
    assert asyncio.all_tasks() == tasks
    assert connections(redis_server) == 0


async def test_an_application_that_has_ended_leaves_nothing(redis_server: RedisServer) -> None:
    for _ in range(2):
        app = web.Application()
        aionotify.setup(app, config(redis_server.url), authenticator=TokenIsUser())
        async with served(app) as url, stream(url, "42") as client:
            await client.wait_events(1)
            assert connections(redis_server) >= 1
        assert connections(redis_server) == 0


# --- its life in the application's ---------------------------------------------------------------


async def test_an_authenticator_is_started_and_closed_with_the_application(
    redis_server: RedisServer,
) -> None:
    life: list[str] = []

    class Lively(TokenIsUser):
        async def start(self) -> None:
            life.append("start")

        async def close(self) -> None:
            life.append("close")

    app = web.Application()
    aionotify.setup(app, config(redis_server.url), authenticator=Lively())
    assert life == []
    async with served(app) as url:
        async with stream(url, "42") as client:
            assert client.status == 200
        assert life == ["start"]
    assert life == ["start", "close"]


@pytest.mark.parametrize("user_id", ["*", "", "a\nb", "\ud800", None, "x" * 257])
async def test_an_authenticator_cannot_make_anybody_everybody(
    redis_server: RedisServer, user_id: Any
) -> None:
    """Or somebody whose events nobody could publish."""

    class Careless:
        async def authenticate(self, request: web.Request) -> aionotify.Identity:
            own = request.headers.get("X-User")
            return aionotify.Identity(own if own is not None else user_id)

    app = web.Application()
    aionotify.setup(app, config(redis_server.url), authenticator=Careless())
    async with served(app) as url:
        answer = await ask(url)
        assert (answer.status, answer.code) == (502, "auth_failed")
        assert len(app[SERVICES].hub) == 0
        async with SSEClient(f"{url}/notify", headers={"X-User": "42"}) as client:
            publish(redis_server, {"recipient_id": "*"})
            await received(client, 1)


def test_a_number_is_as_good_as_its_digits() -> None:
    assert aionotify.Identity(42) == aionotify.Identity("42")  # type: ignore[arg-type]


async def test_a_stream_that_does_not_end_keeps_the_application_from_nothing(
    redis_server: RedisServer, caplog: pytest.LogCaptureFixture
) -> None:
    """What it has to do at its own end is done all the same."""
    ended: list[str] = []
    held, release = asyncio.Event(), asyncio.Event()

    async def hold(request: web.Request, response: web.StreamResponse) -> None:
        if request.path == "/notify":
            held.set()
            await release.wait()

    async def end(app: web.Application) -> None:
        ended.append("theirs")

    app = web.Application()
    app.on_response_prepare.append(hold)
    aionotify.setup(app, config(redis_server.url), authenticator=TokenIsUser())
    app.on_shutdown.append(end)
    app.on_cleanup.append(end)
    client = SSEClient("")
    async with served(app, shutdown_timeout=0.1) as url:
        client = stream(url, "42")
        connecting = asyncio.create_task(client.connect())
        await held.wait()
    release.set()
    await asyncio.wait([connecting])
    assert connecting.exception() is not None
    assert ended == ["theirs", "theirs"]
    assert "some streams did not end in time" in caplog.text
    assert connections(redis_server) == 0


@pytest.mark.parametrize("prefix", ["", "/push"])
async def test_an_application_can_be_drained_before_it_ends(
    redis_server: RedisServer, prefix: str
) -> None:
    app = web.Application()
    settings = config(redis_server.url)
    aionotify.setup(app, settings, prefix=prefix, authenticator=TokenIsUser())
    async with served(app) as url, stream(url + prefix, "42") as client:
        await client.wait_events(1)
        await aionotify.drain(app, 0.5)
        assert await client.wait_end() == "complete"
        assert (await ask(url + prefix, "/readyz")).status == 503


async def test_a_drained_application_tells_clients_when_to_come_back(
    redis_server: RedisServer,
) -> None:
    """Whoever they are, with a status that is final for none, and nothing else."""
    app = web.Application()
    cors = {"origins": ["https://shop.example"]}
    settings = config(redis_server.url, cors=cors, stream={"retry": 2000})
    aionotify.setup(app, settings, authenticator=TokenIsUser())
    async with served(app) as url:
        await aionotify.drain(app, 0)
        for token in ("token-42", None):
            answer = await ask(url, token=token, headers={"Origin": "https://shop.example"})
            assert answer.status == 200
            assert answer.headers["Content-Type"] == "text/event-stream; charset=utf-8"
            assert answer.headers["Cache-Control"] == "no-store, no-transform"
            assert answer.headers["Access-Control-Allow-Origin"] == "https://shop.example"
            assert answer.headers["Connection"] == "close"
            [retry] = re.findall(rb"\Aretry: (\d+)\n\Z", answer.body)
            assert 1000 <= int(retry) <= 3000
        # The others are no streams, and whoever asks for a ticket takes it to another node.
        assert (await ask(url, "/notify/ticket", "POST", token="token-42")).status == 201


async def test_a_drain_that_was_broken_off_does_not_begin_again(redis_server: RedisServer) -> None:
    """What is left of it ends at once when the application does."""
    app = web.Application()
    settings = config(redis_server.url)
    settings = replace(settings, server=replace(settings.server, drain=3600))
    aionotify.setup(app, settings, authenticator=TokenIsUser())
    async with AsyncExitStack() as stack:
        async with served(app) as url:
            clients = [await stack.enter_async_context(stream(url, str(n))) for n in range(20)]
            draining = asyncio.create_task(aionotify.drain(app, 3600))
            await eventually(lambda: any(client.end for client in clients))
            draining.cancel()
            assert not all(client.end for client in clients)
        for client in clients:
            assert await client.wait_end() == "complete"
            assert client.events[-1].event == "aionotify.drain"


async def test_draining_what_was_never_set_up_says_which_call_is_missing() -> None:
    with pytest.raises(RuntimeError, match="setup"):
        await aionotify.drain(web.Application(), 0)


async def test_an_application_runs_in_aiohttps_own_test_server(redis_server: RedisServer) -> None:
    app = web.Application()
    aionotify.setup(app, config(redis_server.url), authenticator=TokenIsUser())
    async with TestServer(app) as server:
        async with stream(str(server.make_url("")).rstrip("/"), "42") as client:
            publish(redis_server, {"recipient_id": "42"})
            await received(client, 1)
        await eventually(lambda: len(app[SERVICES].hub) == 0)


# --- what cannot work ----------------------------------------------------------------------------


def test_a_second_instance_without_a_prefix_is_refused(redis_server: RedisServer) -> None:
    app = web.Application()
    aionotify.setup(app, config(redis_server.url), authenticator=TokenIsUser())
    with pytest.raises(RuntimeError, match="prefix"):
        aionotify.setup(app, config(redis_server.url), authenticator=TokenIsUser())


def test_a_configuration_that_cannot_be_used_is_refused_at_once() -> None:
    with pytest.raises(aionotify.ConfigError, match=r"redis\.url"):
        aionotify.setup(web.Application(), config("redis+cluster://127.0.0.1"))


@pytest.fixture(autouse=True)
async def _closed(redis_server: RedisServer) -> AsyncIterator[None]:
    """Whatever a test did, no connection of ours is left on Redis."""
    yield
    await eventually(lambda: connections(redis_server) == 0)
