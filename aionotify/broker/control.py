"""What nodes say to all nodes over the control channel, and what is kept for those that miss it."""

import hashlib
import math
import secrets
from typing import Annotated, Final, NamedTuple

import msgspec
from msgspec import Meta

from aionotify.broker.answer_store import SECRET
from aionotify.broker.connection.endpoint import replies, translate
from aionotify.broker.connection.pipeline import Execute
from aionotify.broker.connection.scripts import Script
from aionotify.broker.keys import Keys
from aionotify.errors import BrokerRefused, InvalidEvent, ToldNotKept

_MAX_KEPT: Final = 10_000  # users; a megabyte


class Listing(msgspec.Struct, omit_defaults=True):
    """Which users a node is asked to name: those who have a stream there, in order of their ids.

    Attributes:
        limit: how many at most.
        after: the id after which they begin; all ids are longer than "".
        counts: whether they are to be counted, too.
    """

    limit: int
    after: str = ""
    counts: bool = False


class Question(msgspec.Struct, omit_defaults=True):
    """What one node asks all nodes.

    Attributes:
        name: where the answers are collected.
        user_id: whose streams it is about; None for a question about the node.
        prefix: of the users that the one who asks may know.
        listing: which users are to be named; None for another question.
    """

    name: str
    user_id: str | None = None
    prefix: str = ""
    listing: Listing | None = None


class Membership(msgspec.Struct, omit_defaults=True):
    """A user was put in a group, or taken out of it.

    Attributes:
        member: which of the two.
        name: where each node answers whether an open stream's token grants the group; None when
            nobody wants to know.
    """

    user_id: str
    group: str
    member: bool
    name: str | None = None


class Control(msgspec.Struct, omit_defaults=True):
    """A message on the control channel, from one node to all.

    Attributes:
        probe: the name of the node that wants to hear itself.
        revoke: the user whose streams are to be closed.
        number: of that revocation; not a whole one if it could not be kept.
        installation: whose number that is: Redis may have lost its counter, and have another one.
        probe_number: of that node's probes, as it counts them.
        question: what each node is to answer.
        membership: what each node is to take note of.
    """

    probe: str | None = None
    revoke: str | None = None
    number: Annotated[float, Meta(ge=0, le=2**53)] = 0.0
    installation: str = ""
    probe_number: int = 0
    question: Question | None = None
    membership: Membership | None = None


class Revoked(NamedTuple):
    """What is kept of revocations.

    Attributes:
        installation: as in `Control`.
        number: there is no revocation before it that is not meant here. What the counter stands at,
            or, while there is none, the time at which the next one may begin.
        missing: up to which number there were others, which are not among those that follow.
        users: with the number of the last revocation of each, in that order.
    """

    installation: str
    number: int
    missing: int
    users: list[tuple[str, int]]


def decode_control(data: bytes) -> Control:
    """Return the message in `data`; raise InvalidEvent for what is none."""
    try:
        return msgspec.json.decode(data, type=Control)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise InvalidEvent({"body": "is not a control message"}) from None


class ControlChannel:
    """Says things to all nodes. All methods raise BrokerUnavailable and BrokerRefused.

    Args:
        execute: carries out commands.
        keep: seconds for which anything may be relied on that was learned before a revocation.
    """

    def __init__(self, execute: Execute, keys: Keys, keep: float) -> None:
        self._execute = execute
        self._keys = keys
        self._keep = keep
        self._script = Script(execute, "revoke.lua")

    def adopt(self, other: "ControlChannel") -> None:
        """Keep revocations for as long as `other` does."""
        self._keep = other._keep

    async def revoke(self, user_id: str) -> int:
        """Have all nodes close a user's streams; returns how many nodes were told.

        Raises ToldNotKept too: a node that is not connected just now will not get to know.
        """
        quoted, candidate = msgspec.json.encode(user_id), secrets.token_bytes(SECRET)
        limits = math.ceil(self._keep), _MAX_KEPT
        told, kept = await self._script.call(
            (self._keys.numbers, self._keys.revoked),
            (self._keys.control, user_id, quoted, candidate, *limits),
        )
        if isinstance(kept, Exception):
            raise ToldNotKept(int(told), str(translate(kept)))
        return int(told)

    async def revoked(self) -> Revoked:
        """What is kept of revocations."""
        time, (secret, number, last, missing), kept = await replies(
            self._execute,
            ("TIME",),  # first, so that whoever is revoked meanwhile has a later number
            ("HMGET", self._keys.numbers, "secret", "number", "revoked", "missing"),
            ("ZRANGE", self._keys.revoked, 0, -1, "WITHSCORES"),
        )
        try:
            pairs = zip(kept[::2], kept[1::2], strict=True)
            users = [(user.decode(), int(float(number))) for user, number in pairs]
            number = int(number or int(time[0]) * 1_000_000 + int(time[1]))
            return Revoked(_installation(secret), number, _missing(users, last, missing), users)
        except (ValueError, OverflowError):
            raise BrokerRefused("what is kept of revocations is not what a node writes") from None

    async def close(self) -> None:
        """Wait for what is under way."""
        await self._script.close()


def _installation(secret: bytes | None) -> str:
    return hashlib.sha1(secret, usedforsecurity=False).hexdigest() if secret else ""


def _missing(users: list[tuple[str, int]], last: bytes | None, missing: bytes | None) -> int:
    if not users or users[-1][1] < int(last or 0):  # expired, with what they were about, or evicted
        return int(last or 0)
    return max(int(missing or 0), users[0][1] if len(users) >= _MAX_KEPT else 0)
