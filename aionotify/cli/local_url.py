"""The address of a server on this machine, by its settings."""

from typing import Final

_ANY: Final = {"0.0.0.0", "::"}  # noqa: S104 - nothing is bound to it here


def local_url(host: str, port: int, path: str) -> str | None:
    """Return the URL of `path` at a server that listens there; None for a Unix socket."""
    if host.startswith("unix:"):
        return None
    host = "127.0.0.1" if host in _ANY else host
    return f"http://[{host}]:{port}{path}" if ":" in host else f"http://{host}:{port}{path}"
