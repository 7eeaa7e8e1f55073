"""Free TCP ports for servers that have to be told theirs."""

import random
import socket


def free_port() -> int:
    """Return a port of 127.0.0.1 that nobody listens on.

    It is below the kernel's range for outgoing connections (32768 and up), so that no client's
    connection takes it while its server restarts.
    """
    for port in random.sample(range(20000, 32000), k=100):
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise RuntimeError("no free port between 20000 and 32000")
