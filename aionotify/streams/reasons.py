"""Closed sets of words about streams: how one starts, why it goes back to its inbox, why it ends.

Each is the label of a metric; what of them a client is told is in docs/protocol.rst.
"""

from enum import StrEnum


class StartKind(StrEnum):
    """Where a stream starts."""

    FRESH = "fresh"  # now
    CURSOR = "cursor"  # after the client's Last-Event-ID
    UNKNOWN_CURSOR = "unknown_cursor"  # it is none that this user was given: told as a gap


class ResyncReason(StrEnum):
    """Why live events may not have been heard."""

    MISSED = "missed"  # an event does not follow on from the one before it
    LOST = "lost"  # the subscription
    RESUBSCRIBED = "resubscribed"
    OTHER_DATA = "other_data"  # Redis has lost all its data, or has those of somebody else


class CloseReason(StrEnum):
    """Why a stream ends."""

    GONE = "gone"  # the client is
    STALLED = "stalled"  # the client takes nothing
    UNEXPECTED_DATA = "unexpected_data"  # the client goes on sending, which no request is
    DRAIN = "drain"  # the node leaves
    TOKEN_EXPIRED = "token_expired"  # noqa: S105 - a word, no secret
    TOKEN_REFUSED = "token_refused"  # noqa: S105 - when it was asked about again
    REVOKED = "revoked"  # somebody wants all of the user's streams closed
    FAILED = "failed"  # an error of ours
