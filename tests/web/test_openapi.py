"""docs/openapi.yaml says what the handlers do: every route, every status, every answer."""

import asyncio
import json
import re
from collections import defaultdict
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import yaml
from jsonschema import Draft202012Validator
from openapi_spec_validator import OpenAPIV31SpecValidator
from referencing import Registry, Resource
from referencing.jsonschema import DRAFT202012
from yarl import URL

from aionotify import AuthFailed, AuthUnavailable, Config, InvalidToken, create_app
from aionotify.errors import InvalidEvent
from aionotify.events.event import decode
from aionotify.events.event_id import event_id
from aionotify.web import publish
from tests.embedded import TokenIsUser, embedded
from tests.harness import RedisServer, eventually
from tests.web.test_answers import Failing

PAGE = Path(__file__).parents[2] / "docs" / "openapi.yaml"
KEY, SCOPED = "publisher-key-0123456789", "scoped-key-0123456789"
RIGHTS = ["publish", "presence", "revoke", "read", "groups", "admin"]
SCOPE: Any = {"key": SCOPED, "recipients": "shop:", "rights": RIGHTS[:-1]}
ADMIN = {"publish_keys": [{"key": KEY, "rights": RIGHTS}, SCOPE]}
MEMBER, MEMBERS = "/groups/{group}/members/{user_id}", "/groups/{group}/members"
PAGE_FILES = {"/admin", "/admin/admin.js", "/admin/admin.css", "/admin/bell.svg"}

pytestmark = pytest.mark.asyncio(loop_factories=["asyncio"])


API: dict[str, Any] = yaml.safe_load(PAGE.read_text())
OPERATIONS: Mapping[tuple[str, str], dict[str, Any]] = {
    (method.upper(), path): operation
    for path, item in API["paths"].items()
    for method, operation in item.items()
}
REGISTRY: Registry[Any] = Registry().with_resource(
    "urn:api", Resource.from_contents(API, default_specification=DRAFT202012)
)


def resolved(part: dict[str, Any]) -> dict[str, Any]:
    """What a reference refers to; anything else as it is."""
    if "$ref" not in part:
        return part
    found: Any = API
    for name in part["$ref"].removeprefix("#/").split("/"):
        found = found[name]
    return resolved(found)


def fault(schema: Any, value: object) -> str | None:
    """Why a value is not what a schema of the document says, or None."""
    text = json.dumps(schema).replace('"$ref": "#/', '"$ref": "urn:api#/')
    validator = Draft202012Validator(json.loads(text), registry=REGISTRY)
    return next((error.message for error in validator.iter_errors(value)), None)


async def test_the_document_is_openapi() -> None:
    assert [error.message for error in OpenAPIV31SpecValidator(API).iter_errors()] == []


async def test_every_route_is_in_the_document_and_no_other_one() -> None:
    """HEAD where it does something of its own; OPTIONS and files of a page are for browsers."""
    own_head = {"/notify"}
    routes = {
        (route.method, route.resource.canonical)
        for route in create_app(Config()).router.routes()
        if route.resource is not None
        and route.method not in ("*", "OPTIONS")
        and route.resource.canonical not in PAGE_FILES
        and (route.method != "HEAD" or route.resource.canonical in own_head)
    }
    assert OPERATIONS.keys() == routes


def examples(part: Any, where: str = "") -> Iterator[tuple[str, Any, object]]:
    """Each example below a part of the document, with its schema and where it is."""
    if isinstance(part, list):
        for index, each in enumerate(part):
            yield from examples(each, f"{where}/{index}")
    if not isinstance(part, dict):
        return
    if "schema" in part:
        if "example" in part:
            yield where, part["schema"], part["example"]
        for name, each in part.get("examples", {}).items():
            yield f"{where}/{name}", part["schema"], each["value"]
    if "type" in part:
        for index, each in enumerate(part.get("examples", ())):
            yield f"{where}/{index}", part, each
    for name, each in part.items():
        if name not in ("example", "examples"):
            yield from examples(each, f"{where}/{name}")


async def test_examples_are_what_their_schemas_say() -> None:
    found = list(examples(API))
    assert len(found) > 12
    assert [(where, why) for where, schema, value in found if (why := fault(schema, value))] == []


EVENTS: list[Any] = [
    {"recipient_id": "42"},
    {"recipient_id": 42, "event": "a", "id": "b", "data": None, "more": [1]},
    {"recipient_id": ["a", 1]},
    {"recipient_id": "*"},
    {"recipient_id": "x" * 256, "event": "e" * 128, "id": "i" * 128},
    {"recipient_id": "größe\u2028", "event": "größe"},
    {},
    {"recipient_id": None},
    {"recipient_id": 1.5},
    {"recipient_id": True},
    {"recipient_id": ""},
    {"recipient_id": "x" * 257},
    {"recipient_id": "a\nb"},
    {"recipient_id": "a\x7f"},
    {"recipient_id": []},
    {"recipient_id": ["a", "*"]},
    {"recipient_id": ["x"] * 1001},
    {"recipient_id": [["a"]]},
    {"recipient_id": "a", "event": None},
    {"recipient_id": "a", "event": ""},
    {"recipient_id": "a", "event": "e" * 129},
    {"recipient_id": "a", "event": "open"},
    {"recipient_id": "a", "event": "aionotify.gap"},
    {"recipient_id": "a", "event": "a\u2028b"},
    {"recipient_id": "a", "event": "a\x0bb"},
    {"recipient_id": "a", "id": ""},
    {"recipient_id": "a", "id": "i" * 129},
    {"recipient_id": "a", "id": 7},
    {"recipient_id": "a", "aionotify": {}},
    {"recipient_id": "a", "aionotify": {"expires_in": 0.5, "collapse": "c" * 128}},
    {"recipient_id": "a", "aionotify": {"expires_in": 31622400}},
    {"recipient_id": "a", "aionotify": None},
    {"recipient_id": "a", "aionotify": {"other": 1}},
    {"recipient_id": "a", "aionotify": {"expires_in": 0}},
    {"recipient_id": "a", "aionotify": {"expires_in": 31622401}},
    {"recipient_id": "a", "aionotify": {"expires_in": "5"}},
    {"recipient_id": "a", "aionotify": {"collapse": ""}},
    {"recipient_id": "a", "aionotify": {"collapse": "c" * 129}},
    [],
    "x",
]


@pytest.mark.parametrize("event", EVENTS, ids=lambda event: json.dumps(event)[:40])
async def test_the_schema_of_an_event_takes_what_the_server_takes(event: Any) -> None:
    try:
        decode(json.dumps(event).encode())
    except InvalidEvent:
        is_valid = False
    else:
        is_valid = True
    assert (fault({"$ref": "#/components/schemas/Event"}, event) is None) is is_valid


# --- what really is answered --------------------------------------------------------------------


@dataclass
class Talk:
    """Requests to a server; each answer is held against the document."""

    url: str
    statuses: defaultdict[tuple[str, str], set[str]] = field(
        default_factory=lambda: defaultdict(set)
    )

    async def ask(
        self, method: str, path: str, query: str = "", *, token: str | None = KEY, **more: Any
    ) -> int:
        """Send a request, check the answer, return its status. Of a stream a line is read."""
        headers = {**more.pop("headers", {})}
        where = more.pop("instead", re.sub("{.*?}", "42", path))
        if token is not None:
            headers["Authorization"] = f"Bearer {token}"
        url = URL(f"{self.url}{where}{query}", encoded=True)
        async with (
            aiohttp.ClientSession() as session,
            session.request(method, url, headers=headers, **more) as response,
        ):
            is_stream = response.content_type == "text/event-stream"
            read = response.content.readline if is_stream else response.read
            self.check((method, path), response.status, response.headers, await read())
            return response.status

    async def published(self, event: Any) -> str:
        """Publish an event; return its id."""
        headers = {"Authorization": f"Bearer {KEY}"}
        async with (
            aiohttp.ClientSession(headers=headers) as session,
            session.post(f"{self.url}/publish", json=event) as response,
        ):
            answer = await response.json()
            return str(answer["event_id"])

    def check(
        self, operation: tuple[str, str], code: int, headers: Mapping[str, str], body: bytes
    ) -> None:
        """Hold an answer against the document; of a stream, `body` is its first line."""
        answers, status = OPERATIONS[operation]["responses"], str(code)
        self.statuses[operation].add(status)
        answer = resolved(answers.get(status, answers["default"]))
        for name, each in answer.get("headers", {}).items():
            header, text = resolved(each), headers.get(name)
            if text is None:
                assert not header.get("required"), (operation, status, name)
                continue
            value = int(text) if header["schema"]["type"] == "integer" else text
            assert fault(header["schema"], value) is None, (operation, status, name, text)
        content = answer.get("content", {})
        if not content or operation[0] == "HEAD":
            assert body == b""
            return
        kind = headers["Content-Type"].partition(";")[0]
        schema = content[kind]["schema"]
        if kind == "application/json":
            assert fault(schema, json.loads(body)) is None, (operation, status, body)
        elif kind == "text/event-stream":
            assert body.startswith(b"retry: ")
        elif kind == "application/x-ndjson":
            for line in body.splitlines():
                why = fault({"$ref": "#/components/schemas/Line"}, json.loads(line))
                assert why is None, (line, why)


async def test_every_status_is_answered_as_the_document_says(
    own_redis: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And no other, but for those that are the same everywhere."""
    statuses: defaultdict[tuple[str, str], set[str]] = defaultdict(set)

    @asynccontextmanager
    async def node(authenticator: Any = None, **sections: Any) -> AsyncIterator[Talk]:
        settings = {
            "admin": ADMIN,
            "events": {"max_bytes": 256},
            "groups": {"memberships": True},
            **sections,
        }
        async with embedded(own_redis.url, authenticator=authenticator, **settings) as (url, _):
            yield Talk(url, statuses)

    async with node() as talk:
        await _what_goes_well(talk)
        await _what_publishers_do_wrong(talk, monkeypatch)
        own_redis.stop()
        event = {"recipient_id": ["a", "b"]}
        assert await talk.ask("POST", "/publish", json=event) == 503
        assert await talk.ask("GET", "/presence", "?recipient_id=42") == 503
        assert await talk.ask("GET", "/admin/users") == 503
        gone = f"/inbox/{event_id('42', 2)}"
        recall = ("DELETE", "/inbox/{event_id}", "?recipient_id=42")
        assert await talk.ask(*recall, instead=gone) == 503
        assert await talk.ask("GET", "/inbox", token="token-42") == 503
        assert await talk.ask("GET", "/admin/inbox", "?user_id=42") == 503
        assert await talk.ask("PUT", "/inbox/read", token="token-42", json=MARK) == 503
        assert await talk.ask("DELETE", "/streams/{user_id}") == 503
        assert await talk.ask("DELETE", "/admin/streams", "?user_id=42") == 503
        for operation in (("PUT", MEMBER), ("DELETE", MEMBER), ("GET", MEMBERS)):
            assert await talk.ask(*operation) == 503
        assert await talk.ask("GET", "/admin/nodes") == 200
        await _until_not_ready(talk)
    own_redis.start()
    async with node(groups={"memberships": False}) as talk:
        for operation in (("PUT", MEMBER), ("DELETE", MEMBER), ("GET", MEMBERS)):
            assert await talk.ask(*operation) == 409
    for error in (InvalidToken("no"), AuthFailed("no"), AuthUnavailable("no")):
        async with node(Failing(error)) as talk:
            await _all_to_be_signed_in(talk, error.status)
    async with node(TokenIsUser(), server={"max_streams_per_address": 1}) as talk, _open(talk):
        await _all_to_be_signed_in(talk, 429)
    async with node(TokenIsUser(), server={"max_streams": 1}) as talk, _open(talk):
        await _all_to_be_signed_in(talk, 503)
    everywhere = {"404", "405", "417"}
    documented = {
        key: {status for status in operation["responses"] if status != "default"} - everywhere
        for key, operation in OPERATIONS.items()
    }
    answered = {key: found - everywhere for key, found in statuses.items()}
    assert answered == documented


SIGNED_IN = (
    *(("GET", "/notify"), ("HEAD", "/notify"), ("POST", "/notify/ticket")),
    *(("GET", "/inbox"), ("PUT", "/inbox/read")),
)
MARK = {"ids": ["all.00000000000002"]}


async def _all_to_be_signed_in(talk: Talk, status: int) -> None:
    for method, path in SIGNED_IN:
        body: dict[str, Any] = {"json": MARK} if method == "PUT" else {}
        assert await talk.ask(method, path, token="token-42", **body) == status


@asynccontextmanager
async def _open(talk: Talk) -> AsyncIterator[None]:
    headers = {"Authorization": "Bearer token-42"}
    async with (
        aiohttp.ClientSession(headers=headers) as session,
        session.get(f"{talk.url}/notify") as response,
    ):
        assert response.status == 200
        yield


async def _what_goes_well(talk: Talk) -> None:
    for method, path in SIGNED_IN:
        status = 201 if path.endswith("ticket") else 200
        body: dict[str, Any] = {"json": MARK} if method == "PUT" else {}
        assert await talk.ask(method, path, token="token-42", **body) == status
        assert await talk.ask(method, path, token=None, **body) == 403
    for path in ("/notify/client.js", "/notify/client.{hash}.js"):
        assert await talk.ask("GET", path, token=None) == 200
        assert await talk.ask("GET", path, headers={"If-None-Match": "*"}) == 304
    for query in ("", "?ephemeral=true"):
        for event in ({"recipient_id": 42}, [{"recipient_id": ["a", "b"]}, {"recipient_id": "*"}]):
            assert await talk.ask("POST", "/publish", query, json=event) == 202
    lines = b'{"recipient_id": 1}\n{"recipient_id": 2}'
    assert await talk.ask("POST", "/publish", data=lines) == 202
    some = b'\n{"recipient_id": 1}\n{}\n{"recipient_id": ["a", "b"]}\n' + b"x" * 1000
    accept = {"Accept": "application/x-ndjson"}
    assert await talk.ask("POST", "/publish", data=some, headers=accept) == 200
    assert await talk.ask("GET", "/presence", "?recipient_id=42&recipient_id=43") == 200
    published = await talk.published({"recipient_id": "42"})
    recall = ("DELETE", "/inbox/{event_id}", "?recipient_id=42")
    assert await talk.ask(*recall, instead=f"/inbox/{published}") == 204
    assert await talk.ask(*recall, instead=f"/inbox/{published}") == 404
    assert await talk.ask("DELETE", "/streams/{user_id}") == 202
    for path, query in (("/inbox", "?recipient_id=42"), ("/admin/inbox", "?user_id=42")):
        assert await talk.ask("GET", path, query) == 200
        assert await talk.ask("GET", path, query, headers={"If-None-Match": "*"}) == 304
    async with _open(talk):
        assert await talk.ask("GET", "/admin/nodes") == 200
        assert await talk.ask("GET", "/admin/streams", "?user_id=42") == 200
        for path in ("/presence", "/admin/users"):
            assert await talk.ask("GET", path, "?prefix=4&limit=1") == 200
            assert await talk.ask("GET", path, "?cursor=4") == 200
    assert await talk.ask("DELETE", "/admin/streams", "?user_id=42") == 202
    assert await talk.ask("PUT", MEMBER) == 204
    assert await talk.ask("GET", MEMBERS) == 200
    assert await talk.ask("DELETE", MEMBER) == 204
    assert await talk.ask("DELETE", MEMBER) == 404
    assert await talk.ask("GET", MEMBERS) == 200
    assert await talk.ask("GET", "/notify", "?groups=a", token="token-42") == 403
    assert await talk.ask("GET", "/healthz", token=None) == 200
    assert await talk.ask("GET", "/readyz", token=None) == 200
    assert await talk.ask("GET", "/metrics", token=None) == 200
    openmetrics = {"Accept": "application/openmetrics-text; version=1.0.0"}
    assert await talk.ask("GET", "/metrics", headers=openmetrics) == 200
    for operation in OPERATIONS:
        assert await talk.ask(*operation, headers={"Expect": "nothing"}) == 417


async def _what_publishers_do_wrong(talk: Talk, monkeypatch: pytest.MonkeyPatch) -> None:
    for method, path, query in (
        ("POST", "/publish", ""),
        ("GET", "/presence", "?recipient_id=42"),
        ("DELETE", "/inbox/{event_id}", "?recipient_id=42"),
        ("GET", "/inbox", "?recipient_id=42"),
        ("GET", "/admin/inbox", "?user_id=42"),
        ("DELETE", "/streams/{user_id}", ""),
        ("GET", "/admin/nodes", ""),
        ("GET", "/admin/users", "?prefix=4"),
        ("GET", "/admin/streams", "?user_id=42"),
        ("DELETE", "/admin/streams", "?user_id=42"),
        ("PUT", MEMBER, ""),
        ("DELETE", MEMBER, ""),
        ("GET", MEMBERS, ""),
    ):
        event: dict[str, Any] = {"json": {"recipient_id": "42"}} if method == "POST" else {}
        if path.startswith("/inbox/"):
            event = {"instead": f"/inbox/{event_id('42', 2)}"}
        assert await talk.ask(method, path, query, token=None, **event) == 403
        assert await talk.ask(method, path, query, token="unknown-key-0123456789", **event) == 401
        assert await talk.ask(method, path, query, token=SCOPED, **event) == 403
    assert await talk.ask("POST", "/publish", json={}) == 400
    assert await talk.ask("POST", "/publish", "?ephemeral=1", json={"recipient_id": 1}) == 400
    assert await talk.ask("POST", "/publish", data=b"x" * 5000) == 413
    assert (
        await talk.ask("POST", "/publish", data=b"x", headers={"Content-Encoding": "gzip"}) == 415
    )
    for path in ("/presence", "/admin/users"):
        assert await talk.ask("GET", path, "?limit=0") == 400
    assert await talk.ask("DELETE", "/inbox/{event_id}") == 400
    assert await talk.ask("GET", "/inbox", "?limit=0", token="token-42") == 400
    assert await talk.ask("GET", "/admin/inbox", "?user_id=42&limit=0") == 400
    packed = {"Content-Encoding": "gzip"}
    read = partial(talk.ask, "PUT", "/inbox/read", token="token-42")
    assert await read(json={}) == 400
    assert await read(data=b"x" * 70_000) == 413
    assert await read(data=b"x", headers=packed) == 415
    assert await talk.ask("DELETE", "/streams/{user_id}", instead="/streams/*") == 400
    for method in ("PUT", "DELETE"):
        assert await talk.ask(method, MEMBER, instead="/groups/*/members/42") == 400
    assert await talk.ask("GET", MEMBERS, "?limit=0") == 400
    for method in ("GET", "DELETE"):
        assert await talk.ask(method, "/admin/streams") == 400
    monkeypatch.setattr(publish, "_BODY_SECONDS", 0.05)
    await _keep_waiting_for_a_body(talk)


async def _keep_waiting_for_a_body(talk: Talk) -> None:
    host, port = talk.url.removeprefix("http://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    head = f"POST /publish HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {KEY}\r\nContent-Length: 9"
    writer.write(f"{head}\r\n\r\n".encode())
    first, *lines = (await reader.readuntil(b"\r\n\r\n")).decode().strip().split("\r\n")
    headers = dict(line.split(": ", 1) for line in lines)
    body = await reader.readexactly(int(headers["Content-Length"]))
    talk.check(("POST", "/publish"), int(first.split()[1]), headers, body)
    writer.write(b"123456789")  # or aiohttp waits for it for ten seconds, connected or not
    writer.close()


async def _until_not_ready(talk: Talk) -> None:
    async def is_not() -> bool:
        return await talk.ask("GET", "/readyz", token=None) == 503

    await eventually(is_not)
