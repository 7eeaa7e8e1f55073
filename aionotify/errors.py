"""Every error that aionotify raises on purpose.

The tree::

    AionotifyError
    ├── ConfigError            a setting is wrong: `problems` names each key and what was expected
    ├── InvalidEvent           the producer's fault: `fields` names each member and what is wrong
    ├── BrokerError            Redis failed, or refused
    │   ├── BrokerUnavailable  Redis does not answer, or the connection is lost
    │   └── BrokerRefused      Redis refuses to store (read-only, out of memory, no rights)
    │       └── ToldNotKept    of a revocation: connected nodes know, and others never will
    └── RequestError           becomes a JSON answer: `status`, `code`, `retry_after`
        ├── AuthError          the request is not authenticated
        │   ├── CredentialsMissing  403  the request has no token
        │   ├── InvalidScheme       403  an Authorization header that is not `Bearer <token>`
        │   ├── InvalidToken        401  the token is refused: the only definite answer
        │   ├── AuthFailed          502  the main host's answer is not valid, or 5xx
        │   └── AuthUnavailable     504  the main host did not answer in time
        ├── Forbidden               403  the publish key is valid, but not for this
        ├── EventNotFound           404  the event is not in its inbox, or not any more
        ├── GroupNotGranted         403  the user is not in a group that was asked for
        ├── MembershipsOff          409  nobody can be put in a group here
        ├── GroupGranted            409  the user's own token grants the group
        ├── GroupFull               409  of the group's members, or of the user's groups
        ├── NotAMember              404  the user was not put in the group
        ├── BodyTooLarge            413  the body has more bytes than are read
        ├── UnsupportedCoding       415  the body is compressed
        └── LimitExceeded
            ├── TooManyStreams      429  this user (or address) has too many streams
            └── NodeFull            503  this process has

This module imports nothing of aionotify, so that every room can raise and catch its errors.
"""

from collections.abc import Mapping
from typing import ClassVar


class AionotifyError(Exception):
    """Base of all errors raised on purpose."""


class ConfigError(AionotifyError):
    """The configuration is not usable.

    `problems` maps the path of a key (``auth.main_host.timeout``) to what is wrong with it.
    """

    def __init__(self, problems: Mapping[str, str], source: str = "configuration") -> None:
        self.problems = dict(problems)
        self.source = source
        lines = "".join(f"\n  {path}: {text}" for path, text in self.problems.items())
        super().__init__(f"{source} is not usable:{lines}")


class InvalidEvent(AionotifyError):
    """An event breaks the event contract.

    `fields` maps the offending member (or ``body`` for the whole) to what is wrong with it. The
    text never quotes the payload, so it is safe to log.
    """

    def __init__(self, fields: Mapping[str, str]) -> None:
        self.fields = dict(fields)
        super().__init__("; ".join(f"{name}: {text}" for name, text in self.fields.items()))


class BrokerError(AionotifyError):
    """Redis failed, or refused a command."""


class BrokerUnavailable(BrokerError):
    """Redis does not answer; it may or may not have carried out the command."""


class BrokerRefused(BrokerError):
    """Redis answered and refused; nothing was stored."""


class InboxRefused(BrokerRefused):
    """Redis refuses to read one inbox, and will until somebody changes that."""


class ToldNotKept(BrokerRefused):
    """Redis told the nodes that are connected, `nodes` in number, and stored nothing."""

    def __init__(self, nodes: int, reason: str) -> None:
        self.nodes = nodes
        super().__init__(reason)


class RequestError(AionotifyError):
    """A request that gets an error answer. `retry_after` is in seconds."""

    status: ClassVar[int] = 400
    code: ClassVar[str] = "bad_request"
    again_after: ClassVar[float | None] = None  # seconds, unless given when raised
    challenge: ClassVar[bool] = False  # answer with WWW-Authenticate (RFC 9110 section 11.6.1)

    def __init__(self, message: str, *, retry_after: float | None = None) -> None:
        self.message = message
        self.retry_after = self.again_after if retry_after is None else retry_after
        super().__init__(message)


class AuthError(RequestError):
    """The request is not authenticated."""


class CredentialsMissing(AuthError):
    """The request has no token."""

    status, code, challenge = 403, "credentials_missing", True


class InvalidScheme(AuthError):
    """The Authorization header is not ``Bearer <token>`` (RFC 6750 section 2.1)."""

    status, code, challenge = 403, "invalid_scheme", True


class InvalidToken(AuthError):
    """The token is refused: a definite answer."""

    status, code, challenge = 401, "invalid_token", True


class AuthFailed(AuthError):
    """The main host's answer neither names a user nor refuses the token."""

    status, code, again_after = 502, "auth_failed", 1.0


class AuthUnavailable(AuthError):
    """The main host could not be asked; this says nothing about the token."""

    status, code, again_after = 504, "auth_unavailable", 1.0


class Forbidden(RequestError):
    """The sender is authenticated, but may not do this."""

    status, code = 403, "forbidden"


class EventNotFound(RequestError):
    """The event is not in its inbox, or not any more."""

    status, code = 404, "event_not_found"


class GroupNotGranted(RequestError):
    """A client asks for the events of a group that its user is not in."""

    status, code = 403, "group_not_granted"

    def __init__(self, group: str) -> None:
        super().__init__(f"the user is not in the group {group[:256]!r}")


class MembershipsOff(RequestError):
    """`groups.memberships` is off."""

    status, code = 409, "memberships_off"


class GroupGranted(RequestError):
    """A user cannot be taken out of a group that their own token grants."""

    status, code = 409, "group_granted"


class GroupFull(RequestError):
    """A group has as many members as it may have, or a user as many groups."""

    status, code = 409, "group_full"


class NotAMember(RequestError):
    """The user was not put in the group."""

    status, code = 404, "not_a_member"


class BodyTooLarge(RequestError):
    """The body has more than `limit` bytes."""

    status, code = 413, "too_large"

    def __init__(self, limit: int) -> None:
        super().__init__(f"the body has more than {limit} bytes, which is the most that is read")


class UnsupportedCoding(RequestError):
    """The body has a Content-Encoding (RFC 9110 section 15.5.16)."""

    status, code = 415, "unsupported_media_type"

    def __init__(self, coding: str) -> None:
        super().__init__(f"the body is sent as {coding[:32]!r}; send it without Content-Encoding")


class LimitExceeded(RequestError):
    """A limit that protects this process or its other users."""


class TooManyStreams(LimitExceeded):
    """This user has reached the limit of open streams."""

    status, code = 429, "too_many_streams"


class NodeFull(LimitExceeded):
    """This process takes no more streams."""

    status, code = 503, "node_full"


class PublishOverloaded(LimitExceeded):
    """This process works on too many bytes of publish requests already."""

    status, code, again_after = 503, "publish_overloaded", 1.0
