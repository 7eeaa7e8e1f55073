"""How many users there are on all nodes, of which each knows its own."""

import msgspec
import pytest

from aionotify.broker.control import Listing, Question
from aionotify.broker.inspection import Answers
from aionotify.events.group import Ordered
from aionotify.streams.hub import Hub
from aionotify.web.users_online import SKETCH, page, report


class NoInterest:
    def want(self, of: Ordered) -> None: ...
    def drop(self, of: Ordered) -> None: ...


class Nodes:
    """Those who are asked, without a Redis between them; some answer what is no report."""

    def __init__(self, *hubs: Hub, nonsense: int = 0) -> None:
        self._hubs, self._nonsense = hubs, nonsense

    async def ask(
        self, user_id: str | None = None, prefix: str = "", listing: Listing | None = None
    ) -> Answers:
        question = Question("name", user_id, prefix, listing)
        answers = [await report(hub, question) for hub in self._hubs]
        return Answers(
            len(answers) + self._nonsense, answers + [b'{"node": "old"}'] * self._nonsense
        )


def node(*users: str) -> Hub:
    hub = Hub(NoInterest())
    for user in users:
        hub.enter(user)
    return hub


@pytest.mark.parametrize("count", [SKETCH - 1, 30_000])
async def test_users_are_counted_once_at_however_many_nodes(count: int) -> None:
    """Few of them exactly; of many the count is within some hundredths."""
    users = [f"user-{number}" for number in range(count)]
    nodes = Nodes(node(*users[: count // 2]), node(*users[count // 3 :], *users[:10], users[0]))
    found = (await page(nodes, "", Listing(5, counts=True))).count  # type: ignore[arg-type]
    assert found is not None
    assert found.exact is (count < SKETCH)
    assert found.users == (count if found.exact else pytest.approx(count, rel=0.06))
    assert found.streams == count // 2 + count - count // 3 + 11


async def test_a_node_of_another_version_is_among_the_silent() -> None:
    found = await page(Nodes(node("a"), nonsense=1), "", Listing(5))  # type: ignore[arg-type]
    assert (found.users, found.nodes, found.silent, found.count) == (["a"], 2, 1, None)


async def test_a_page_takes_no_more_of_a_node_than_it_has_room_for() -> None:
    hub = node(*(f"user-{number}" for number in range(12_000)))
    answer = await report(hub, Question("name", listing=Listing(3, "user-10")))
    found = msgspec.json.decode(answer)["users"]
    assert found == ["user-100", "user-1000", "user-10000", "user-10001"]
