"""The browser's module, as every node serves it."""

import gzip
from pathlib import Path

import pytest

from tests.embedded import embedded
from tests.harness import RedisServer
from tests.integration.talk import ask

SOURCE = Path(__file__).parents[2] / "aionotify/web/static/aionotify.js"
ELSEWHERE = {"Origin": "https://elsewhere.example"}


def test_it_is_small() -> None:
    """No more than 8 KiB travel to a page that wants notifications."""
    assert len(gzip.compress(SOURCE.read_bytes(), mtime=0)) <= 8 * 1024


async def test_every_node_serves_it_to_pages_of_any_origin(redis_server: RedisServer) -> None:
    """Also where `cors.origins` names none, or others: it is no secret, and streams are apart."""
    for origins in ([], ["https://app.example"]):
        async with embedded(redis_server.url, cors={"origins": origins}) as (url, _):
            answer = await ask(url, "/notify/client.js", headers=ELSEWHERE)
            assert answer.status == 200
            assert answer.body == SOURCE.read_bytes()
            assert answer.headers["Content-Type"] == "text/javascript; charset=utf-8"
            assert answer.headers["Access-Control-Allow-Origin"] == "*"


async def test_who_has_it_gets_it_no_second_time(redis_server: RedisServer) -> None:
    async with embedded(redis_server.url) as (url, _):
        first = await ask(url, "/notify/client.js")
        assert first.headers["Cache-Control"] == "no-cache"
        again = {"If-None-Match": first.headers["ETag"]}
        second = await ask(url, "/notify/client.js", headers=again)
        assert (second.status, second.body) == (304, b"")
        assert second.headers["ETag"] == first.headers["ETag"]
        other = await ask(url, "/notify/client.js", headers={"If-None-Match": '"other"'})
        assert (other.status, other.body) == (200, first.body)


async def test_under_its_hash_it_is_kept_and_under_another_it_is_not(
    redis_server: RedisServer,
) -> None:
    """A page that names the module of another version gets this one."""
    async with embedded(redis_server.url) as (url, _):
        path = (await ask(url, "/notify/client.js")).headers["Content-Location"]
        named = await ask(url, f"/notify/{path}", headers=ELSEWHERE)
        other = await ask(url, "/notify/client.0123456789abcdef.js", headers=ELSEWHERE)
        assert named.body == other.body == SOURCE.read_bytes()
        assert named.headers["Cache-Control"] == "public, max-age=31536000, immutable"
        assert other.headers["Cache-Control"] == "no-cache"


@pytest.mark.parametrize("method", ["HEAD", "POST"])
async def test_it_can_be_asked_for_and_nothing_else(redis_server: RedisServer, method: str) -> None:
    async with embedded(redis_server.url) as (url, _):
        answer = await ask(url, "/notify/client.js", method)
        assert answer.status == (200 if method == "HEAD" else 405)
