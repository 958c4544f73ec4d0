"""How long an answer usually takes, by target: what a proxy's own times are compared with.

Sums that are told of answers; knows no proxy.
"""

from __future__ import annotations

# An average over about so many answers, and a plain mean while there are fewer.
_ANSWERS = 30
# The times of so many targets are kept, the youngest.
_TARGETS = 10_000
_SHORTEST = 1e-4


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


class UsualTimes:
    """The usual seconds per answer: of each target, and of all together."""

    def __init__(self) -> None:
        self._all = _Mean()
        self._by_target: dict[str, _Mean] = {}

    def add(self, target: str, seconds: float) -> None:
        """Take note of an answer.

        :param seconds: that it took, as if through a proxy of the usual speed.
        """
        mean = self._by_target.get(target)
        if mean is None:
            if len(self._by_target) >= _TARGETS:
                del self._by_target[next(iter(self._by_target))]
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

    @property
    def of_all(self) -> float | None:
        """The usual seconds, whatever the target."""
        return max(_SHORTEST, self._all.value) if self._all.count else None
