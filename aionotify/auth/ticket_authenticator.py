"""Lets requests in by ticket, and all others by another authenticator."""

import math
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field, replace

from aiohttp import web

from aionotify.auth.bearer import BearerAuthenticator
from aionotify.auth.identity import MAX_GROUPS, Authenticator, Identity, groups_from, revalidate
from aionotify.auth.revocations import Revocations
from aionotify.auth.stats import AuthStats
from aionotify.auth.tickets import Grant, Ticket, Tickets
from aionotify.errors import AuthError, AuthUnavailable, BrokerError, InvalidToken

_GRANT = web.RequestKey("aionotify_grant", Grant)
_RETRY_AFTER = 2.0  # seconds; about what Redis needs to come back after a restart


@dataclass(slots=True)
class Holder:
    """Who has a stream open.

    Attributes:
        credential: by what they are asked about again: the token that they showed, what their
            ticket stands for, or the request where nothing less will do.
        told: who was told that a stream is open with this token.
    """

    credential: str | Grant | web.Request = field(repr=False)
    told: BearerAuthenticator | None = None

    @property
    def token(self) -> str | None:
        """The token that the stream was opened with, if it was by one."""
        shown = self.credential
        if isinstance(shown, Grant):
            return shown.token
        return shown if isinstance(shown, str) else None


class TicketAuthenticator:
    """Accepts ``?ticket=`` where there is one, and leaves other requests to `inner`.

    When `inner` goes by bearer tokens, a ticket stands for the token that it was given for: `inner`
    is asked about that when the ticket is used, and again while the stream is open. Otherwise it
    stands for the identity alone, about which nobody can be asked again: so that is taken for true
    for no longer than `longest` seconds, and the stream ends then. Tickets that a user was given
    before one of `revocations` are void. Nobody gets in with more than `max_groups` groups.
    """

    def __init__(
        self,
        inner: Authenticator,
        tickets: Tickets,
        *,
        revocations: Revocations | None = None,
        longest: float = 300.0,
        max_groups: int = MAX_GROUPS,
        stats: AuthStats | None = None,
    ) -> None:
        self.stats = stats if stats is not None else AuthStats()
        self._inner = inner
        self._replaced: set[BearerAuthenticator] = set()
        self._tickets = tickets
        self._longest = longest
        self._max_groups = max_groups
        self._revocations = revocations if revocations is not None else Revocations()

    @property
    def problem(self) -> str | None:
        """See `BearerAuthenticator.problem`; None for another kind of `inner`."""
        return self._inner.problem if isinstance(self._inner, BearerAuthenticator) else None

    async def start(self) -> None:
        """Start `inner`, if it wants that."""
        if hasattr(self._inner, "start"):
            await self._inner.start()

    async def close(self) -> None:
        """Close `inner`, if it wants that."""
        await self.close_replaced()
        if hasattr(self._inner, "close"):
            await self._inner.close()

    def adopt(self, other: "TicketAuthenticator") -> None:
        """Make tickets as `other` does."""
        self._tickets.adopt(other._tickets)
        self._longest, self._max_groups = other._longest, other._max_groups

    def replace_inner(self, inner: BearerAuthenticator) -> None:
        """Ask another one from now on; `close_replaced` then, which takes its time."""
        before, self._inner = self._inner, inner
        if isinstance(before, BearerAuthenticator):
            inner.inherit(before)
            self._replaced.add(before)

    async def close_replaced(self) -> None:
        """Close those who are asked no more. Questions to them are put to `inner` instead."""
        for each in list(self._replaced):
            await each.close()
            self._replaced.discard(each)

    def holder(self, request: web.Request) -> Holder:
        """Return whom to ask about for as long as the stream is open that `request` opens."""
        grant = request.get(_GRANT)
        if grant is not None:
            return Holder(grant)
        inner = self._inner
        if isinstance(inner, BearerAuthenticator):
            with suppress(AuthError):  # it was let in when another cookie counted
                return Holder(inner.token_of(request))
        return Holder(request)

    def opened(self, holder: Holder) -> None:
        """A stream was opened; see `BearerAuthenticator.opened`."""
        inner = self._inner
        if isinstance(inner, BearerAuthenticator) and (token := holder.token):
            holder.told = inner
            inner.opened(token)

    def ended(self, holder: Holder, *, moves: bool) -> None:
        """It has ended; see `BearerAuthenticator.ended`."""
        if holder.told is not None and (token := holder.token):
            holder.told.ended(token, moves=moves)

    async def issue(self, request: web.Request) -> Ticket:
        """Make a ticket for whoever `request` is from; a ticket itself does not count here.

        Raises what `inner` raises, and AuthUnavailable when the ticket cannot be stored.
        """
        number = self._revocations.number  # before the question, for that may be older, too
        now = time.time()
        identity = await self._ask(lambda inner: inner.authenticate(request))
        inner = self._inner
        token = inner.token_of(request) if isinstance(inner, BearerAuthenticator) else None
        if token is None:
            ends = identity.expires_at if identity.expires_at is not None else math.inf
            identity = replace(identity, expires_at=min(ends, now + self._longest))
        grant = Grant(identity, token, number)
        try:
            ticket = await self._tickets.issue(grant)
        except BrokerError:
            raise _unavailable() from None
        self.stats.ticket_issued += 1
        return ticket

    async def authenticate(self, request: web.Request) -> Identity:
        """See `Authenticator`. Uses the ticket up."""
        shown = request.query.getall("ticket", ())
        if not shown:
            return await self._ask(lambda inner: inner.authenticate(request))
        try:
            if len(shown) > 1:
                raise InvalidToken("more than one ticket")
            grant = await self._tickets.redeem(shown[0])
            identity = await self._owner(grant)
            if self._revocations.outdates(grant.number, grant.identity.user_id):
                raise InvalidToken("the ticket is not valid")
        except InvalidToken:
            self.stats.ticket_refused += 1
            raise
        except BrokerError:
            raise _unavailable() from None
        request[_GRANT] = grant
        self.stats.ticket_accepted += 1
        return identity

    async def ask_again(self, holder: Holder) -> Identity:
        """Ask again who somebody is, afresh where `inner` can; raise as `Revalidator` says.

        A ticket is used up by then, so its token is asked about.
        """
        shown = holder.credential
        if isinstance(shown, Grant):
            return await self._ask(lambda inner: _owner(inner, shown, fresh=True))
        if isinstance(shown, str):
            return await self._ask(lambda inner: _identified(inner, shown))
        return await self._ask(lambda inner: revalidate(inner, shown))

    async def _owner(self, grant: Grant) -> Identity:
        try:
            return await self._ask(lambda inner: _owner(inner, grant))
        except InvalidToken:
            raise
        except AuthError:
            # Whoever knows was asked moments ago, when the ticket was made, and knew the token.
            return grant.identity

    async def _ask(self, question: Callable[[Authenticator], Awaitable[Identity]]) -> Identity:
        """Return the answer of `inner`; of one that has been replaced meanwhile none counts.

        Raises InvalidToken for an identity that has expired, whoever names it: a browser would be
        let in and turned out again for ever. Raises AuthFailed for one with too many groups.
        """
        while True:
            inner = self._inner
            try:
                answer = await question(inner)
            except AuthError:
                if inner is self._inner:
                    raise
            else:
                if inner is not self._inner:
                    continue
                if answer.expires_at is not None and answer.expires_at <= time.time():
                    raise InvalidToken("the token has expired")
                if len(answer.groups) > self._max_groups:  # somebody's own authenticator
                    groups_from(answer.groups, self._max_groups)
                return answer


async def _identified(inner: Authenticator, token: str) -> Identity:
    assert isinstance(inner, BearerAuthenticator)  # one by tokens is replaced by another
    return await inner.identify(token, fresh=True)


async def _owner(inner: Authenticator, grant: Grant, *, fresh: bool = False) -> Identity:
    """Whose `grant` is, as `inner` says if it goes by tokens."""
    if grant.token is None or not isinstance(inner, BearerAuthenticator):
        return grant.identity
    return await inner.identify(grant.token, fresh=fresh)


def _unavailable() -> AuthUnavailable:
    return AuthUnavailable("tickets cannot be stored or looked up", retry_after=_RETRY_AFTER)
