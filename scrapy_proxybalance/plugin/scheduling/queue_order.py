"""Which of a scheduler's queues may be served next, found without looking at all of them.

Pure bookkeeping over names: what is held leaves the ring, and comes back when its time has come or
when something it waits for has changed. What holds a slot, a target or a gate is asked of
:class:`Limits`. A gate is a further limit for the queues of several targets, and is asked as if
it were a target.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right, insort
from heapq import heappop, heappush
from itertools import islice
from typing import TYPE_CHECKING, Protocol, cast

if TYPE_CHECKING:
    from collections.abc import Iterator


#: What holds every request at once: no target and no gate is called so.
EVERYTHING = "#everything"
# When a slot is found full, so many of its queues let other slots have their target's room.
_GIVING_WAY = 64


class Limits(Protocol):
    """What holds slots and targets. Times in seconds."""

    def active(self, slot: str) -> int:
        """Return how many requests of a download slot are under way."""

    def slot_ready_at(self, slot: str, now: float) -> float | None:
        """Return from when a slot has room: ``now`` if it has; ``None`` when a request has to end."""

    def held_by(self, target: str, now: float) -> str | None:
        """Return what holds a request to a target, or one that has to pass a gate.

        That is its name; :data:`EVERYTHING` where nothing can be let out at all; ``None`` for nothing.
        """

    def target_room(self, target: str, now: float) -> int:
        """Return how many requests may be let out to a target now."""

    def target_ready_at(self, target: str, now: float) -> float | None:
        """Return from when there may be room; ``None`` when something has to happen first."""


class Ring:
    """Names on levels: next is the lowest level, and on it the first name after the last in turn."""

    def __init__(self) -> None:
        self._level_of: dict[str, int] = {}
        self._levels: list[int] = []
        self._names: dict[int, list[str]] = {}

    def __len__(self) -> int:
        return len(self._level_of)

    def __iter__(self) -> Iterator[str]:
        return iter(self._level_of)

    def put(self, name: str, level: int) -> None:
        """Put a name on a level, wherever it was."""
        before = self._level_of.get(name)
        if before == level:
            return
        if before is not None:
            self._take_out(name, before)
        self._level_of[name] = level
        names = self._names.get(level)
        if names is None:
            self._names[level] = [name]
            insort(self._levels, level)
        else:
            insort(names, name)

    def discard(self, name: str) -> None:
        """Take a name out, if it is in."""
        level = self._level_of.pop(name, None)
        if level is not None:
            self._take_out(name, level)

    def next(self, last: str | None) -> str | None:
        """Return the name that follows ``last`` on the lowest level, or the first one there."""
        if not self._levels:
            return None
        names = self._names[self._levels[0]]
        index = 0 if last is None else bisect_right(names, last)
        return names[index if index < len(names) else 0]

    def _take_out(self, name: str, level: int) -> None:
        names = self._names[level]
        if len(names) == 1:
            del self._names[level]
            del self._levels[bisect_left(self._levels, level)]
        else:
            del names[bisect_left(names, name)]


class _Turn:
    """Queues that are of one slot, or wait at a target or gate: by priority, equal ones in turn."""

    __slots__ = ("keys", "last")

    def __init__(self) -> None:
        self.keys = Ring()
        self.last: str | None = None

    def next(self) -> str:
        """Return the one whose turn it is; there has to be one."""
        return cast("str", self.keys.next(self.last))


class _Queue:
    __slots__ = ("gate", "parked", "priority", "slot", "target")

    def __init__(self, slot: str, target: str, priority: int, gate: str | None) -> None:
        self.slot = slot
        self.target = target
        self.priority = priority
        self.gate = gate
        self.parked: str | None = None  # at which target or gate


class QueueOrder:
    """The order among queues, each of which holds the requests of one download slot to one target.

    As in Scrapy's DownloaderAwarePriorityQueue the slot with the fewest active requests goes first,
    and equal ones in turn by name. Among the queues of one slot the most urgent priority goes first,
    and equal ones in turn.

    :param limits: says what holds.
    """

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._queues: dict[str, _Queue] = {}
        self._slots: dict[str, _Turn] = {}  # those that no target holds
        self._ring = Ring()  # slots with a ready queue; one that was found full is not in it
        self._last: str | None = None
        self._parked: dict[str, _Turn] = {}  # by target or gate
        self._changed_targets: set[str] = set()
        self._timers: list[tuple[float, bool, str]] = []
        self._timer_of: dict[tuple[bool, str], float] = {}

    def put(self, key: str, slot: str, target: str, priority: int, gate: str | None = None) -> None:
        """Enter a queue with the priority of what it gives next: the lower, the more urgent.

        :param gate: a further limit that it has to pass, if any.
        """
        before = self._queues.get(key)
        if before is not None and before.parked is not None:
            self._unpark(key, before, before.parked)
        queue = self._queues[key] = _Queue(slot, target, priority, gate)
        self._make_ready(key, queue)

    def set_priority(self, key: str, priority: int) -> None:
        """Take note of a queue's priority."""
        queue = self._queues[key]
        if queue.priority != priority:
            queue.priority = priority
            turn = self._slots[queue.slot] if queue.parked is None else self._parked[queue.parked]
            turn.keys.put(key, priority)

    def remove(self, key: str) -> None:
        """Strike a queue out that is empty."""
        queue = self._queues.pop(key)
        if queue.parked is not None:
            self._unpark(key, queue, queue.parked)
        else:
            self._leave_slot(key, queue)
        self._leave_room(queue)

    def __contains__(self, key: str) -> bool:
        return key in self._queues

    @property
    def some_wait(self) -> bool:
        """Whether some queues wait for a target or a gate."""
        return bool(self._parked)

    def slot_changed(self, slot: str) -> None:
        """Take note that a request of a slot has come or gone."""
        known = self._slots.get(slot)
        if known is not None and known.keys:
            self._ring.put(slot, self._limits.active(slot))

    def target_changed(self, target: str) -> None:
        """Take note that a target, or a gate, may have room, or have it no longer."""
        if target in self._parked:
            self._changed_targets.add(target)

    def next(self, now: float) -> str | None:
        """Return the queue to serve next, or ``None`` if all are held."""
        if self._changed_targets or (self._timers and self._timers[0][0] <= now):
            self._bring_back(now)
        limits = self._limits
        while True:
            slot = self._ring.next(self._last)
            if slot is None:
                if not self._changed_targets:
                    return None
                self._bring_back(now)
                continue
            ready_at = limits.slot_ready_at(slot, now)
            if ready_at is None or ready_at > now:
                self._ring.discard(slot)
                self._set_timer(True, slot, ready_at, now)
                self._give_way(slot, now)
                continue
            key = self._slots[slot].next()  # only slots with some are in the ring
            queue = self._queues[key]
            held_by = limits.held_by(queue.target, now)
            if held_by is None and queue.gate is not None:
                held_by = limits.held_by(queue.gate, now)
            if held_by is None:
                return key
            if held_by == EVERYTHING:
                return None
            self._park(key, queue, held_by, now)

    def served(self, key: str) -> tuple[str, str]:
        """Take note that a queue was served, so that the next one in turn follows.

        :return: its slot and its target.
        """
        queue = self._queues[key]
        self._last = queue.slot
        self._slots[queue.slot].last = key
        return queue.slot, queue.target

    def next_timer(self) -> float | None:
        """Return when time alone brings a queue back, in seconds, or ``None``."""
        timers = self._timers
        while timers and self._timer_of.get(timers[0][1:]) != timers[0][0]:
            heappop(timers)
        return timers[0][0] if timers else None

    def _bring_back(self, now: float) -> None:
        timers = self._timers
        while timers and timers[0][0] <= now:
            when, is_slot, name = heappop(timers)
            if self._timer_of.get((is_slot, name)) != when:
                continue
            del self._timer_of[is_slot, name]
            if not is_slot:
                self.target_changed(name)
            elif name in self._slots:
                self._ring.put(name, self._limits.active(name))
        while self._changed_targets:
            self._release(self._changed_targets.pop(), now)

    def _release(self, target: str, now: float) -> None:
        """Make as many queues ready as the target has room for."""
        parked = self._parked.get(target)
        if parked is None:
            return
        for _ in range(min(len(parked.keys), self._limits.target_room(target, now))):
            key = parked.last = parked.next()
            queue = self._queues[key]
            self._unpark(key, queue, target)
            self._make_ready(key, queue)
        if target in self._parked:
            self._set_timer(False, target, self._limits.target_ready_at(target, now), now)

    def _give_way(self, slot: str, now: float) -> None:
        """Let other slots have the room of the targets for which this one came back."""
        if not self._parked:
            return
        for key in list(islice(self._slots[slot].keys, _GIVING_WAY)):
            queue = self._queues[key]
            for name in (queue.target, queue.gate):
                if name is not None and name in self._parked:
                    self._release(name, now)

    def _leave_room(self, queue: _Queue) -> None:
        """Let others have the room that a queue came back for and does not use."""
        self.target_changed(queue.target)
        if queue.gate is not None:
            self.target_changed(queue.gate)

    def _make_ready(self, key: str, queue: _Queue) -> None:
        slot = self._slots.get(queue.slot)
        if slot is None:
            slot = self._slots[queue.slot] = _Turn()
        slot.keys.put(key, queue.priority)
        self._ring.put(queue.slot, self._limits.active(queue.slot))

    def _park(self, key: str, queue: _Queue, name: str, now: float) -> None:
        """Have a queue wait until its target, or its gate, has room."""
        self._leave_slot(key, queue)
        queue.parked = name
        parked = self._parked.get(name)
        if parked is None:
            parked = self._parked[name] = _Turn()
        parked.keys.put(key, queue.priority)
        self._set_timer(False, name, self._limits.target_ready_at(name, now), now)
        if queue.gate is not None:
            self._leave_room(queue)

    def _unpark(self, key: str, queue: _Queue, name: str) -> None:
        queue.parked = None
        parked = self._parked[name]
        parked.keys.discard(key)
        if not parked.keys:
            del self._parked[name]

    def _leave_slot(self, key: str, queue: _Queue) -> None:
        slot = self._slots[queue.slot]
        slot.keys.discard(key)
        if not slot.keys:
            self._ring.discard(queue.slot)
            del self._slots[queue.slot]

    def _set_timer(self, is_slot: bool, name: str, when: float | None, now: float) -> None:
        # What is ready but for what is on its way will be told of, and needs no timer.
        if when is None or not now < when < float("inf"):
            return
        if self._timer_of.get((is_slot, name)) != when:
            self._timer_of[is_slot, name] = when
            heappush(self._timers, (when, is_slot, name))
