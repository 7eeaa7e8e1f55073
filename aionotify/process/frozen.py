"""The one-file binary, which runs elsewhere than it was built, from files that may be removed.

It unpacks itself below the temporary directory, which is cleaned of what is some days old. What is
loaded stays; this is about what would be loaded later. Imports next to nothing, for it is used
before anything else.
"""

import os
import sys
from collections.abc import MutableMapping, Sequence
from typing import Final

AUTHORITIES: Final = (
    "/etc/ssl/certs/ca-certificates.crt",  # Debian, Arch, Gentoo
    "/etc/pki/tls/certs/ca-bundle.crt",  # RHEL, Fedora
    "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",  # RHEL 10, where the one above is gone
    "/etc/ssl/ca-bundle.pem",  # SUSE
    "/etc/ssl/cert.pem",  # Alpine, macOS
)
"""Where systems keep the certificates of the authorities that they trust."""


def prepare() -> None:
    """Do what has to be done before anything is loaded; nothing in another process."""
    if not getattr(sys, "frozen", False):
        return
    find_authorities(os.environ)
    __import__("encodings.idna")  # Python imports it with the first name that it looks up


def find_authorities(environ: MutableMapping[str, str], files: Sequence[str] = AUTHORITIES) -> None:
    """Have OpenSSL read the certificates of this system, unless somebody has said which.

    It would look where they were on the machine on which the binary was built. A variable that
    names what is not there says nothing: it was meant for another system.
    """
    if any(os.path.exists(environ.get(name, "")) for name in ("SSL_CERT_FILE", "SSL_CERT_DIR")):
        return
    for file in files:
        if os.path.isfile(file):
            environ["SSL_CERT_FILE"] = file
            return


class Unpacked:
    """What the binary had unpacked when this was made; nothing in another process."""

    def __init__(self) -> None:
        self._directory: str | None = getattr(sys, "_MEIPASS", None)
        self._count = self._files()

    def environ(self) -> dict[str, str]:
        """Return variables for a process of the same binary: to unpack anew what is gone."""
        if self._files() == self._count:
            return {}
        return {"PYINSTALLER_RESET_ENVIRONMENT": "1"}

    def _files(self) -> int:
        if self._directory is None:
            return 0
        return sum(len(files) for _, _, files in os.walk(self._directory))
