"""What no rule can exceed: the fluid optimum, as a linear program.

Successes per second through each proxy for each kind of target, as many as fit: a proxy has its cap
and its knee, a target its workers (or arrivals) and its limits, a gateway its limit; what a success
takes of each is its mean. By Little's law a flow of x successes per second that take c seconds each
keeps x * c places taken. Between the moments at which the world changes it stays as it is: each
such segment is a program of its own. Targets that are equal are taken together, as an optimum shares
alike among them.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.optimize import linprog
from scipy.sparse import csr_array

from .costs import best_cost, cost, figures
from .engine import Engine
from .plan import within
from .world import World

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from .costs import Costs
    from .hidden import HiddenProxy
    from .plan import Scenario

    Floats = NDArray[np.float64]

# In a world with churn, who is dead is looked at in the middle of so many segments.
_CHURN_SEGMENTS = 10


@dataclass(frozen=True)
class Kind:
    """Targets that are equal: how many places they have, and what is asked of them.

    :param costs: of a success, per proxy.
    :param places: workers; ``None`` in an open loop.
    :param wanted: pages per second at most; ``None`` in a closed loop.
    :param at_once: requests at once that they bear; ``None`` for no limit.
    :param rate: requests per second that they bear; ``None`` for no limit.
    """

    costs: Costs
    places: float | None
    wanted: float | None
    at_once: float | None
    rate: float | None


def optimum(proxies: list[HiddenProxy], kinds: list[Kind], gateways: dict[int, float]) -> Floats:
    """Return the most successes per second, for each kind, when together they are as many as can be.

    :param proxies: those that can be used; the costs are theirs.
    :param gateways: limits by gateway; those that have none are not in.
    """
    size, places = len(proxies), len(proxies) * len(kinds)
    if not places:
        return np.zeros(len(kinds))
    rows: list[tuple[NDArray[np.int64], Floats, float]] = []
    for number, kind in enumerate(kinds):
        columns = number * size + np.arange(size)
        costs = kind.costs
        within_timeout = costs.attempts * np.array([proxy.success for proxy in proxies])
        for uses, limit in (
            (costs.seconds, kind.places),
            (np.ones(size), kind.wanted),
            (costs.working, kind.at_once),
            (within_timeout, kind.rate),
        ):
            if limit is not None:
                rows.append((columns, uses, limit))
    all_seconds = np.concatenate([kind.costs.seconds for kind in kinds])
    all_working = np.concatenate([kind.costs.working for kind in kinds])
    for index, limit in gateways.items():
        behind = np.array([proxy.gateway == index for proxy in proxies] * len(kinds))
        columns = np.flatnonzero(behind)
        rows.append((columns, all_seconds[columns], limit))
    caps = np.array([float(proxy.cap) for proxy in proxies])
    knees = np.array([float(proxy.knee) for proxy in proxies])
    shared = len(rows)
    row_of = np.concatenate(
        [np.full(len(columns), number) for number, (columns, _, _) in enumerate(rows)]
        + [shared + np.arange(places) % size, shared + size + np.arange(places) % size]
    )
    column_of = np.concatenate([columns for columns, _, _ in rows] + [np.arange(places)] * 2)
    uses = np.concatenate([uses for _, uses, _ in rows] + [all_seconds, all_working])
    limits = np.concatenate([[limit for _, _, limit in rows], caps, knees])
    # Whatever the stubs of scipy say, it takes a sparse matrix; and its result is typed loosely.
    matrix: Any = csr_array((uses, (row_of, column_of)), shape=(shared + 2 * size, places))
    solved: Any = linprog(-np.ones(places), A_ub=matrix, b_ub=limits, method="highs")
    if solved.status != 0:
        raise RuntimeError(f"the linear program has no optimum: {solved.message}")
    flows: Floats = solved.x.reshape(len(kinds), size).sum(axis=1)
    return flows


def knapsack(proxies: list[HiddenProxy], costs: Costs, places: float) -> float:
    """Return the optimum of one kind of target in a closed loop, the plain way: the cheapest first."""
    left, flow = places, 0.0
    for index in np.argsort(costs.seconds):
        proxy = proxies[index]
        most = min(proxy.cap / costs.seconds[index], proxy.knee / costs.working[index])
        taken = min(most, left / costs.seconds[index])
        flow += taken
        left -= taken * costs.seconds[index]
    return float(flow)


def moments(scenario: Scenario) -> list[float]:
    """Return when segments begin and end."""
    found = {0.0, scenario.warm_up, scenario.seconds}
    windows = list(scenario.pool.slowdown)
    for target in scenario.targets:
        windows += [*target.hangs, *target.errors, *target.slow]
    for gateway in scenario.gateways:
        windows += [*gateway.outages, *gateway.password_refused]
        if gateway.limit is not None:
            found.update(gateway.limit.changes)
    found.update(moment for window in windows for moment in window)
    if scenario.pool.churn is not None:
        found.update(np.linspace(0.0, scenario.seconds, _CHURN_SEGMENTS + 1).tolist())
    return sorted(moment for moment in found if moment <= scenario.seconds)


def bound(scenario: Scenario, seed: int, *, best_timeouts: bool) -> float:
    """Return the most pages per second that can be fetched after the warm-up.

    :param best_timeouts: give each attempt up as soon as is best, or at the user's timeout.
    """
    world = World(scenario, seed, Engine())
    targets, load = len(scenario.targets), scenario.load
    backlog = np.zeros(targets)  # pages that arrived and could not be fetched so far, by target
    fetched = 0.0
    ends = moments(scenario)
    for start, end in itertools.pairwise(ends):
        middle = (start + end) / 2.0
        usable = [proxy for proxy in world.proxies if _is_usable(world, proxy, middle)]
        alike: dict[object, list[int]] = {}
        for index, plan in enumerate(scenario.targets):
            workers = load.workers_at(index, targets, world.capacity())
            if not plan.is_down(middle):
                key = (plan.factor_at(middle), plan, backlog[index], bool(workers))
                alike.setdefault(key, []).append(index)
            backlog[index] += load.arrivals / targets * (end - start)
        kinds = []
        for indices in alike.values():
            plan = scenario.targets[indices[0]]
            hidden = figures(world, usable, indices[0], middle)
            price = best_cost if best_timeouts else cost
            workers = sum(load.workers_at(one, targets, world.capacity()) for one in indices)
            kinds.append(
                Kind(
                    costs=price(hidden, load.timeout),
                    places=None if load.arrivals else float(workers),
                    wanted=backlog[indices].sum() / (end - start) if load.arrivals else None,
                    at_once=_times(plan.max_in_flight, len(indices)),
                    rate=_times(plan.rate, len(indices)),
                )
            )
        flows = optimum(usable, kinds, _limits(world, middle))
        for indices, flow in zip(alike.values(), flows, strict=True):
            backlog[indices] = np.maximum(
                0.0, backlog[indices] - flow * (end - start) / len(indices)
            )
        if start >= scenario.warm_up:
            fetched += flows.sum() * (end - start)
    return float(fetched / (scenario.seconds - scenario.warm_up))


def _times(limit: float | None, count: int) -> float | None:
    return None if limit is None else limit * count


def _is_usable(world: World, proxy: HiddenProxy, now: float) -> bool:
    if proxy.is_down(now):
        return False
    if proxy.gateway is None:
        return True
    plan = world.gateways[proxy.gateway].plan
    return not within(plan.outages, now) and not within(plan.password_refused, now)


def _limits(world: World, now: float) -> dict[int, float]:
    return {
        index: gateway.plan.limit.at(now)
        for index, gateway in enumerate(world.gateways)
        if gateway.plan.limit is not None
    }
