"""The clairvoyant greedy: a contender that sees the world, and takes what is best at the moment.

It knows who is dead, what a success costs on average through whom, every knee and every limit; it does
not know how the next attempt will end, nor what comes later.
"""

from __future__ import annotations

from dataclasses import dataclass
from heapq import heappop, heappush
from typing import TYPE_CHECKING

import numpy as np

from .contenders import Handle, Held
from .costs import best_cost, cost, figures
from .plan import within

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from .costs import Costs
    from .world import End, World


class _Order:
    """Proxies in the order of what a success costs, and those of them that may have room."""

    def __init__(self, proxies: list[int], costs: Costs) -> None:
        seconds = costs.seconds[proxies]
        self.proxy_of: list[int] = np.array(proxies)[np.argsort(seconds, kind="stable")].tolist()
        self.rank_of = {proxy: rank for rank, proxy in enumerate(self.proxy_of)}
        self.seconds: list[float] = np.sort(seconds, kind="stable").tolist()
        self.heap = list(range(len(proxies)))  # ranks; in order, so a heap
        self.listed = [True] * len(proxies)

    def put(self, proxy: int) -> None:
        """Look at a proxy again."""
        rank = self.rank_of[proxy]
        if not self.listed[rank]:
            self.listed[rank] = True
            heappush(self.heap, rank)

    def first(self, has_room: Callable[[int], bool], tried: Sequence[int]) -> int | None:
        """Return the rank of the best proxy with room, one that was not tried if there is one."""
        passed: list[int] = []
        found = None
        while self.heap:
            rank = self.heap[0]
            proxy = self.proxy_of[rank]
            if not has_room(proxy):
                self.listed[heappop(self.heap)] = False
            elif proxy in tried:
                passed.append(heappop(self.heap))
            else:
                found = rank
                break
        for rank in passed:
            heappush(self.heap, rank)
        return found if found is not None else passed[0] if passed else None


@dataclass
class _View:
    """What a target looks like for a while: an order for each gateway, and the best timeouts."""

    orders: dict[int | None, _Order]
    timeout: list[float]


class Clairvoyant:
    """Takes the smallest expected seconds per success; never a dead proxy, never above a knee.

    :param best_timeouts: whether it gives up as soon as is best, or at the user's timeout.
    """

    free_cuts = 0

    def __init__(self, world: World, *, best_timeouts: bool) -> None:
        self._world = world
        self._best_timeouts = best_timeouts
        self._views: dict[tuple[float, float, bool], _View] = {}
        self._revivals: list[tuple[float, int]] = []
        self._groups: dict[int | None, list[int]] = {}
        for proxy in world.proxies:
            self._groups.setdefault(proxy.gateway, []).append(proxy.index)

    def acquire(self, now: float, target: int, tried: Sequence[int]) -> Handle | Held:
        """Take the best proxy that is alive, below its knee and its cap, if the target takes more."""
        ready_at = self._target_ready_at(target, now)
        if ready_at is None or ready_at > now:
            return Held(ready_at)
        while self._revivals and self._revivals[0][0] <= now:
            self._look_again(heappop(self._revivals)[1])

        def has_room(proxy: int) -> bool:
            return self._has_room(proxy, now)

        view = self._view(target, now)
        best: tuple[float, int] | None = None
        closed: list[float] = []
        for group, order in view.orders.items():
            opens_at = self._gateway_opens_at(group, now)
            if opens_at is None or opens_at > now:
                closed.append(opens_at or float("inf"))
                continue
            rank = order.first(has_room, tried)
            if rank is not None and (best is None or order.seconds[rank] < best[0]):
                best = order.seconds[rank], order.proxy_of[rank]
        if best is None:
            moments = [when for when in closed if when < float("inf")]
            moments += [when for when, _ in self._revivals[:1]]
            return Held(min(moments, default=None))
        return Handle(best[1], target, now, view.timeout[best[1]])

    def timeout(self, handle: Handle, cuts: int, *, last: bool) -> float:  # noqa: ARG002
        """Return the proxy's best timeout, or the user's."""
        return handle.ticket if isinstance(handle.ticket, float) else float("inf")

    def release(self, handle: Handle, end: End, now: float) -> bool:  # noqa: ARG002
        """Look at the proxy again: it has room."""
        self._look_again(handle.proxy)
        return False

    def _look_again(self, proxy: int) -> None:
        group = self._world.proxies[proxy].gateway
        for view in self._views.values():
            view.orders[group].put(proxy)

    def _view(self, target: int, now: float) -> _View:
        world = self._world
        plan, pool = world.scenario.targets[target], world.scenario.pool
        key = (plan.factor_at(now), plan.extra, within(pool.slowdown, now))
        if key not in self._views:
            hidden = figures(world, world.proxies, target, now)
            price = best_cost if self._best_timeouts else cost
            costs = price(hidden, world.scenario.load.timeout)
            self._views[key] = _View(
                {group: _Order(proxies, costs) for group, proxies in self._groups.items()},
                costs.timeout.tolist(),
            )
        return self._views[key]

    def _target_ready_at(self, target: int, now: float) -> float | None:
        hidden = self._world.targets[target]
        for start, end in (*hidden.plan.hangs, *hidden.plan.errors):
            if start <= now < end:
                return end
        return hidden.ready_at(now)

    def _gateway_opens_at(self, index: int | None, now: float) -> float | None:
        if index is None:
            return now
        gateway = self._world.gateways[index]
        for start, end in (*gateway.plan.outages, *gateway.plan.password_refused):
            if start <= now < end:
                return end
        if gateway.is_full(now):
            changes = gateway.plan.limit.changes if gateway.plan.limit is not None else ()
            return next((when for when in changes if when > now), None)
        return now

    def _has_room(self, index: int, now: float) -> bool:
        proxy = self._world.proxies[index]
        if proxy.in_flight >= proxy.cap or proxy.working >= proxy.knee:
            return False
        down = proxy.down_at(now)
        if down is None or now < down[0]:
            return True
        if down[1] < float("inf"):
            heappush(self._revivals, (down[1], index))
        return False
