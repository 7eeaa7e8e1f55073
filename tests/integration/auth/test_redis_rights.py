"""The Redis users that docs/security.rst proposes: they can do their work, and not much else."""

import asyncio
import contextlib
import json
import re
from functools import partial
from pathlib import Path

import pytest
import redis
from aiohttp import web

from aionotify import Publisher, setup
from aionotify.broker.answer_store import RedisAnswerStore
from aionotify.broker.connection.endpoint import Endpoint
from aionotify.broker.control import ControlChannel
from aionotify.broker.inspection import Inspection
from aionotify.broker.keys import Keys
from aionotify.cli.check_redis import check_redis
from aionotify.config import InboxConfig, RedisConfig
from aionotify.errors import AionotifyError
from aionotify.web.services import SERVICES
from tests.docs.snippets import snippet
from tests.embedded import config, embedded, served
from tests.harness import MainHost, RedisServer, SSEClient, eventually
from tests.integration.conftest import Serve
from tests.integration.talk import ask, received, stream

KEY = "publisher-key-0123456789"
SECURITY = Path(__file__).parents[3] / "docs" / "security.rst"


RULES = {
    "aionotify": snippet("docs/security.rst", "user aionotify on"),
    "producer": snippet("docs/security.rst", "user producer on"),
    "adder": snippet("docs/security.rst", "user adder on"),
}


def user(name: str) -> list[str]:
    """The rules for a user, as documented."""
    [_, _, *rules] = RULES[name].replace("PASSWORD", "password").split()
    return rules


async def test_a_server_can_do_all_its_work_with_the_rights_that_it_needs(
    serve: Serve, own_redis: RedisServer
) -> None:
    for name in ("aionotify", "producer"):
        own_redis.cli("ACL", "SETUSER", name, *user(name))
    address = f"password@127.0.0.1:{own_redis.port}/0"
    server = await serve(
        {
            "redis.url": f"redis://aionotify:{address}",
            "admin.publish_keys": [KEY],
            "server.drain": 1,
        }
    )
    ready = (await ask(server, "/readyz")).json
    assert all(check["ok"] for check in ready["checks"].values())
    ticket = (await ask(server, "/notify/ticket", "POST", token="token-42")).json["ticket"]
    async with SSEClient(f"{server.url}/notify?ticket={ticket}") as client:
        event = {"recipient_id": "42", "id": "once"}
        for _ in range(2):
            data = json.dumps(event).encode()
            assert (await ask(server, "/publish", "POST", token=KEY, data=data)).status == 202
        with redis.Redis.from_url(f"redis://producer:{address}") as producer:
            producer.publish("push_notifications", b'{"recipient_id": "42"}')
            for channel in ("aionotify:control", "aionotify:{42}"):
                with pytest.raises(redis.exceptions.NoPermissionError):
                    producer.publish(channel, b'{"revoke": "42"}')
        assert len(await received(client, 2)) == 2
        assert (await ask(server, "/presence?recipient_id=42", token=KEY)).json == {"42": True}
        [listed] = (await ask(server, "/inbox", token="token-42")).json["events"]
        mark = json.dumps({"ids": [listed["event_id"]]}).encode()
        answer = await ask(server, "/inbox/read", "PUT", token="token-42", data=mark)
        assert answer.json == {"unread": 0}
        await client.wait_for(lambda events: events[-1].event == "aionotify.read")
        await client.reconnect()  # the ticket is used up
        assert client.status == 401
    async with stream(server, "42") as client:
        assert (await ask(server, "/streams/42", "DELETE", token=KEY)).status == 202
        assert await client.wait_end() == "complete"
    async with stream(server, "42"):
        [record] = own_redis.cli("KEYS", "aionotify:auth{0}:answer:*")
        await eventually(lambda: own_redis.cli("HLEN", record) == 4)
    await eventually(lambda: own_redis.cli("HLEN", record) == 3)
    assert await server.terminate() == 0
    assert not any("level=warning" in line for line in server.logs), server


async def everything(url: str, main_host: MainHost) -> None:
    """Do whatever a node does with Redis; raise if something does not work."""
    settings = config(
        url, admin={"publish_keys": [KEY]}, auth={"main_host": {"url": main_host.url}}
    )
    findings = [each async for each in check_redis(settings.redis)]
    app = web.Application()
    setup(app, settings)
    async with served(app) as server, asyncio.TaskGroup() as group:
        group.create_task(_stream(server))
        group.create_task(_publish_and_expire(url))
        group.create_task(_revoke(app[SERVICES].control))
        group.create_task(_answer(url))
        group.create_task(_inspect(app[SERVICES].inspection))
        ready = (await ask(server, "/readyz")).json
    assert not [each for each in findings if each.status == "failed"]
    assert all(check["ok"] for check in ready["checks"].values())


async def _stream(server: str) -> None:
    ticket = (await ask(server, "/notify/ticket", "POST", token="token-42")).json["ticket"]
    async with SSEClient(f"{server}/notify?ticket={ticket}") as client:
        assert client.status == 200
        for _ in range(2):
            data = json.dumps({"recipient_id": "42", "id": "once"}).encode()
            assert (await ask(server, "/publish", "POST", token=KEY, data=data)).status == 202
        await received(client, 1, 2)
        last = client.last_event_id
        assert (await ask(server, "/presence?recipient_id=42", token=KEY)).json == {"42": True}
    await eventually(lambda: _is_gone(server), 2)
    data = b'{"recipient_id": "42"}'
    assert (await ask(server, "/publish", "POST", token=KEY, data=data)).status == 202
    async with stream(server, "42", f"?last_event_id={last}") as client:
        await received(client, 1, 2)
        assert (await ask(server, "/streams/42", "DELETE", token=KEY)).status == 202
        await client.wait_end(2)


async def _is_gone(server: str) -> bool:
    presence = (await ask(server, "/presence?recipient_id=42", token=KEY)).json
    return bool(presence == {"42": False})


async def _publish_and_expire(url: str) -> None:
    """An event that has expired makes room for the next."""
    for retention in (60, 0):
        inbox = InboxConfig(retention=retention)
        async with Publisher(url, inbox=inbox) as publisher:
            await publisher.publish({"recipient_id": "expiring"})


async def _revoke(control: ControlChannel) -> None:
    await control.revoke("somebody")
    assert [user for user, _ in (await control.revoked()).users] == ["somebody"]


async def _inspect(inspection: Inspection) -> None:
    asked, answers = await inspection.ask()
    assert asked == len(answers) == 1


async def _answer(url: str) -> None:
    """The main host's answers: written, with a stream of that token, and taken back."""
    endpoint = Endpoint(RedisConfig(url=url))
    store = RedisAnswerStore(endpoint.commands("writes").execute, Keys("aionotify", ""))
    try:
        secret, number, *_ = await store.exchange(b"", [], [], 60)
        for kind in ("answered", "opened", "answered", "opened", "closed", "refused"):
            await store.exchange(secret, [("abc", kind, number, 0, 9000, b"x")], ["abc"], 60)
    finally:
        await store.close()
        await endpoint.close()


@pytest.mark.asyncio(loop_factories=["asyncio"])
async def test_in_another_database_the_rights_are_those_for_its_channels(
    own_redis: RedisServer, main_host: MainHost
) -> None:
    """As the text below the rules says."""
    channels = "&push_notifications@1 &aionotify@1:*"
    assert f"``{channels}``" in SECURITY.read_text()
    rules = [rule for rule in user("aionotify") if not rule.startswith("&")]
    own_redis.cli("ACL", "SETUSER", "aionotify", *rules, *channels.split(), "+select")
    await everything(f"redis://aionotify:password@127.0.0.1:{own_redis.port}/1", main_host)
    assert refused(own_redis) <= COURTESIES


COURTESIES = {"client|setname", "info"}
"""What is tried and done without; the text beside the rules says what for."""


def refused(server: RedisServer) -> set[str]:
    """What was not permitted since the last time, also to scripts: commands, keys, channels."""
    entries = server.cli("ACL LOG")
    server.cli("ACL LOG", "RESET")
    return {str(each["object"]) for each in entries if each["username"] == "aionotify"}


@pytest.mark.asyncio(loop_factories=["asyncio"])
async def test_every_right_is_needed_and_no_other_one_is(
    own_redis: RedisServer, main_host: MainHost
) -> None:
    """All that a node does is done with the rules as they are, and then without each in turn.

    If the first fails, a right is missing in docs/security.rst; if another one, that right is in
    there for nothing, or what needs it is not done here.
    """
    rules = [rule for rule in user("aionotify") if rule not in ("on", "resetchannels", "-@all")]
    rules.remove(">password")
    url = f"redis://aionotify:password@127.0.0.1:{own_redis.port}/0"

    def permit(rules: list[str]) -> None:
        own_redis.cli("FLUSHALL")
        own_redis.cli("ACL", "SETUSER", "aionotify", "reset", "on", ">password", "-@all", *rules)

    permit(rules)
    await everything(url, main_host)
    assert refused(own_redis) <= COURTESIES
    for_nothing = []
    for rule in rules:
        permit([each for each in rules if each != rule])
        with contextlib.suppress(Exception):
            async with asyncio.timeout(10):
                await everything(url, main_host)
        if refused(own_redis) <= COURTESIES:
            for_nothing.append(rule)
    assert for_nothing == []


@pytest.mark.asyncio(loop_factories=["asyncio"])
async def test_check_tells_of_every_right_that_is_missing(own_redis: RedisServer) -> None:
    """It passes with the rules as they are, and not without any one of them."""
    rules = user("aionotify")
    config = RedisConfig(url=f"redis://aionotify:password@127.0.0.1:{own_redis.port}/0")
    unseen = []
    for without in ("", *(rule for rule in rules if rule[0] in "+&~")):
        given = [rule for rule in rules if rule != without]
        own_redis.cli("ACL", "SETUSER", "aionotify", "reset", *given)
        found = [each async for each in check_redis(config)]
        bad = [each for each in found if each.status != "ok" and each.check not in SERVER]
        if bad == [] and without:
            unseen.append(without)
        assert without or bad == []
        assert [each for each in bad if not re.search("no permission|NOPERM", each.found)] == []
        assert [each for each in bad if "(ACL)" not in each.advice] == []
    assert unseen == []
    await eventually(lambda: own_redis.cli("DBSIZE") == 0)  # what could not be removed expires


SERVER = {"redis server"}
"""What check says of Redis itself, which takes a right that nodes can do without."""


async def test_a_server_has_no_rights_that_it_does_not_need(own_redis: RedisServer) -> None:
    own_redis.cli("ACL", "SETUSER", "aionotify", *user("aionotify"))
    own_redis.cli("SET", "theirs", "secret")
    with redis.Redis.from_url(f"redis://aionotify:password@127.0.0.1:{own_redis.port}") as client:
        for command in (
            *(("GET", "theirs"), ("SET", "theirs", "x"), ("PUBLISH", "theirs", "x")),
            *(("KEYS", "*"), ("FLUSHALL",), ("CONFIG", "GET", "*"), ("ACL", "LIST"), ("MONITOR",)),
            *(("EVAL", "return redis.call('GET', 'theirs')", 0), ("DEBUG", "SLEEP", 0)),
        ):
            with pytest.raises(redis.exceptions.ResponseError, match=r"permission|NOPERM|ACL"):
                client.execute_command(*command)


@pytest.mark.asyncio(loop_factories=["asyncio"])
async def test_memberships_take_the_rights_that_are_named_beside_the_others(
    own_redis: RedisServer,
) -> None:
    """All of them, and no other one."""
    [named] = re.findall(
        r"``([^`]*)`` are required for ``groups.memberships``", SECURITY.read_text()
    )
    key = {"key": KEY, "rights": ["groups"]}
    url = f"redis://aionotify:password@127.0.0.1:{own_redis.port}/0"
    needless = []
    for without in ("", *named.split()):
        given = [each for each in named.split() if each != without]
        own_redis.cli("ACL", "SETUSER", "aionotify", "reset", *user("aionotify"), *given)
        async with embedded(url, admin={"publish_keys": [key]}, groups={"memberships": True}) as (
            server,
            _,
        ):
            path = "/groups/team:7/members/42"
            statuses = [
                (await ask(server, path, method, token=KEY)).status for method in ("PUT", "DELETE")
            ]
            async with stream(server, "42"):
                pass
        assert without or statuses == [204, 204]
        if refused(own_redis) <= COURTESIES and without:
            needless.append(without)
        found = [each async for each in check_redis(RedisConfig(url=url), features=["memberships"])]
        [checked] = [each.status for each in found if each.check == "redis memberships"]
        assert checked == ("failed" if without else "ok")
        refused(own_redis)
    assert needless == []


def handed_on_or_refused(server: RedisServer, refusals: set[str]) -> bool:
    """Whether all was done that there is to do, or something was not permitted."""
    refusals |= refused(server) - COURTESIES
    waits = server.cli("EXISTS", "aionotify:{42}:away")
    was_looked_at = server.cli("EXISTS", "aionotify:away{0}:again")
    return bool(refusals or (server.cli("EXISTS", "mailer") and not waits and was_looked_at))


@pytest.mark.asyncio(loop_factories=["asyncio"])
async def test_handing_on_takes_the_rights_that_are_named_beside_the_others(
    own_redis: RedisServer,
) -> None:
    """All of them, and no other one."""
    [(named, more)] = re.findall(
        r"``([^`]*)`` are required for ``away.stream`` and ``away.webhook``, and ``([^`]*)`` too",
        SECURITY.read_text(),
    )
    rights = [*named.split(), *more.split()]
    url = f"redis://aionotify:password@127.0.0.1:{own_redis.port}/0"
    needless = []
    for without in ("", *rights):
        own_redis.cli("FLUSHALL")
        given = [each for each in rights if each != without]
        own_redis.cli("ACL", "SETUSER", "aionotify", "reset", *user("aionotify"), "~mailer", *given)
        refusals: set[str] = set()
        is_over = partial(handed_on_or_refused, own_redis, refusals)
        async with embedded(url, away={"stream": "mailer"}), Publisher(url) as publisher:
            with contextlib.suppress(AionotifyError):
                await publisher.publish({"recipient_id": "42", "aionotify": {"away": 0.01}})
            await eventually(is_over)
        assert without or not refusals
        if without and not refusals:
            needless.append(without)
        found = [each async for each in check_redis(RedisConfig(url=url), features=["away"])]
        [checked] = [each.status for each in found if each.check == "redis away"]
        assert checked == ("failed" if without else "ok")
        refused(own_redis)
    assert needless == []
