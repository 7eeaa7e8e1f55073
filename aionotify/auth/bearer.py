"""What all authenticators share that go by a bearer token."""

from abc import ABC, abstractmethod
from collections.abc import Collection

from aiohttp import web

from aionotify.auth.credentials import bearer_token
from aionotify.auth.identity import Identity


class BearerAuthenticator(ABC):
    """Finds the token of a request; who it belongs to is left to `identify`.

    `cookie` is the name of a cookie that may carry the token, `origins` are the foreign origins
    whose pages may use that cookie.
    """

    def __init__(self, *, cookie: str | None = None, origins: Collection[str] = ()) -> None:
        self._cookie = cookie
        self._origins = frozenset(origins)

    @property
    def problem(self) -> str | None:
        """Why who knows the users gave no answer the last time; None if that is not so."""
        return None

    @abstractmethod
    async def identify(self, token: str, *, fresh: bool = False) -> Identity:
        """Return the owner of `token`; raise an `AuthError` when there is none.

        `fresh` asks for an answer that was not given long ago.
        """

    @abstractmethod
    async def close(self) -> None:
        """End what is under way."""

    def opened(self, token: str) -> None:  # noqa: B027 - nobody to tell is the usual case
        """A stream was opened with `token`."""

    def ended(self, token: str, *, moves: bool) -> None:  # noqa: B027 - the same goes for this
        """It has ended; with `moves` because this node leaves, so its client goes to another."""

    def inherit(self, other: "BearerAuthenticator") -> None:  # noqa: B027 - the same goes for this
        """Know what `other`, whose place this one takes, has learned and is as true here."""

    def token_of(self, request: web.Request) -> str:
        """Return the token that `request` carries; raise as `bearer_token` does."""
        return bearer_token(request, self._cookie, self._origins)

    async def authenticate(self, request: web.Request) -> Identity:
        """See `Authenticator`."""
        return await self.identify(self.token_of(request))

    async def revalidate(self, request: web.Request) -> Identity:
        """See `Revalidator`."""
        return await self.identify(self.token_of(request), fresh=True)
