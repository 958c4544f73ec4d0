"""Whose fault it looks like: how recent attempts at each target went, and through which proxies.

Keeps records and answers questions; what follows from them is decided elsewhere.
"""

from __future__ import annotations

from collections import deque

# A failure is laid at the target's door when most of so many recent attempts through other proxies
# failed there too.
_WINDOW = 20
_MIN = 4
# The records of so many targets are kept, the youngest.
_TARGETS = 10_000


class Evidence:
    """Remembers the recent attempts at every target that has failed."""

    def __init__(self) -> None:
        self._recent: dict[str, deque[tuple[str, bool]]] = {}

    def answered(self, target: str, proxy: str) -> None:
        """Take note that ``target`` answered as usual through ``proxy``."""
        recent = self._recent.get(target)
        if recent is not None:
            recent.append((proxy, True))

    def failed(self, target: str, proxy: str) -> None:
        """Take note that an attempt at ``target`` through ``proxy`` came to nothing."""
        recent = self._recent.get(target)
        if recent is None:
            if len(self._recent) >= _TARGETS:
                del self._recent[next(iter(self._recent))]
            recent = self._recent[target] = deque(maxlen=_WINDOW)
        recent.append((proxy, False))

    def fails_through_others(self, target: str, proxy: str) -> bool:
        """Return whether most recent attempts at ``target`` through other proxies failed."""
        others = self._through_others(target, proxy)
        return len(others) >= _MIN and 2 * sum(others) < len(others)

    def answers_through_others(self, target: str, proxy: str) -> bool:
        """Return whether ``target`` has lately answered through another proxy."""
        return any(self._through_others(target, proxy))

    def _through_others(self, target: str, proxy: str) -> list[bool]:
        recent = self._recent.get(target, ())
        return [answered for name, answered in recent if name != proxy]
