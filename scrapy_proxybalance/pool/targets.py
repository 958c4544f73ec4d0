"""The target gate: who has asked to be left alone, and until when.

A target is open, paused until a moment, probing (one request finds out), or suspended. The gate is
told what targets said and answers whether a request may go; it sends, waits for and drops nothing.
"""

from __future__ import annotations

from collections import deque
from enum import Enum
from typing import TYPE_CHECKING

from .events import TargetPaused, TargetReopened, TargetSuspended

if TYPE_CHECKING:
    from collections.abc import Iterator
    from random import Random

    from .events import EventBus
    from .target_policy import TargetPolicy

# An ambiguous failure is laid at the target's door when most of so many recent attempts through
# other proxies failed there too.
_EVIDENCE_WINDOW = 20
_EVIDENCE_MIN = 4


class TargetState(Enum):
    """Where a target is in its life."""

    OPEN = "open"
    PAUSED = "paused"
    PROBING = "probing"
    RAMPING = "ramping"
    SUSPENDED = "suspended"


class _Target:
    __slots__ = (
        "forbidden_in_a_row",
        "paused_at",
        "pauses_in_a_row",
        "probe_out",
        "recent",
        "reopened_at",
        "state",
        "until",
    )

    def __init__(self) -> None:
        self.state = TargetState.OPEN
        self.until = float("-inf")
        self.paused_at = float("-inf")
        self.reopened_at = float("-inf")
        self.pauses_in_a_row = 0
        self.forbidden_in_a_row = 0
        self.probe_out = False
        self.recent: deque[tuple[str, bool]] = deque(maxlen=_EVIDENCE_WINDOW)


class TargetGate:
    """Keeps every target's state.

    :param policy: how long refusals pause.
    :param rng: jitters the pauses.
    :param events: is told of every change.
    """

    def __init__(self, policy: TargetPolicy, rng: Random, events: EventBus) -> None:
        self._policy = policy
        self._rng = rng
        self._events = events
        self._targets: dict[str, _Target] = {}
        self._not_open: dict[str, _Target] = {}

    def state(self, target: str) -> TargetState:
        """Return a target's state."""
        known = self._targets.get(target)
        return known.state if known is not None else TargetState.OPEN

    def __iter__(self) -> Iterator[tuple[str, TargetState, float]]:
        """Give every target that is not open, with its state and the end of its pause."""
        for name, target in self._not_open.items():
            yield name, target.state, target.until

    def may_send(self, target: str, now: float) -> bool:
        """Return whether a request may go to ``target`` now; changes nothing."""
        known = self._targets.get(target)
        if known is None or known.state is TargetState.OPEN:
            return True
        if known.state is TargetState.PAUSED:
            return now >= known.until
        return known.state is TargetState.PROBING and not known.probe_out

    def opens_at(self, target: str) -> float:
        """Return when a paused target may be probed, in seconds."""
        known = self._targets.get(target)
        return known.until if known is not None else float("-inf")

    def send(self, target: str, now: float) -> bool:
        """Take note that a request is about to go to ``target``; return whether it is the probe.

        Call it only where :meth:`may_send` holds.
        """
        known = self._targets.get(target)
        if known is None or known.state is TargetState.OPEN:
            return False
        if known.state is TargetState.PAUSED and now >= known.until:
            known.state = TargetState.PROBING
        known.probe_out = True
        return True

    def probe_lost(self, target: str) -> None:
        """Take note that the probe ended without the target having said anything."""
        self._targets[target].probe_out = False

    def answered(self, target: str, proxy: str, sent_at: float, now: float) -> None:
        """Take note that the target answered as usual a request sent at ``sent_at``."""
        known = self._targets.get(target)
        if known is None:
            return  # nothing has been wrong with it so far
        known.recent.append((proxy, True))
        known.forbidden_in_a_row = 0
        if known.state is TargetState.PROBING and sent_at >= known.until:
            known.state = TargetState.OPEN
            del self._not_open[target]
            known.probe_out = False
            known.reopened_at = now
            self._events.emit(TargetReopened(now=now, target=target))
        elif (
            known.state is TargetState.OPEN
            and now - known.reopened_at > known.until - known.paused_at
        ):
            # The backoff is forgotten when the target has borne traffic as long as it was paused.
            known.pauses_in_a_row = 0

    def failed(self, target: str, proxy: str) -> None:
        """Take note that an attempt at the target through ``proxy`` came to nothing."""
        known = self._known(target)
        known.recent.append((proxy, False))

    def fails_through_others(self, target: str, proxy: str) -> bool:
        """Return whether most recent attempts at the target through other proxies failed."""
        known = self._targets.get(target)
        if known is None:
            return False
        others = [answered for name, answered in known.recent if name != proxy]
        return len(others) >= _EVIDENCE_MIN and 2 * sum(others) < len(others)

    def answers_through_others(self, target: str, proxy: str) -> bool:
        """Return whether the target has lately answered through another proxy."""
        known = self._targets.get(target)
        return known is not None and any(
            answered for name, answered in known.recent if name != proxy
        )

    def refused(
        self, target: str, *, sent_at: float, now: float, reason: str, wait: float | None = None
    ) -> bool:
        """Take note of a refusal: pause the target at once.

        Refusals of requests that were sent before the pause began are the same refusal: they may
        lengthen the pause, up to what they ask for, but do not count as a further step.

        :param sent_at: when the refused request went out, in seconds.
        :param reason: what the target said, in words.
        :param wait: seconds that the target asked for.
        :return: whether a new pause began.
        """
        known = self._known(target)
        if known.state is TargetState.SUSPENDED:
            return False
        asked = wait if wait is not None and wait > 0 else None
        if sent_at < known.until:
            if known.state is TargetState.PAUSED and asked is not None:
                known.until = max(known.until, now + min(asked, self._policy.pause_max))
            return False
        known.pauses_in_a_row += 1
        if known.pauses_in_a_row > self._policy.max_pauses:
            self.suspend(target, now, f"{reason}, after {self._policy.max_pauses} pauses in a row")
            return True
        backoff = (asked or self._policy.pause) * 2.0 ** min(known.pauses_in_a_row - 1, 60)
        known.state = TargetState.PAUSED
        self._not_open[target] = known
        known.paused_at = now
        known.until = now + min(self._policy.pause_max, backoff * self._rng.uniform(1.0, 1.1))
        known.forbidden_in_a_row = 0
        known.probe_out = False
        self._events.emit(
            TargetPaused(
                now=now,
                target=target,
                until=known.until,
                step=known.pauses_in_a_row,
                reason=reason,
            )
        )
        return True

    def forbidden(self, target: str, *, sent_at: float) -> bool:
        """Take note of a 403; return whether it counts as a refusal: enough in a row, or a probe's."""
        known = self._known(target)
        if sent_at < known.until:
            return False  # it belongs to the refusal that the target was paused for
        known.forbidden_in_a_row += 1
        probed = known.state is TargetState.PROBING
        return probed or known.forbidden_in_a_row >= self._policy.forbidden_threshold

    def suspend(self, target: str, now: float, reason: str) -> bool:
        """Let no more request go to ``target``; return whether that is new."""
        known = self._known(target)
        if known.state is TargetState.SUSPENDED:
            return False
        known.state = TargetState.SUSPENDED
        self._not_open[target] = known
        known.until = float("inf")
        self._events.emit(TargetSuspended(now=now, target=target, reason=reason))
        return True

    def _known(self, target: str) -> _Target:
        known = self._targets.get(target)
        if known is None:
            known = self._targets[target] = _Target()
        return known
