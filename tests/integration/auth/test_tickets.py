"""Tickets: one use, on any node, for whom they were given and nobody else."""

import asyncio
import json
import secrets
from collections import Counter

from tests.harness import NotifyServer, RedisServer, SSEClient, eventually
from tests.integration.auth.conftest import HostProcess
from tests.integration.auth.knocking import knock
from tests.integration.conftest import Serve
from tests.integration.talk import ask, messages, metric, publish, received, stream

KEY = "publisher-key-0123456789"


async def issue(server: NotifyServer, token: str = "token-42") -> str:
    answer = await ask(server, "/notify/ticket", "POST", token=token)
    assert answer.status == 201
    assert answer.json["expires_in"] > 0
    return str(answer.json["ticket"])


async def test_a_ticket_opens_one_stream_on_any_node(
    serve: Serve, redis_server: RedisServer
) -> None:
    issuer, other = await serve(), await serve()
    ticket = await issue(issuer)
    async with SSEClient(f"{other.url}/notify?ticket={ticket}") as client:
        assert client.status == 200
        publish(redis_server, {"recipient_id": "42", "n": 1})
        assert await received(client, 1)
        for server in (other, issuer):  # while the stream is open, and wherever it is tried
            reply = await knock(server, None, f"?ticket={ticket}")
            assert (reply.status, reply.code) == (401, "invalid_token")
            assert reply.headers["www-authenticate"] == "Bearer"
    assert (await knock(other, None, f"?ticket={ticket}")).status == 401


async def test_of_many_who_race_with_one_ticket_one_gets_in(serve: Serve) -> None:
    nodes = [await serve(), await serve()]
    for _ in range(5):
        ticket = await issue(nodes[0])
        replies = await asyncio.gather(
            *(knock(nodes[n % 2], None, f"?ticket={ticket}") for n in range(20))
        )
        assert Counter(reply.status for reply in replies) == {200: 1, 401: 19}


async def test_a_ticket_is_for_its_user_whatever_else_is_shown(
    serve: Serve, redis_server: RedisServer
) -> None:
    """Neither a token of somebody else's nor their cookie or cursor makes it theirs."""
    server = await serve({"auth.cookie": "session"})
    async with stream(server, "43") as theirs:
        publish(redis_server, {"recipient_id": "43", "n": 0})
        await received(theirs, 1)
        cursor = theirs.last_event_id
    ticket = await issue(server, "token-42")
    client = SSEClient(
        f"{server.url}/notify?ticket={ticket}&last_event_id={cursor}",
        token="token-43",
        headers={"Cookie": "session=token-43"},
    )
    async with client:
        publish(redis_server, {"recipient_id": "43", "n": 1})
        publish(redis_server, {"recipient_id": "42", "n": 2})
        assert await received(client, 1) == [{"recipient_id": "42", "n": 2}]


async def test_a_ticket_buys_no_other_ticket_and_no_token_travels_in_an_address(
    serve: Serve, main_host: HostProcess
) -> None:
    server = await serve()
    ticket = await issue(server)
    answer = await ask(server, f"/notify/ticket?ticket={ticket}", "POST")
    assert (answer.status, answer.code) == (403, "credentials_missing")
    for name in ("token", "access_token", "ticket_", "Ticket"):
        reply = await knock(server, None, f"?{name}=token-42")
        assert (reply.status, reply.code) == (403, "credentials_missing")
    assert (await knock(server, None, f"?ticket={ticket}&ticket={ticket}")).status == 401
    assert (await knock(server, None, f"?ticket={ticket}")).status == 200


async def test_guessing_gets_nowhere_and_costs_the_main_host_nothing(
    serve: Serve, main_host: HostProcess, redis_server: RedisServer
) -> None:
    redis_server.cli("CONFIG", "RESETSTAT")
    server = await serve()
    ticket = await issue(server)
    near = [ticket[:-1], ticket + "A", ticket[:-1] + ("A" if ticket[-1] != "A" else "B")]
    shapeless = ["", "*", "%00", "../x", "a" * 8000, "%F0%9F%98%80" * 11, f"{ticket}%0A"]
    shapeless += [ticket.swapcase() + "=", f"aionotify:ticket:{ticket}"]
    asked = main_host.seen.asked
    for guess in shapeless:
        assert (await knock(server, None, f"?ticket={guess}")).status == 401
    assert "cmdstat_getdel" not in redis_server.cli("INFO", "commandstats")
    for guess in (*near, *(secrets.token_urlsafe(32) for _ in range(100))):
        assert (await knock(server, None, f"?ticket={guess}")).status == 401
    assert main_host.seen.asked == asked
    assert (await knock(server, None, f"?ticket={ticket}")).status == 200


async def test_a_ticket_expires(serve: Serve, redis_server: RedisServer) -> None:
    server = await serve({"auth.ticket_ttl": 1})
    ticket = await issue(server)
    assert len(redis_server.cli("KEYS", "*ticket*")) == 1
    await eventually(lambda: not redis_server.cli("KEYS", "*ticket*"))
    assert (await knock(server, None, f"?ticket={ticket}")).status == 401


async def test_a_ticket_is_worth_no_more_than_its_token(
    serve: Serve, main_host: HostProcess
) -> None:
    server = await serve({"auth.main_host.cache_ttl": 0})
    ticket = await issue(server)
    main_host.be(refused=["token-42"])
    assert (await knock(server, None, f"?ticket={ticket}")).status == 401


async def test_closing_a_users_streams_voids_their_tickets_on_every_node(
    serve: Serve, main_host: HostProcess
) -> None:
    """Also when nobody can be asked about the token any more."""
    settings = {"admin.publish_keys": [KEY], "auth.main_host.stale_if_error": 0}
    one, other = await serve(settings), await serve(settings)
    first, second, someone_elses = (
        await issue(one),
        await issue(other),
        await issue(one, "token-43"),
    )
    main_host.down()
    assert (await ask(one, "/streams/42", "DELETE", token=KEY)).status == 202
    for server, ticket in ((other, first), (one, second)):
        assert (await knock(server, None, f"?ticket={ticket}")).status == 401
    assert (await knock(other, None, f"?ticket={someone_elses}")).status == 200


async def test_a_stream_that_a_ticket_opened_is_asked_about_by_its_token(
    serve: Serve, main_host: HostProcess
) -> None:
    server = await serve({"auth.revalidate": 1, "auth.main_host.cache_ttl": 0})
    async with SSEClient(f"{server.url}/notify?ticket={await issue(server)}") as client:
        main_host.be(refused=["token-42"])
        assert await client.wait_end() == "complete"
        assert json.loads(client.events[-1].data) == {"reason": "token_refused"}


async def test_redis_gives_away_nothing_of_a_ticket(
    serve: Serve, main_host: HostProcess, redis_server: RedisServer
) -> None:
    main_host.be(answers={"very-secret-token": {"user_id": "very-secret-user"}})
    server = await serve()
    ticket = await issue(server, "very-secret-token")
    ((name,), stored) = (
        redis_server.cli("KEYS", "*ticket*"),
        bytes.fromhex(redis_server.cli("EVAL", HEX, 1, *redis_server.cli("KEYS", "*ticket*"))),
    )
    for secret in (ticket, "very-secret-token", "very-secret-user"):
        assert secret not in name
        assert secret.encode() not in stored
    assert 0 < redis_server.cli("TTL", name) <= 30


HEX = """
local hex = {}
for byte in redis.call('GET', KEYS[1]):gmatch('.') do
    hex[#hex + 1] = string.format('%02x', string.byte(byte))
end
return table.concat(hex)
"""


async def test_without_redis_there_are_no_tickets_for_now(
    serve: Serve, own_redis: RedisServer
) -> None:
    server = await serve({"redis.url": own_redis.url})
    ticket = await issue(server)
    own_redis.stop()
    answer = await ask(server, "/notify/ticket", "POST", token="token-42")
    assert (answer.status, answer.code) == (504, "auth_unavailable")
    assert int(answer.headers["Retry-After"]) >= 1
    reply = await knock(server, None, f"?ticket={ticket}")
    assert (reply.status, reply.code) == (504, "auth_unavailable")
    assert reply.retry_after >= 1


async def test_head_uses_a_ticket_up_and_so_does_one_who_finds_no_room(serve: Serve) -> None:
    server = await serve({"server.max_streams_per_user": 1})
    ticket = await issue(server)
    assert (await ask(server, f"/notify?ticket={ticket}", "HEAD")).status == 200
    assert (await knock(server, None, f"?ticket={ticket}")).status == 401
    ticket = await issue(server)
    async with stream(server, "42"):
        assert (await knock(server, None, f"?ticket={ticket}")).status == 429
    assert (await knock(server, None, f"?ticket={ticket}")).status == 401


async def test_a_page_goes_on_where_it_was_with_a_new_ticket(serve: Serve) -> None:
    """As documented for EventSource: the old address gives up, a new one has the cursor in it."""
    server = await serve({"admin.publish_keys": [KEY]})

    async def tell(n: int) -> None:
        event = json.dumps({"recipient_id": "42", "n": n}).encode()
        assert (await ask(server, "/publish", "POST", token=KEY, data=event)).status == 202

    async with SSEClient(f"{server.url}/notify?ticket={await issue(server)}") as client:
        await tell(1)
        await received(client, 1)
        client.reset()
        await client.wait_end()
        await tell(2)
        await tell(3)
        await client.reconnect()  # with the address it has, as the browser does by itself
        assert client.status == 401
        cursor = client.last_event_id
    query = f"?ticket={await issue(server)}&last_event_id={cursor}"
    async with SSEClient(f"{server.url}/notify{query}") as client:
        assert [event["n"] for event in await received(client, 2)] == [2, 3]
        await tell(4)
        assert [event["n"] for event in await received(client, 3)] == [2, 3, 4]
        assert len(messages(client)) == 3


async def test_tickets_are_counted(serve: Serve) -> None:
    server = await serve()
    ticket = await issue(server)
    for _ in range(3):
        await knock(server, None, f"?ticket={ticket}")
    assert await metric(server, "aionotify_tickets_issued_total") == 1
    counted = [
        await metric(server, "aionotify_auth_answers_total", source="ticket", outcome=outcome)
        for outcome in ("accepted", "refused")
    ]
    assert counted == [1, 2]
