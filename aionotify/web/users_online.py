"""Who has a stream open: a page of users, put together from what each node tells of its own.

Every node names its first users after the cursor, so the first of all of them are the next page,
whatever nodes they are at. Who stays is at some node each time, and so is on one of the pages.
"""

import asyncio
import contextlib
import hashlib
import heapq
from collections.abc import Iterable
from typing import Final

import msgspec

from aionotify.broker.control import Listing, Question
from aionotify.broker.inspection import Inspection
from aionotify.portions import portions
from aionotify.streams.hub import Hub

_STEP: Final = 5000  # users looked at in one step of the event loop: some milliseconds
SKETCH: Final = 4096  # hashes; up to so many users are counted exactly, more within some 3 %
_HASH_BYTES: Final = 8
_HASHES: Final = 1 << 8 * _HASH_BYTES


class UsersReport(msgspec.Struct):
    """Users who have a stream at a node.

    Attributes:
        users: in order, one more than was asked for if there are more.
        streams: of all users, if they were to be counted.
        hashes: the lowest of the hashes of all users, in order, if they were to be counted.
    """

    users: list[str]
    streams: int = 0
    hashes: list[int] = []


class Count(msgspec.Struct):
    """How many have streams, on all nodes together.

    Attributes:
        users: each of them once.
        exact: whether there are just as many users, and not only about as many.
    """

    users: int
    streams: int
    exact: bool


class UsersPage(msgspec.Struct):
    """What is answered.

    Attributes:
        next: the cursor of the next page, or None if this is the last one.
        nodes: how many were asked.
        silent: how many of them did not answer; their users are not among these.
        count: None if it was not asked for.
    """

    users: list[str]
    next: str | None
    nodes: int
    silent: int
    count: Count | None


async def report(hub: Hub, question: Question) -> bytes:
    """Return this node's answer to a question that has a `Listing`."""
    listing, prefix = question.listing, question.prefix
    assert listing is not None
    found = UsersReport([])
    for some in portions(hub.recipients(), _STEP):
        theirs = [each for each in some if each.id.startswith(prefix)]
        after = (each.id for each in theirs if each.id > listing.after)
        found.users = heapq.nsmallest(listing.limit + 1, (*found.users, *after))
        if listing.counts:
            found.streams += sum(each.entered for each in theirs)
            hashes = (_hash(each.id) for each in theirs)
            found.hashes = heapq.nsmallest(SKETCH, (*found.hashes, *hashes))
        await asyncio.sleep(0)
    return msgspec.json.encode(found)


async def page(inspection: Inspection, prefix: str, listing: Listing) -> UsersPage:
    """Ask all nodes.

    Raises:
        BrokerUnavailable, BrokerRefused: Redis cannot be asked now.
    """
    asked, answers = await inspection.ask(prefix=prefix, listing=listing)
    reports = []
    for answer in answers:
        with contextlib.suppress(msgspec.DecodeError):  # of a version that tells something else
            reports.append(msgspec.json.decode(answer, type=UsersReport))
    users = sorted({user for each in reports for user in each.users})
    shown, rest = users[: listing.limit], users[listing.limit :]
    count = _count(reports) if listing.counts else None
    return UsersPage(shown, shown[-1] if rest else None, asked, asked - len(reports), count)


def _count(reports: Iterable[UsersReport]) -> Count:
    """Count each user once, wherever he has streams.

    The lowest k hashes of all users are known: among hashes that are spread evenly, the k-th says
    how close together they lie (Bar-Yossef et al., 2002: counting distinct elements in a stream).
    """
    lowest = heapq.nsmallest(SKETCH, {hash_ for each in reports for hash_ in each.hashes})
    streams = sum(each.streams for each in reports)
    if len(lowest) < SKETCH:
        return Count(len(lowest), streams, exact=True)
    return Count((SKETCH - 1) * _HASHES // lowest[-1], streams, exact=False)


def _hash(user_id: str) -> int:
    """The same at every node."""
    digest = hashlib.blake2b(user_id.encode(), digest_size=_HASH_BYTES).digest()
    return int.from_bytes(digest)
