"""The crawl: pages that want fetching, workers that fetch them, retries, and what came of it.

It asks a contender for a proxy and for a timeout, sends, and tells it how that ended. Which proxy is
best it does not know.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from functools import partial
from random import Random
from time import perf_counter_ns
from typing import TYPE_CHECKING

from scrapy_proxybalance.core import Outcome

from .contenders import Held

if TYPE_CHECKING:
    from .contenders import Contender, Handle
    from .engine import Engine
    from .plan import Load
    from .world import End, World


@dataclass
class Page:
    """Something to fetch; it takes ``weight`` times as long as most."""

    target: int
    wanted_at: float
    weight: float
    tried: list[int] = field(default_factory=list)
    #: Attempts that cost nothing, such as those that the contender's own timeout has cut short.
    free: int = 0
    cuts: int = 0


@dataclass
class Log:
    """What happened, with its moments: of pages that were fetched, pages lost, and attempts."""

    fetched: list[tuple[float, float, int]] = field(default_factory=list)  # when, took, attempts
    lost: list[float] = field(default_factory=list)
    # When it ended, which proxy, the number of the attempt, and what it ended with.
    attempts: list[tuple[float, int, int, Outcome]] = field(default_factory=list)
    picks: int = 0
    pick_seconds: float = 0.0


class Client:
    """A crawl through a contender's choices."""

    def __init__(
        self, engine: Engine, world: World, contender: Contender, load: Load, seed: int
    ) -> None:
        self.log = Log()
        self._engine = engine
        self._world = world
        self.contender = contender
        self._load = load
        self._rng = Random(seed ^ 0x10AD)
        self._waiting: list[deque[Page]] = [deque() for _ in world.targets]
        self._wake_at = float("inf")

    def start(self) -> None:
        """Ask for the first pages."""
        load = self._load
        if load.arrivals:
            self._engine.at(self._rng.expovariate(load.arrivals), self._arrival)
            return
        targets, capacity = len(self._waiting), self._world.capacity()
        for target in range(targets):
            for _ in range(load.workers_at(target, targets, capacity)):
                self._attempt(self._page(target))

    @property
    def waiting(self) -> int:
        """How many pages wait for a proxy."""
        return sum(map(len, self._waiting))

    def _page(self, target: int) -> Page:
        load = self._load
        heavy = bool(load.heavy) and self._rng.random() < load.heavy
        return Page(target, self._engine.now, load.heavy_factor if heavy else 1.0)

    def _arrival(self) -> None:
        now = self._engine.now
        self._engine.at(now + self._rng.expovariate(self._load.arrivals), self._arrival)
        target = self._rng.randrange(len(self._waiting))
        self._waiting[target].append(self._page(target))
        self._pump(target)

    def _attempt(self, page: Page) -> None:
        """Send a page, or let it wait as the first of its target."""
        if not self._send(page):
            self._waiting[page.target].appendleft(page)

    def _send(self, page: Page) -> bool:
        now = self._engine.now
        started = perf_counter_ns()
        handle = self.contender.acquire(now, page.target, page.tried)
        self.log.pick_seconds += (perf_counter_ns() - started) / 1e9
        self.log.picks += 1
        if isinstance(handle, Held):
            if handle.retry_at is not None and now < handle.retry_at < self._wake_at:
                self._wake_at = handle.retry_at
                self._engine.at(handle.retry_at, self._wake)
            return False
        page.tried.append(handle.proxy)
        last = len(page.tried) - page.free >= self._load.attempts
        own = self._load.timeout
        timeout = min(own, self.contender.timeout(handle, page.cuts, last=last))
        ended = partial(self._ended, page, handle, timeout < own)
        self._world.send(handle.proxy, page.target, timeout, ended, page.weight)
        return True

    def _wake(self) -> None:
        if self._engine.now < self._wake_at:
            return  # there is a later call for that
        self._wake_at = float("inf")
        self._pump(0)

    def _pump(self, first: int) -> None:
        """Send what waits, as far as it can be, beginning with a target that may have room now."""
        for offset in range(len(self._waiting)):
            waiting = self._waiting[(first + offset) % len(self._waiting)]
            while waiting and self._send(waiting[0]):
                waiting.popleft()

    def _ended(self, page: Page, handle: Handle, cut: bool, end: End) -> None:
        now = self._engine.now
        free = self.contender.release(handle, end, now)
        self.log.attempts.append((now, handle.proxy, len(page.tried), end.outcome))
        if cut and end.failure == "timeout":
            page.cuts += 1
            free = free or page.cuts <= self.contender.free_cuts
        page.free += free
        if end.outcome is Outcome.SUCCESS:
            self.log.fetched.append((now, now - page.wanted_at, len(page.tried)))
            self._next(page.target)
        elif len(page.tried) - page.free >= self._load.attempts:
            self.log.lost.append(now)
            self._next(page.target)
        else:
            self._attempt(page)
        self._pump(page.target)

    def _next(self, target: int) -> None:
        if not self._load.arrivals:
            self._waiting[target].append(self._page(target))
