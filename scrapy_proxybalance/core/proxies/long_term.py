"""What a proxy usually does: means over many attempts, however long ago they were.

What to fall back on when its latest attempts are too few or too old to go by. Told of attempts, as they
have been judged; knows neither time nor state.
"""

from __future__ import annotations

# The means are over so many attempts.
_ATTEMPTS = 100.0
# A single answer counts as no slower than so many times the usual, once that rests on a few: a bad
# quarter of an hour does not make a bad proxy.
_SLOWEST = 3.0
_A_FEW = 10.0
# Of so many answers the fastest counts.
_FIRST = 2.0


class LongTerm:
    """Means over up to a hundred attempts.

    ``success``: the share of attempts that succeeded. ``slowness``: how long a success took, relative
    to what is usual for its target. ``attempts`` and ``successes``: how many they rest on. ``latest``:
    the logarithm of how long its latest answer took, ``None`` before there is one.

    The first answer through a proxy has often to wait for a connection. Of the first two the faster
    counts, for both.
    """

    __slots__ = ("attempts", "latest", "slowness", "success", "successes")

    def __init__(self) -> None:
        self.attempts = 0.0
        self.successes = 0.0
        self.success = 1.0
        self.slowness = 1.0
        self.latest: float | None = None

    def succeeded(self, slowness: float) -> None:
        """Count a success that took so long."""
        if self.attempts < _ATTEMPTS:
            self.attempts += 1.0
        self.success += (1.0 - self.success) / self.attempts
        successes, usual = self.successes, self.slowness
        if successes < _ATTEMPTS:
            successes = self.successes = successes + 1.0
        if slowness > _SLOWEST * usual and successes > _A_FEW:
            slowness = _SLOWEST * usual
        if successes == _FIRST:
            self.slowness = min(usual, slowness)
        else:
            self.slowness = usual + (slowness - usual) / successes

    def acquit(self, share: float) -> None:
        """Take back such a share of a failure: it was not the proxy's."""
        self.success = min(1.0, self.success + share / max(1.0, self.attempts))

    def failed(self, share: float) -> None:
        """Count a failure of which such a share, 0 to 1, was the proxy's."""
        if self.attempts < _ATTEMPTS:
            self.attempts += 1.0
        self.success += (1.0 - share - self.success) / self.attempts
