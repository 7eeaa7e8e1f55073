"""Who is connected, and closing their streams: asked of one node, true for all."""

import json
from contextlib import AsyncExitStack

from tests.harness import MainHost, NotifyServer, SSEClient, eventually
from tests.integration.api import SCOPED, SETTINGS, Answer, Api
from tests.integration.conftest import Serve

USERS = ("42", "shop:1", "a/b", "a b", "ü", "{x}", "100%", "a?b#c", "a,b")


def stream(server: NotifyServer, user: str) -> SSEClient:
    """A stream of `user`; the main host takes each token for that user's."""
    return SSEClient(f"{server.url}/notify", token=f"token-{user}")


async def test_presence_is_the_same_on_every_node(serve: Serve) -> None:
    """A user is online from the first stream to the end of the last one, wherever they are."""
    one, other = await serve(SETTINGS), await serve(SETTINGS)
    api = Api(other)
    assert await api.presence("42", "7") == Answer(200, {"42": False, "7": False})
    first, second = stream(one, "42"), stream(other, "42")
    await first.connect()
    await eventually(lambda: is_online(api, "42"))
    assert await api.presence("42", "7") == Answer(200, {"42": True, "7": False})
    await second.connect()
    await first.close()
    assert (await api.publish({"recipient_id": "42"}))[0]["online"]
    await second.wait_for(lambda events: events[-1].event == "message")
    assert await is_online(api, "42")
    await second.close()
    await eventually(lambda: is_offline(api, "42"))
    assert not (await api.publish({"recipient_id": "42"}))[0]["online"]


async def is_online(api: Api, user: str) -> bool:
    return bool((await api.presence(user)).body[user])


async def is_offline(api: Api, user: str) -> bool:
    return not await is_online(api, user)


async def test_closing_reaches_the_streams_on_every_node(serve: Serve) -> None:
    """They are told why, and end in order; other users' go on."""
    one, other = await serve(SETTINGS), await serve(SETTINGS)
    async with stream(one, "42") as first, stream(other, "42") as second, stream(one, "7") as third:
        assert await Api(other).close_streams("42") == Answer(202, {"nodes": 2})
        for client in (first, second):
            assert await client.wait_end() == "complete"
            assert client.events[-1].event == "aionotify.expired"
            assert json.loads(client.events[-1].data)["reason"] == "revoked"
        assert third.end is None


async def test_any_user_id_can_be_asked_about_and_closed(serve: Serve, main_host: MainHost) -> None:
    """However it has to be written in an address."""
    main_host.answers = {f"t{number}": {"user_id": user} for number, user in enumerate(USERS)}
    server = await serve(SETTINGS)
    api = Api(server)
    async with AsyncExitStack() as stack:
        clients = [
            await stack.enter_async_context(SSEClient(f"{server.url}/notify", token=token))
            for token in main_host.answers
        ]
        assert (await api.presence(*USERS)).body == dict.fromkeys(USERS, True)
        for user, client in zip(USERS, clients, strict=True):
            assert client.end is None
            assert (await api.close_streams(user)).status == 202, user
            assert await client.wait_end() == "complete"


async def test_bad_questions_are_refused(serve: Serve) -> None:
    """As in publishing: without a key, with a wrong one, beyond its prefix, or about nobody."""
    server = await serve(SETTINGS)
    api, scoped = Api(server), Api(server, SCOPED)
    answers = {
        "no key": await Api(server, None).presence("42"),
        "wrong key": await Api(server, "wrong").close_streams("42"),
        "beyond its prefix": await scoped.presence("shop:1", "42"),
        "beyond its prefix, too": await scoped.close_streams("42"),
        "a beginning beyond it": await scoped.listed(prefix="shop"),
        "an empty name": await api.presence("42", ""),
        "everybody": await api.presence("*"),
        "everybody, too": await api.close_streams("*"),
        "too long": await api.close_streams("4" * 257),
        "nobody on a page": await api.listed(limit=0),
        "too many on a page": await api.listed(limit=1001),
        "no number": await api.listed(limit="1e2"),
        "a number with something before it": await api.listed(limit="0000110000"),
        "no cursor": await api.listed(cursor=""),
        "no beginning": await api.listed(prefix="\n"),
        "something else": await api.listed(count=1),
    }
    assert {
        case: (answer.status, answer.body["error"]["code"]) for case, answer in answers.items()
    } == {
        "no key": (403, "credentials_missing"),
        "wrong key": (401, "invalid_token"),
        "beyond its prefix": (403, "forbidden"),
        "beyond its prefix, too": (403, "forbidden"),
        "a beginning beyond it": (403, "forbidden"),
        **dict.fromkeys(list(answers)[5:], (400, "invalid_event")),
    }
    assert (await scoped.presence("shop:1")).status == 200
    assert (await scoped.listed(prefix="shop:1")).status == 200
    assert (await scoped.close_streams("shop:1")).status == 202
