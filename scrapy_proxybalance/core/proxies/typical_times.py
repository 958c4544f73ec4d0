"""How long an answer usually takes, by target: what a proxy's own times are compared with.

Sums that are told of answers; knows no proxy.
"""

from __future__ import annotations

from ..structures.bounded_dict import BoundedDict

# An average over about so many answers, and a plain mean while there are fewer.
_ANSWERS = 30
# The times of so many targets are kept, the youngest.
_TARGETS = 10_000
_SHORTEST = 1e-4
# Added to the times that are compared, in seconds: while it waits for one answer, a crawl
# works on others. 16 (CONCURRENT_REQUESTS) times the 1 to 2 ms of CPU that each takes.
_BUSY = 0.03


class _Mean:
    """An average that forgets, but for its first values."""

    __slots__ = ("count", "value")

    def __init__(self) -> None:
        self.count = 0
        self.value = 0.0

    def add(self, value: float) -> None:
        if self.count < _ANSWERS:
            self.count += 1
        self.value += (value - self.value) / self.count


class TypicalTimes:
    """The usual seconds per answer: of each target, and of all together."""

    def __init__(self) -> None:
        self._all = _Mean()
        self._by_target: BoundedDict[str, _Mean] = BoundedDict(_TARGETS)

    def add(self, target: str, seconds: float, slowness: float = 1.0) -> None:
        """Take note of an answer.

        :param seconds: that it took.
        :param slowness: of the proxy, relative to a usual one.
        """
        if slowness != 1.0:
            seconds = max(0.0, (seconds + _BUSY) / slowness - _BUSY)
        mean = self._by_target.get(target)
        if mean is None:
            mean = self._by_target[target] = _Mean()
        mean.add(seconds)
        self._all.add(seconds)

    def of(self, target: str) -> float | None:
        """Return the usual seconds of a target, of all targets while it has not answered yet.

        ``None`` while nothing is known at all.
        """
        mean = self._by_target.get(target)
        if mean is None:
            mean = self._all
        return max(_SHORTEST, mean.value) if mean.count else None

    def relative(self, target: str, seconds: float) -> float | None:
        """Return how many times the usual of a target some seconds are, ``None`` if that is not known.

        Differences that are small beside the time in which a crawl is busy with other pages count for
        little.
        """
        usual = self.of(target)
        return None if usual is None else (seconds + _BUSY) / (usual + _BUSY)

    @property
    def of_all(self) -> float | None:
        """The usual seconds, whatever the target."""
        return max(_SHORTEST, self._all.value) if self._all.count else None
