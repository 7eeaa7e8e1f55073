"""Groups that a user is put in, and a part of the groups that a stream asks for."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any
from urllib.parse import quote, urlencode

import pytest

from aionotify import Identity
from aionotify.auth.bearer import BearerAuthenticator
from aionotify.streams.stream import Stream
from aionotify.web.services import Services
from tests.embedded import embedded
from tests.harness import RedisServer, SSEClient, TcpProxy, eventually
from tests.integration.conftest import Serve
from tests.integration.talk import Answer, ask, stream

KEY, SHOP, PLAIN = "members-key-0123456789", "members-shop-0123456789", "members-plain-0123456789"
ADMIN: dict[str, Any] = {
    "publish_keys": [
        {"key": KEY, "rights": ["groups", "revoke"]},
        {"key": SHOP, "recipients": "shop:", "rights": ["groups"]},
        PLAIN,
    ]
}
ON: dict[str, Any] = {"admin": ADMIN, "groups": {"memberships": True}}
HOSTILE = (
    *(
        "a,b",
        "a&groups=b",
        "a b",
        "a+b",
        "a/b",
        "../a",
        "a%2Fb",
        "%00",
        "{a}",
        "}:members",
        "a?b#c",
    ),
    *("[", '"', "\\", "gr\u00f6\u00dfe", "\u20ac\U0001f600", "\u2028", "x" * 256, "12", "a;b"),
)


class Granting(BearerAuthenticator):
    """``token-42`` is user 42, in the groups that are said here."""

    def __init__(self) -> None:
        super().__init__()
        self.groups: dict[str, set[str]] = {}

    async def identify(self, token: str, *, fresh: bool = False) -> Identity:
        user = token.removeprefix("token-")
        return Identity(user, groups=frozenset(self.groups.get(user, ())))

    async def close(self) -> None: ...


class Node:
    """A node in this process."""

    def __init__(self, url: str, services: Services, granting: Granting) -> None:
        self.url = url
        self.services = services
        self.granting = granting

    def groups(self, user: str) -> list[set[str]]:
        """The groups of each of the user's streams here."""
        found = self.services.hub.streams_of(user)
        return [{group.name for group in each.groups} for each in found if isinstance(each, Stream)]

    async def change(
        self, method: str, group: str, user: str, key: str = KEY
    ) -> tuple[int, str | None]:
        """Put a user in a group, or take them out; return the status and the code of an error."""
        answer = await ask(self.url, member(group, user), method, token=key)
        return answer.status, None if answer.status == 204 else answer.code


def member(group: str, user: str) -> str:
    return f"/groups/{quote(group, safe='')}/members/{quote(user, safe='')}"


@asynccontextmanager
async def node(redis_url: str, **sections: Any) -> AsyncIterator[Node]:
    granting = Granting()
    settings = {**ON, **sections}
    async with embedded(redis_url, authenticator=granting, **settings) as (url, services):
        yield Node(url, services, granting)


Nodes = Callable[..., Any]


@pytest.fixture
async def nodes(redis_server: RedisServer) -> AsyncIterator[Nodes]:
    """Starts nodes on the shared Redis."""
    async with AsyncExitStack() as stack:

        async def start(redis_url: str = redis_server.url, **sections: Any) -> Node:
            return await stack.enter_async_context(node(redis_url, **sections))

        yield start


async def knock(node: Node, *groups: str, user: str = "42") -> Answer:
    """Ask for a stream that is refused."""
    query = urlencode([("groups", group) for group in groups])
    return await ask(node.url, f"/notify?{query}", token=f"token-{user}")


# --- a part of the groups ---------------------------------------------------------------------


async def test_a_stream_has_all_groups_of_its_user_or_the_part_that_it_asks_for(
    nodes: Nodes,
) -> None:
    """Whatever they are called."""
    one = await nodes()
    one.granting.groups["42"] = set(HOSTILE)
    async with stream(one.url, "42"):
        assert one.groups("42") == [set(HOSTILE)]
    await eventually(lambda: "42" not in one.services.hub)
    for name in HOSTILE:
        query = urlencode([("groups", name), ("groups", "12"), ("groups", name)])
        async with stream(one.url, "42", f"?{query}") as client:
            assert client.status == 200
            assert one.groups("42") == [{name, "12"}]
        await eventually(lambda: "42" not in one.services.hub)


async def test_a_group_that_the_user_is_not_in_is_refused_by_its_name(nodes: Nodes) -> None:
    """The first of them, and no stream is opened."""
    one = await nodes()
    one.granting.groups["42"] = {"team:7", "team:8"}
    for asked in (["team:9"], ["team:7", "team:9", "team:10"], ["team:9", "team:7"]):
        answer = await knock(one, *asked)
        assert (answer.status, answer.code) == (403, "group_not_granted")
        message = answer.json["error"]["message"]
        assert message == "the user is not in the group 'team:9'"
    for name in ("", "*", "team:7,team:8", "TEAM:7", "team:7\0", "\ud7ff", "x" * 300):
        assert (await knock(one, "team:7", name)).code == "group_not_granted", name
    assert (await knock(one, "team:7", user="43")).status == 403
    assert len(one.services.hub) == 0
    assert one.services.memberships._put == {}


async def test_ten_thousand_groups_are_not_looked_at_one_by_one(nodes: Nodes) -> None:
    """No address is that long; and what fits in one is refused, or what the user has."""
    one = await nodes()
    one.granting.groups["42"] = {"a"}
    answer = await knock(one, *(f"team:{number}" for number in range(10_000)))
    assert answer.status == 400
    answer = await knock(one, *("a" for _ in range(700)), "b")
    assert (answer.status, answer.code) == (403, "group_not_granted")
    query = "&".join(["groups=a"] * 700)
    async with stream(one.url, "42", f"?{query}"):
        assert one.groups("42") == [{"a"}]


async def test_a_ticket_opens_a_stream_with_a_part_of_the_groups(nodes: Nodes) -> None:
    one = await nodes()
    one.granting.groups["42"] = {"team:7", "team:8"}

    async def ticket() -> str:
        issued = await ask(one.url, "/notify/ticket", "POST", token="token-42")
        return str(issued.json["ticket"])

    refused = await ask(one.url, f"/notify?ticket={await ticket()}&groups=team:9")
    assert refused.code == "group_not_granted"
    async with SSEClient(f"{one.url}/notify?ticket={await ticket()}&groups=team:7"):
        assert one.groups("42") == [{"team:7"}]


async def test_a_revalidation_that_names_other_groups_changes_open_streams(nodes: Nodes) -> None:
    """Within what each has asked for."""
    one = await nodes(auth={"revalidate": 1})
    one.granting.groups["42"] = {"a", "b"}
    async with stream(one.url, "42"), stream(one.url, "42", "?groups=b"):
        assert sorted(one.groups("42"), key=len) == [{"b"}, {"a", "b"}]
        one.granting.groups["42"] = {"b", "c"}
        await eventually(lambda: sorted(one.groups("42"), key=sorted) == [{"b"}, {"b", "c"}])
        one.granting.groups["42"] = {"a"}
        await eventually(lambda: sorted(one.groups("42"), key=len) == [set(), {"a"}])


async def test_more_groups_than_are_allowed_let_nobody_in(nodes: Nodes) -> None:
    one = await nodes(stream={"max_groups": 2})
    one.granting.groups["42"] = {"a", "b", "c"}
    answer = await knock(one)
    assert (answer.status, answer.code) == (502, "auth_failed")
    assert answer.json["error"]["message"] == "there are 3 groups, at most 2 allowed"


# --- memberships --------------------------------------------------------------------------------


async def test_memberships_change_open_streams_on_every_node_within_a_second(
    nodes: Nodes,
) -> None:
    """Those of the user, and of what each has asked for; and count for streams that open later."""
    one, other = await nodes(), await nodes()
    one.granting.groups["42"] = {"a"}
    async with (
        stream(one.url, "42"),
        stream(one.url, "42", "?groups=a"),
        stream(other.url, "42"),
        stream(other.url, "43"),
    ):
        started = time.monotonic()
        assert await other.change("PUT", "team:7", "42") == (204, None)
        await eventually(lambda: other.groups("42") == [{"team:7"}])
        await eventually(lambda: {"a", "team:7"} in one.groups("42"))
        assert {"a"} in one.groups("42")
        assert other.groups("43") == [set()]
        async with stream(other.url, "42", "?groups=team:7"):
            assert other.groups("42") == [{"team:7"}, {"team:7"}]
            assert await one.change("DELETE", "team:7", "42") == (204, None)
            # No later: whoever asked for it may rely on it now.
            assert other.groups("42") == [set(), set()]
            assert one.groups("42") == [{"a"}, {"a"}]
        assert time.monotonic() - started < 5
        assert (await knock(other, "team:7")).code == "group_not_granted"


async def test_deletion_takes_away_only_what_was_put(nodes: Nodes) -> None:
    """And says so where a token grants the group, wherever its stream is open."""
    one, other = await nodes(), await nodes()
    assert await one.change("DELETE", "team:7", "42") == (404, "not_a_member")
    other.granting.groups["42"] = {"team:7"}
    async with stream(other.url, "42"):
        assert await one.change("DELETE", "team:7", "42") == (409, "group_granted")
        assert await one.change("PUT", "team:7", "42") == (204, None)
        for _ in range(2):
            assert await one.change("DELETE", "team:7", "42") == (409, "group_granted")
        assert other.groups("42") == [{"team:7"}]
        assert await one.change("DELETE", "team:8", "42") == (404, "not_a_member")
        assert await one.change("DELETE", "team:7", "43") == (404, "not_a_member")
    await eventually(lambda: "42" not in other.services.hub)
    assert await one.change("DELETE", "team:7", "42") == (404, "not_a_member")


async def test_a_node_that_was_cut_off_learns_what_it_did_not_hear(
    nodes: Nodes, redis_server: RedisServer
) -> None:
    """What was given and what was taken away, also of a stream that is opened just then."""
    one = await nodes()
    async with TcpProxy(redis_server.port) as proxy:
        deaf = await nodes(proxy.url)
        await one.change("PUT", "old", "42")
        async with stream(deaf.url, "42"):
            assert deaf.groups("42") == [{"old"}]
            await proxy.refuse()
            await eventually(lambda: deaf.services.subscriber.problem is not None)
            assert await one.change("PUT", "new", "42") == (204, None)
            assert await one.change("DELETE", "old", "42") == (204, None)
            await proxy.restore()
            await eventually(lambda: deaf.groups("42") == [{"new"}])
            assert deaf.services.memberships.complete


async def test_a_data_set_without_them_takes_memberships_away(
    nodes: Nodes, redis_server: RedisServer
) -> None:
    """But not what the token grants."""
    one = await nodes(auth={"revalidate": 86400}, server={"drain": 60})
    one.granting.groups["42"] = {"a"}
    await one.change("PUT", "b", "42")
    async with stream(one.url, "42"):
        assert one.groups("42") == [{"a", "b"}]
        redis_server.cli("FLUSHALL")
        await eventually(lambda: one.groups("42") == [{"a"}])


async def test_while_memberships_cannot_be_read_clients_are_told_when_to_come_back(
    nodes: Nodes, redis_server: RedisServer
) -> None:
    """With an answer in which there is no position, so that they keep the one that they have."""
    async with TcpProxy(redis_server.port) as proxy:
        one = await nodes(proxy.url)
        await one.change("PUT", "a", "42")
        await proxy.refuse()
        for query in ("", "?groups=a", "?groups=b"):
            answer = await ask(one.url, f"/notify{query}", token="token-42")
            assert answer.status == 200
            assert answer.headers["Content-Type"].startswith("text/event-stream")
            assert answer.body.startswith(b"retry: ")
            assert answer.body.count(b"\n") == 1
        assert len(one.services.hub) == 0
        assert one.services.memberships._put == {}
        await proxy.restore()

        async def is_in() -> bool:
            async with stream(one.url, "42", "?groups=a") as client:
                return bool(client.status == 200 and one.groups("42") == [{"a"}])

        await eventually(is_in)


async def test_where_memberships_are_off_all_of_it_says_so_and_nothing_is_read(
    nodes: Nodes, redis_server: RedisServer
) -> None:
    on, off = await nodes(), await nodes(groups={"memberships": False})
    await on.change("PUT", "a", "42")
    for method in ("PUT", "DELETE"):
        assert await off.change(method, "a", "42") == (409, "memberships_off")
    answer = await ask(off.url, "/groups/a/members", token=KEY)
    assert (answer.status, answer.code) == (409, "memberships_off")
    assert "groups.memberships" in answer.json["error"]["message"]

    def reads() -> int:
        return int(redis_server.cli("INFO", "commandstats")["cmdstat_zrange"]["calls"])

    before = reads()
    async with stream(off.url, "42"), stream(off.url, "42"):
        assert off.groups("42") == [set(), set()]
    assert reads() == before
    async with stream(on.url, "42"), stream(on.url, "42"):
        assert on.groups("42") == [{"a"}, {"a"}]
    assert reads() == before + 1


async def test_any_name_can_be_put_in_any_group(nodes: Nodes) -> None:
    """However it has to be written in an address."""
    one = await nodes()
    names = [name for name in HOSTILE if name != "%00"]
    for name in names:
        assert await one.change("PUT", name, name) == (204, None), name
        assert await one.services.membership_store.groups_of(name) == {name}
        listed = await ask(one.url, f"/groups/{quote(name, safe='')}/members", token=KEY)
        assert listed.json == {"members": [name], "next": None}
        assert await one.change("DELETE", name, name) == (204, None), name


async def test_names_that_cannot_be_are_400(nodes: Nodes) -> None:
    one = await nodes()
    for name in ("*", "\0", "a\nb", "\x7f", "x" * 257):
        for group, user in ((name, "42"), ("team:7", name)):
            for method in ("PUT", "DELETE"):
                assert await one.change(method, group, user) == (400, "invalid_event")
        listed = await ask(one.url, f"/groups/{quote(name, safe='')}/members", token=KEY)
        assert listed.code == "invalid_event"
    for query in ("limit=0", "limit=1001", "limit=x", "limit=-1", "limit=%D9%A1", "after=*"):
        listed = await ask(one.url, f"/groups/a/members?{query}", token=KEY)
        assert (listed.status, listed.code) == (400, "invalid_event"), query


async def test_a_key_needs_the_right_and_is_for_users_and_groups_with_its_prefix(
    nodes: Nodes,
) -> None:
    """Or its holder could have his users hear what is for others."""
    one = await nodes()
    assert await one.change("PUT", "shop:staff", "shop:1", SHOP) == (204, None)
    for group, user in (("staff", "shop:1"), ("shop:staff", "1"), ("staff", "1")):
        for method in ("PUT", "DELETE"):
            assert await one.change(method, group, user, SHOP) == (403, "forbidden")
    for method in ("PUT", "DELETE"):
        assert await one.change(method, "shop:staff", "shop:1", PLAIN) == (403, "forbidden")
        assert await one.change(method, "a", "b", "unknown-key-0123456789") == (
            401,
            "invalid_token",
        )
    await one.change("PUT", "shop:staff", "7", KEY)
    listed = await ask(one.url, "/groups/shop:staff/members", token=SHOP)
    assert listed.json == {"members": ["shop:1"], "next": None}
    assert (await ask(one.url, "/groups/staff/members", token=SHOP)).status == 403
    assert (await ask(one.url, "/groups/shop:staff/members?after=7", token=SHOP)).status == 403


async def test_members_are_listed_in_pages(nodes: Nodes) -> None:
    one = await nodes()
    users = sorted(f"user:{number}" for number in range(7))
    for user in users:
        await one.change("PUT", "team:7", user)
    found: list[str] = []
    after: str | None = ""
    while after is not None:
        query = urlencode({"limit": 3, **({"after": after} if after else {})})
        page = (await ask(one.url, f"/groups/team:7/members?{query}", token=KEY)).json
        assert len(page["members"]) <= 3
        found += page["members"]
        after = page["next"]
    assert found == users


async def test_a_full_group_and_a_user_with_enough_groups_are_409(nodes: Nodes) -> None:
    one = await nodes(stream={"max_groups": 2})
    for group in ("a", "b"):
        assert await one.change("PUT", group, "42") == (204, None)
    assert await one.change("PUT", "c", "42") == (409, "group_full")


async def test_changes_that_come_at_once_leave_open_streams_with_what_is_stored(
    nodes: Nodes,
) -> None:
    """At every node, whichever was asked."""
    started = [await nodes(), await nodes()]
    async with stream(started[0].url, "42"), stream(started[1].url, "42"):
        await asyncio.gather(
            *(
                started[number % 2].change(("PUT", "DELETE")[number // 2 % 2], "team:7", "42")
                for number in range(40)
            )
        )
        stored = await started[0].services.membership_store.groups_of("42")
        await eventually(lambda: all(each.groups("42") == [stored] for each in started))


async def test_real_nodes_have_the_main_hosts_groups_and_answer_alike(serve: Serve) -> None:
    """Also of a configuration that is read from the environment."""
    settings = {
        "admin.publish_keys": [{"key": KEY, "rights": ["groups"]}],
        "groups.memberships": True,
    }
    one, other = await serve(settings), await serve(settings)
    assert (await ask(one, member("team:7", "42"), "PUT", token=KEY)).status == 204
    async with stream(other, "42", "?groups=team:7") as client:
        assert client.status == 200
        answer = await ask(other, member("team:7", "42"), "DELETE", token=KEY)
        assert answer.status == 204
    refused = await ask(one, "/notify?groups=team:7", token="token-42")
    assert (refused.status, refused.code) == (403, "group_not_granted")
