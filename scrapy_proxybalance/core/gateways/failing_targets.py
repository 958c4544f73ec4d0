"""Which targets fail by themselves: before others got through the same way, and after that still.

Told how the attempts through a gateway, or a whole pool, ended. It knows targets only by name, decides
nothing, and forgets a target as soon as that answers.
"""

from __future__ import annotations

from ..structures.bounded_dict import BoundedDict

# So many failures in a row, before and after another target's answer: by chance a target has that many
# behind it once in a thousand times where a tenth of all attempts fail.
_ENOUGH = 3
_TARGETS = 1000


class _Row:
    """The failures of one target since it last answered.

    ``failures``: how many there were before another target's answer;
    ``since``: when there were enough of them. ``overtaken``: when that answer had been asked for;
    ``after``: how many there were of what was asked after it.
    """

    __slots__ = ("after", "explained", "failures", "overtaken", "since")

    def __init__(self) -> None:
        self.failures = self.after = 0
        self.since = float("inf")
        self.overtaken: float | None = None
        self.explained = False


class FailingTargets:
    """Tells a target that is down from a way that is blocked, by the order in which things happened.

    Where the way is blocked, nobody gets through. So a target explains its own failures if it failed
    several times in a row, then another target answered what was asked *after* that, and then it failed
    as often again. One failure before would not do: it may be chance, and the next ones an outage's. An
    answer of the target ends it.
    """

    __slots__ = ("_rows", "latest")

    def __init__(self) -> None:
        self._rows: BoundedDict[str, _Row] = BoundedDict(_TARGETS)
        #: When the latest that was answered had been asked for.
        self.latest = float("-inf")

    def answered(self, target: str, asked_at: float) -> None:
        """Take note of an answer of a target, to what was asked at that moment."""
        self._rows.pop(target, None)
        if asked_at > self.latest:
            self.latest = asked_at

    def failed(self, target: str, asked_at: float, now: float) -> None:
        """Take note of a failure that the target may have caused, of what was asked at that moment."""
        row = self._rows.get(target)
        if row is None:
            row = self._rows[target] = _Row()
        if row.explained:
            return
        # Since the row began, every answer was of another target.
        if row.overtaken is None and self.latest >= row.since:
            row.overtaken = self.latest
        if row.overtaken is None:
            row.failures += 1
            if row.failures == _ENOUGH:
                row.since = now
        elif asked_at >= row.overtaken:
            row.after += 1
            row.explained = row.after >= _ENOUGH

    def explains(self, target: str) -> bool:
        """Return whether a target explains its own failures."""
        row = self._rows.get(target)
        return row is not None and row.explained
