"""The SSL context that all connections to one Redis share.

To make one reads certificates, 24 ms where it is all those of the system: too much for each
connection. Knows files, and nothing of Redis.
"""

import logging
import os
import ssl
from collections.abc import Mapping
from typing import Final

from aionotify.errors import ConfigError

_log = logging.getLogger(__name__)

_FILES: Final = ("ssl_ca_certs", "ssl_certfile", "ssl_keyfile")
_State = tuple[tuple[int, int, int] | None, ...]


class TLSContext:
    """Made when it is needed, and again when a file has changed.

    Args:
        options: those of `redis.url`: `ssl_ca_certs` in place of the system's certificates,
            `ssl_certfile` and `ssl_keyfile` to show who we are, `ssl_check_hostname`, which is
            "false" to take any name that a trusted certificate has.

    Raises ConfigError for files that cannot be used.
    """

    def __init__(self, options: Mapping[str, str]) -> None:
        self._options = options
        self._made_of: _State | None = None
        self._context: ssl.SSLContext | None = None
        if any(name in options for name in _FILES):
            try:
                self.get()
            except (OSError, ValueError) as error:  # SSLError is an OSError
                raise ConfigError({"redis.url": self._problem(error)}) from None

    def get(self) -> ssl.SSLContext:
        """Return the context for a connection that is made now.

        Files that have changed and cannot be used, as one that is half written, leave it as it was.
        """
        state = self._state()
        if self._context is None:
            self._context = self._made()
        elif state != self._made_of:
            try:
                self._context = self._made()
            except (OSError, ValueError) as error:
                fields = {"reason": self._problem(error)}
                _log.warning("TLS files not usable", extra={"fields": fields})
        self._made_of = state
        return self._context

    def adopt(self, other: "TLSContext") -> bool:
        """Be as `other` is; return whether connections that are made from now on differ."""
        differ = self._options != other._options or (
            self._made_of is not None and self._made_of != other._state()
        )
        self._options = other._options
        if differ:
            self._context, self._made_of = other._context, other._made_of
        return differ

    def _made(self) -> ssl.SSLContext:
        options = self._options
        context = ssl.create_default_context(cafile=options.get("ssl_ca_certs"))
        context.check_hostname = options.get("ssl_check_hostname") != "false"
        if certificate := options.get("ssl_certfile"):
            # Without a password, or OpenSSL would ask at the terminal for that of an encrypted key.
            context.load_cert_chain(certificate, options.get("ssl_keyfile"), password="")
        return context

    def _state(self) -> _State:
        return tuple(_stamp(path) for name in _FILES if (path := self._options.get(name)))

    def _problem(self, error: Exception) -> str:
        names = ", ".join(name for name in _FILES if name in self._options)
        reason = (error.strerror if isinstance(error, OSError) else None) or str(error)
        return f"{names} cannot be used: {reason}"


def _stamp(path: str) -> tuple[int, int, int] | None:
    try:
        stat = os.stat(path)
    except OSError:
        return None
    return stat.st_mtime_ns, stat.st_ino, stat.st_size
