"""The lease of a node: as long as it is renewed, others take the node to be alive.

A node renews it with its probe, once a second, in the hash `{prefix}:epoch`: see probe.lua. Whose
lease lapses has died, is frozen, or is cut off from Redis.
"""

from collections.abc import Collection
from typing import Final

LENGTH: Final = 5.0  # seconds; so long may pass before others notice that a node has died


class NodeLease:
    """What a node knows of its own lease, and of those of others.

    Attributes:
        name: of this node; "" while it needs no lease.
        lost: whether the lease under that name has lapsed, or was taken away because it had.
        lapsed: the names of other nodes whose leases have.
    """

    def __init__(self) -> None:
        self.lapsed: Collection[str] = ()
        self.take("")

    def take(self, name: str) -> None:
        """Be known by another name from the next probe on."""
        self.name, self.lost, self._was_there = name, False, False

    def renewed(self, name: str, lapsed: Collection[str], *, held: bool, written: bool) -> None:
        """Take note of what a probe has found.

        Args:
            name: whose lease it renewed.
            held: whether that was there, and had not lapsed.
            written: whether it is there now.
        """
        if name != self.name:  # it was sent before the name changed
            return
        self.lost = self.lost or (self._was_there and not held)
        self._was_there = self._was_there or written
        self.lapsed = [each for each in lapsed if each != name]
