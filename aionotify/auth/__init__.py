"""Who may listen: from a request to an `Identity`.

Knows HTTP requests and those who know the users; not streams, not the hub, not Redis.
"""

from aionotify.auth.identity import Authenticator, Identity, Revalidator, revalidate, user_id_from
from aionotify.errors import (
    AuthError,
    AuthFailed,
    AuthUnavailable,
    CredentialsMissing,
    InvalidScheme,
    InvalidToken,
)

__all__ = (
    "AuthError",
    "AuthFailed",
    "AuthUnavailable",
    "Authenticator",
    "CredentialsMissing",
    "Identity",
    "InvalidScheme",
    "InvalidToken",
    "Revalidator",
    "revalidate",
    "user_id_from",
)
