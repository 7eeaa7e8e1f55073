"""Who may publish, ask who is there, and close streams."""

import json
from pathlib import Path

import pytest

from tests.harness import NotifyServer, free_port
from tests.integration.auth.conftest import HostProcess
from tests.integration.auth.knocking import knock
from tests.integration.conftest import Serve
from tests.integration.talk import Answer, ask, messages, received, stream

OLD, NEW, SHOP = "old-key-0123456789", "new-key-9876543210", "shop-key-0123456789"
WAYS = (("POST", "/publish"), ("GET", "/presence?recipient_id=42"), ("DELETE", "/streams/42"))


async def use(server: NotifyServer, way: tuple[str, str], **options: object) -> Answer:
    method, path = way
    data = b'{"recipient_id": "42"}' if method == "POST" else None
    return await ask(server, path, method, data=data, **options)  # type: ignore[arg-type]


async def test_several_keys_are_good_at_once(serve: Serve) -> None:
    server = await serve({"admin.publish_keys": [OLD, NEW]})
    for way in WAYS:
        for key in (OLD, NEW):
            assert (await use(server, way, token=key)).status in (200, 202)


async def test_a_wrong_key_is_401(serve: Serve) -> None:
    server = await serve({"admin.publish_keys": [OLD]})
    for key in (OLD[:-1], OLD + "0", OLD.upper(), OLD + "=", "token-42", "x" * 4096):
        for way in WAYS:
            answer = await use(server, way, token=key)
            assert (answer.status, answer.code) == (401, "invalid_token")
            assert answer.headers["WWW-Authenticate"] == "Bearer"


async def test_a_key_counts_in_the_header_only(serve: Serve) -> None:
    server = await serve({"admin.publish_keys": [OLD], "auth.cookie": "session"})
    for method, path in WAYS:
        for headers in ({}, {"Cookie": f"session={OLD}"}, {"X-Api-Key": OLD}):
            way = (method, f"{path}{'&' if '?' in path else '?'}key={OLD}&ticket={OLD}")
            answer = await use(server, way, headers=headers)
            assert (answer.status, answer.code) == (403, "credentials_missing")
        answer = await use(server, (method, path), headers={"Authorization": f"Basic {OLD}"})
        assert (answer.status, answer.code) == (403, "invalid_scheme")


async def test_without_keys_nobody_may_anything(serve: Serve) -> None:
    server = await serve()
    for way in WAYS:
        for token in (None, "", "token-42"):
            answer = await use(server, way, token=token)
            assert (answer.status, answer.code) == (403, "forbidden")


async def test_a_key_is_no_token(serve: Serve, main_host: HostProcess) -> None:
    server = await serve({"admin.publish_keys": [OLD]})
    assert (await knock(server, OLD)).status == 401
    assert (await ask(server, "/notify/ticket", "POST", token=OLD)).status == 401


async def test_a_key_with_a_prefix_is_for_those_recipients_in_every_way(
    serve: Serve, main_host: HostProcess
) -> None:
    main_host.be(answers={"token-shop": {"user_id": "shop:1"}})
    server = await serve({"admin.publish_keys": [OLD, {"key": SHOP, "recipients": "shop:"}]})

    async def publish(recipients: object) -> int:
        event = json.dumps({"recipient_id": recipients}).encode()
        return (await ask(server, "/publish", "POST", token=SHOP, data=event)).status

    async with stream(server, "shop") as theirs, stream(server, "42") as other:
        assert [await publish(each) for each in ("shop:1", ["shop:1", "shop:2"])] == [202, 202]
        for each in ("42", 42, "*", "shop", "Shop:1", " shop:1", ["shop:1", "42"]):
            assert await publish(each) == 403
        batch = b'{"recipient_id": "shop:1"}\n{"recipient_id": "42"}'
        assert (await ask(server, "/publish", "POST", token=SHOP, data=batch)).status == 403

        for path, status in (
            ("shop:1", 200),
            ("42", 403),
            ("shop:1&recipient_id=42", 403),
            ("%73hop:1", 200),
        ):
            asked = await ask(server, f"/presence?recipient_id={path}", token=SHOP)
            assert asked.status == status, path
        assert (await ask(server, "/streams/42", "DELETE", token=SHOP)).status == 403
        assert (await ask(server, "/streams/shop:1", "DELETE", token=SHOP)).status == 202
        assert await theirs.wait_end() == "complete"

        # Of all that was refused nothing arrived.
        data = b'{"recipient_id": ["42", "shop:1"], "n": 1}'
        assert (await ask(server, "/publish", "POST", token=OLD, data=data)).status == 202
        assert await received(other, 1) == [{"recipient_id": "42", "n": 1}]
    assert len(messages(theirs)) == 2


async def test_a_key_is_good_for_the_ways_of_its_rights(serve: Serve) -> None:
    """And a refusal says which right is missing."""
    rights = ("publish", "presence", "revoke")
    keys = {right: f"{right}-key-0123456789" for right in (*rights, "admin")}
    server = await serve(
        {"admin.publish_keys": [{"key": key, "rights": [right]} for right, key in keys.items()]}
    )
    for right, key in keys.items():
        for needed, way in zip(rights, WAYS, strict=True):
            answer = await use(server, way, token=key)
            if right == needed:
                assert answer.status in (200, 202)
            else:
                assert (answer.status, answer.code) == (403, "forbidden")
                message = answer.json["error"]["message"]
                assert message == f"this key does not have the right '{needed}'"


@pytest.mark.parametrize("way", ["variable", "credential"])
async def test_keys_come_from_files(
    serve: Serve, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, way: str
) -> None:
    file = tmp_path / "admin.publish_keys"
    file.write_text(f"{OLD}\n{NEW}\n")
    settings = {}
    if way == "variable":
        settings["admin.publish_keys_file"] = str(file)
    else:
        monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
    server = await serve(settings)
    for key, status in ((OLD, 202), (NEW, 202), (SHOP, 401)):
        assert (await use(server, WAYS[0], token=key)).status == status


async def test_a_file_that_cannot_be_used_ends_the_start_without_a_word_of_what_is_in_it(
    serve: Serve, tmp_path: Path
) -> None:
    file = tmp_path / "keys"
    file.write_text("short-Secret1\n")
    server = await serve({"admin.publish_keys_file": str(file)}, until=None)
    assert await server.wait() == 2
    assert any("admin.publish_keys" in line for line in server.logs)
    assert not any("short-Secret1" in line for line in server.logs)


async def test_on_a_port_of_its_own_the_public_one_knows_no_key(serve: Serve) -> None:
    port = free_port()
    server = await serve({"admin.publish_keys": [OLD], "admin.port": port})
    for method, path in WAYS:
        answer = await use(server, (method, path), token=OLD)
        assert answer.status == 404
        admin = f"http://127.0.0.1:{port}"
        answer = await ask(admin, path, method, token=OLD, data=b'{"recipient_id": "42"}')
        assert answer.status in (200, 202)
