"""What all who use the same names in Redis must have in common, and how a difference is said.

Each setting is one line of text, a field of the hash `{prefix}:epoch`: see probe.lua. An
installation that others share its names with is found by that, whatever it is.
"""

from collections.abc import Iterable, Sequence
from typing import Final

from aionotify.broker.keys import Keys
from aionotify.config import Config, MainHostConfig

_MAX: Final = 200  # characters; whatever an address looks like, it is no place to keep more

_TOLD: Final = {
    "channel": "somebody has redis.channel {}, and this node {}",
    "ingest": "somebody has publish.stream {}, and this node {}",
    "presence": "somebody has presence.grace {}, and this node {}",
    "users": "somebody identifies users by {}, and this node by {}",
}


def inbox_setting(retention: float, max_events: int) -> str:
    """Return how much is kept, for how many seconds, as one line."""
    return f"{retention} {max_events}"


def node_settings(config: Config, *, own_authenticator: bool = False) -> tuple[str, ...]:
    """Return what else nodes have to agree about.

    Not whose users they are if an application says so itself: others, which ask about its tokens,
    may be of the same installation.
    """
    settings = [f"channel {Keys.of(config.redis).ephemeral}"]
    settings.append(f"ingest {str(config.publish.stream).lower()}")
    if config.presence.events:
        settings.append(f"presence {config.presence.grace:g}")
    if not own_authenticator:
        settings.append(f"users {_identified_by(config)}"[:_MAX])
    return tuple(settings)


def differences(ours: Iterable[str], theirs: Iterable[str]) -> list[str]:
    """Say where somebody has another setting than ours."""
    own = {_kind(each): each for each in ours}
    return [
        _told(own[kind], each)
        for kind, each in sorted((_kind(each), each) for each in theirs)
        if own.get(kind, each) != each
    ]


def strangers(count: int, channel: str) -> list[str]:
    """Say so if more listen on the channel than are nodes of this installation."""
    if count <= 0:
        return []
    return [f"{count} more listen on {channel} than nodes of this prefix and database"]


def joined(problems: Sequence[str]) -> str | None:
    """Return all of them as one reason, or None if there are none."""
    return "; ".join(problems) or None


def _identified_by(config: Config) -> str:
    if config.auth.method == "main_host":
        return _asked(config.auth.main_host)
    jwt = config.auth.jwt
    named = {"jwks_url": _public(jwt.jwks_url), "issuer": jwt.issuer, "audience": jwt.audience}
    return " ".join(["jwt", *(f"{name}={value}" for name, value in named.items() if value)])


def _asked(main_host: MainHostConfig) -> str:
    return f"{_public(main_host.url)}{main_host.path}"


def _public(url: str | None) -> str:
    """An address without its query, in which there may be a key."""
    return (url or "").partition("?")[0].rstrip("/")


def _kind(setting: str) -> str:
    word = setting.partition(" ")[0]
    return word if word in _TOLD else "inbox"


def _told(ours: str, theirs: str) -> str:
    kind = _kind(theirs)
    if kind in _TOLD:
        return _TOLD[kind].format(theirs.partition(" ")[2], ours.partition(" ")[2])
    (their_retention, their_events), (retention, events) = theirs.split(), ours.split()
    return (
        f"somebody keeps {their_events} events for {their_retention} s, and this node {events}"
        f" for {retention} s"
    )
