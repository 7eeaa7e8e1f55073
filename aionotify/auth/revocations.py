"""Whose rights have changed since something was learned of them.

Counts changes, not seconds, so that what is learned in the same moment is told apart.
"""

from aionotify.auth.cache import BoundedCache


class Revocations:
    """Users, each with the latest change of their rights.

    Takes no time however much is remembered elsewhere: what is known of a user is not looked for
    when they change, but compared with `now` of when it was learned, when it is used. `size` users
    are kept. What was learned before the change of one that had to go counts as outdated, whoever
    it is about.

    `now` is how many changes there were.
    """

    def __init__(self, size: int) -> None:
        self.now = 0
        self._latest = BoundedCache[str, int](size)
        self._outdated = 0

    def add(self, user_id: str) -> None:
        """Take note of a change."""
        self.now += 1
        gone = self._latest.put(user_id, self.now)
        if gone is not None:
            self._outdated = max(self._outdated, gone)

    def mark(self) -> int:
        """Return what `now` is from here on, though nobody has changed."""
        self.now += 1
        return self.now

    def since(self, learned: int, user_id: str) -> bool:
        """Whether what was known when `now` was `learned` is of no use any more."""
        return learned < max(self._outdated, self._latest.get(user_id) or 0)
