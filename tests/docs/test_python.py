"""What the docs say to write in Python does what they say, as it stands.

Each snippet finds the names that the text around it takes for granted, and a Redis where the tests
have one.
"""

import ast
import asyncio
import inspect
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any, Protocol
from urllib.request import urlopen

import aiohttp_security
import aiohttp_session
import pytest
from aiohttp import web

import aionotify
from aionotify.auth.main_host.authenticator import MainHostAuthenticator
from aionotify.config import MainHostConfig
from tests.broker.test_sync_publisher import in_a_child
from tests.docs.snippets import snippet
from tests.embedded import config, served
from tests.harness import PATIENCE, RedisServer, SSEClient, free_port
from tests.integration.talk import ask, received, stream

REDIS = "redis://127.0.0.1:6379/0"


async def execute(code: str, names: dict[str, Any]) -> dict[str, Any]:
    """Run a snippet, which may await as in ``python -m asyncio``; return its names, and `names`."""
    given = {"aionotify": aionotify, "web": web, "asyncio": asyncio, **names}
    compiled = compile(code, "<snippet>", "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
    result = eval(compiled, given)
    if inspect.isawaitable(result):
        await result
    return given


# Publishing


async def test_each_example_with_a_publisher_stores_its_events(
    redis_server: RedisServer, capsys: pytest.CaptureFixture[str]
) -> None:
    def stored(user: str) -> int:
        return int(redis_server.cli("LLEN", f"aionotify:{{{user}}}:inbox"))

    embedding = snippet("docs/embedding.rst", "async with aionotify.Publisher")
    await execute(embedding.replace(REDIS, redis_server.url), {})
    assert stored("42") == 1
    producers = snippet("docs/producers.rst", "publisher.publish_many(")
    await execute(producers.replace(REDIS, redis_server.url), {})
    assert (stored("42"), stored("999")) == (3, 1)
    [printed] = capsys.readouterr().out.splitlines()
    id, online = printed.split()
    assert (len(id), online) == (19, "False")


async def test_the_program_of_the_readme_stores_its_event(redis_server: RedisServer) -> None:
    program = snippet("README.rst", "asyncio.run(main())")
    code = program.replace("redis://127.0.0.1:6380", redis_server.url)
    assert code != program
    await asyncio.to_thread(in_a_child, lambda: exec(code, {}))
    assert redis_server.cli("LLEN", "aionotify:{alice}:inbox") == 1


# Embedding


@pytest.mark.parametrize(
    "program",
    [
        snippet("README.rst", 'aionotify.load_config("config.yaml"), prefix="/push")'),
        snippet("docs/embedding.rst", 'aionotify.load_config("config.yaml"), prefix="/push")'),
    ],
    ids=["README", "embedding"],
)
def test_an_application_with_aionotify_in_it_serves(
    redis_server: RedisServer, tmp_path: Path, program: str
) -> None:
    (tmp_path / "config.yaml").write_text(f"redis: {{url: '{redis_server.url}'}}\n")
    port = free_port()
    code = program.replace('host="127.0.0.1"', f'host="127.0.0.1", port={port}')
    assert code != program
    with subprocess.Popen(
        [sys.executable, "-u", "-c", code],
        cwd=tmp_path,
        env={k: v for k, v in os.environ.items() if not k.startswith("AIONOTIFY_")},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as process:
        assert process.stdout is not None
        try:
            for line in process.stdout:  # until it serves, or has ended
                if "Running on" in line:
                    break
            with urlopen(f"http://127.0.0.1:{port}/push/healthz", timeout=PATIENCE) as answer:
                assert answer.status == 200
        finally:
            process.send_signal(signal.SIGTERM)
    assert process.returncode == 0


async def test_the_parts_of_an_embedding_application_work_together(
    redis_server: RedisServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its own authenticator, a handler that publishes, a reload, and a drain."""
    monkeypatch.chdir(tmp_path)
    settings = f"redis: {{url: '{redis_server.url}'}}\nserver: {{drain: 0}}\n"
    (tmp_path / "config.yaml").write_text(f"{settings}stream: {{heartbeat: 1}}\n")
    app = web.Application()
    names: dict[str, Any] = {"app": app, "config": config(redis_server.url)}
    customers = snippet("docs/embedding.rst", "class Customers:")
    assert customers.count("...") == 1
    names = await execute(customers.replace("...", 'return aionotify.Identity("42")'), names)
    names = await execute(snippet("docs/embedding.rst", "async def ship(request"), names)
    app.router.add_post("/ship", names["ship"])
    async with served(app) as url, stream(url, "42") as client:
        assert (await ask(url, "/ship", "POST")).status == 204
        [event] = await received(client, 1)
        assert event == {"recipient_id": "42", "event": "order.shipped", "data": {"order": 7}}
        names = await execute(snippet("docs/embedding.rst", "aionotify.reload(app"), names)
        assert names["waiting"] == ()
        drain = snippet("docs/embedding.rst", "aionotify.drain(app")
        await execute(drain.replace("seconds=10", "seconds=0.1"), names)
        assert await client.wait_end() == "complete"


# Authentication


async def test_the_view_of_django_answers_what_it_is_asked() -> None:
    """With what it takes from Django in a line each."""

    class Tokens:
        user_id = 42

        def filter(self, key: str, revoked: bool) -> "Tokens":
            self._known = key == "good" and not revoked
            return self

        def first(self) -> "Tokens | None":
            return self if self._known else None

    class ApiToken:
        objects = Tokens()

    view = snippet("docs/authentication.rst", "ApiToken.objects")
    names = {"ApiToken": ApiToken, "JsonResponse": web.json_response}
    is_user_auth = (await execute(view, names))["is_user_auth"]

    async def answer(request: web.Request) -> web.Response:
        response: web.Response = is_user_auth(request)
        return response

    app = web.Application()
    app.router.add_get("/api/v1/is_user_auth/", answer)
    async with served(app) as url:
        asking = MainHostAuthenticator(MainHostConfig(url=url))
        assert (await asking.identify("good")).user_id == "42"
        with pytest.raises(aionotify.InvalidToken):
            await asking.identify("bad")
        await asking.close()


async def test_the_protocol_of_an_authenticator_is_what_it_is() -> None:
    shown = await execute(
        snippet("docs/authentication.rst", "class Authenticator(Protocol)"), {"Protocol": Protocol}
    )
    signature = inspect.signature(aionotify.Authenticator.authenticate)
    assert inspect.signature(shown["Authenticator"].authenticate) == signature


# aiohttp-session keeps what it has to keep under texts.
@pytest.mark.filterwarnings("ignore:It is recommended to use web.RequestKey")
@pytest.mark.parametrize("library", ["aiohttp-session", "aiohttp-security"])
async def test_streams_go_by_the_session_that_a_library_has(
    redis_server: RedisServer, library: str
) -> None:
    class Policy(aiohttp_security.AbstractAuthorizationPolicy):
        async def authorized_userid(self, identity: str) -> str | None:
            return identity

        async def permits(self, *about: object) -> bool:
            return True

    async def sign_in(request: web.Request) -> web.Response:
        response = web.Response()
        if library == "aiohttp-session":
            (await aiohttp_session.new_session(request))["user_id"] = "42"
        else:
            await aiohttp_security.remember(request, response, "42")
        return response

    code = {
        "aiohttp-session": snippet("docs/authentication.rst", "class SessionAuthenticator"),
        "aiohttp-security": snippet("docs/authentication.rst", "class SecurityAuthenticator"),
    }[library]
    names: dict[str, Any] = {
        "config": config(redis_server.url),
        "storage": aiohttp_session.SimpleCookieStorage(),
        "identity_policy": aiohttp_security.CookiesIdentityPolicy(),
        "authorization_policy": Policy(),
    }
    app = (await execute(code, names))["app"]
    app.router.add_get("/sign-in", sign_in)
    async with served(app) as url:
        refused = await ask(url)
        assert (refused.status, refused.code) == (403, "credentials_missing")
        cookie = (await ask(url, "/sign-in")).headers["Set-Cookie"].partition(";")[0]
        async with SSEClient(f"{url}/notify", headers={"Cookie": cookie}) as client:
            [begun] = await client.wait_events(1)
    assert '"user_id":"42"' in begun.data.replace(" ", "")
