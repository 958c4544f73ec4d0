"""How many requests a queue holds for each target, kept as they come and go.

Pure counting: nothing is looked up, so that asking costs nothing however many targets there are.
"""

from __future__ import annotations

from collections import Counter


class HeldCounter:
    """Counts requests by target, and those that will never be sent.

    ``total``: how many there are in all.
    """

    def __init__(self) -> None:
        self._of: Counter[str] = Counter()
        self.total = 0
        self._given_up: set[str] = set()
        self._never = 0

    def add(self, target: str, count: int = 1) -> None:
        """Count what comes in."""
        self._of[target] += count
        self.total += count
        if target in self._given_up:
            self._never += count

    def remove(self, target: str) -> None:
        """Count one that leaves."""
        self._of[target] -= 1
        if not self._of[target]:
            del self._of[target]
        self.total -= 1
        if target in self._given_up:
            self._never -= 1

    def give_up(self, target: str, given_up: bool) -> None:
        """Take note whether what is held for a target will never be sent."""
        if given_up is (target in self._given_up):
            return
        if given_up:
            self._given_up.add(target)
            self._never += self._of[target]
        else:
            self._given_up.discard(target)
            self._never -= self._of[target]

    def of(self, target: str) -> int:
        """Return how many are held for a target."""
        return self._of[target]

    @property
    def sendable(self) -> int:
        """How many may yet be sent."""
        return self.total - self._never
