"""Who can take a request now, how many, and when that changes next.

Computes each node's free leases again whenever something happened to it or its time has come, and
keeps the strategies in step. Grants nothing and learns nothing.
"""

from __future__ import annotations

from heapq import heappop, heappush
from typing import TYPE_CHECKING

from ..proxies.health import COOLING, HEALTHY, OUT
from ..proxies.score import load_factor

if TYPE_CHECKING:
    from ..gateways.gateway import Gateway
    from ..limits.ledger import Ledger
    from ..proxies.table import Node, Nodes
    from ..strategies.active import Strategies
    from .gateways import Gateways

# A probe that succeeds has so many others made at once.
_BROUGHT_FORWARD = 3
# So many that are due next are looked at for them.
_LOOKED_AT = 16


class Availability:
    """The nodes' free leases.

    :param nodes: whose.
    :param ledger: knows what they hold.
    :param strategies: are told of every change.
    :param gateways: know what the gateways have room for.
    """

    def __init__(
        self, nodes: Nodes, ledger: Ledger, strategies: Strategies, gateways: Gateways
    ) -> None:
        self._nodes = nodes
        self._gateways = gateways
        self._ledger = ledger
        self._strategies = strategies
        self._timers: list[tuple[float, int]] = []
        self._looked_at = float("-inf")
        self._hidden = 0  # leases that would be free, were it not for an outage of the pool
        #: How many leases could be granted, on how many nodes, and how many nodes are in good
        #: standing.
        self.free = 0
        self.free_members = 0
        self.serving = 0

    def advance(self, now: float) -> None:
        """Look again at every node whose time has come."""
        timers = self._timers
        while timers and timers[0][0] <= now:
            when, index = heappop(timers)
            node = self._nodes.at(index)
            if node.timer == when:
                node.timer = None
                self.refresh(node, now)
        if self._gateways.disturbed:
            self._looked_at = now
            for gateway in self._gateways.tripped.values():
                self.recount(gateway, now)
            self.limit(now)

    def next_change(self) -> float | None:
        """Return when a cooldown, a rate or a probe next sets a node free; ``None`` if none will."""
        timers = self._timers
        while timers and self._nodes.at(timers[0][1]).timer != timers[0][0]:
            heappop(timers)  # overtaken by what happened since
        moment = timers[0][0] if timers else None
        probe_at = self._gateways.next_probe(self._looked_at)
        if probe_at is not None and (moment is None or probe_at < moment):
            return probe_at
        return moment

    def refresh(self, node: Node, now: float) -> None:
        """Compute again how many leases a node can take."""
        name, health = node.proxy.name, node.health
        free, serving = 0, node.in_good_standing
        if serving:
            free = self._ledger.available(name, now)
            carries = node.carries
            if carries < node.cap:
                free = max(0, min(free, carries - self._ledger.in_flight(name)))
            if not free and self._ledger.ready_at(name) > now:
                self._wake(node, self._ledger.ready_at(name))
        elif node.draining:
            node.timer = None  # no time brings it back
        else:
            resting = health.state is COOLING or health.state is OUT
            if resting and now >= health.cooldown_until:
                health.begin_probe()
                resting = False
            if resting:
                self._ledger.rest(name, health.cooldown_until)
                self._wake(node, health.cooldown_until)
            else:
                if not node.probe_out:
                    free = min(1, self._ledger.available(name, now))
                if not free and self._ledger.ready_at(name) > now:
                    self._wake(node, self._ledger.ready_at(name))
        if node.gateway is not None:
            self._set_free_behind(node.gateway, node, free, now)
        elif free != node.free:
            self._set_free(node, free)
        if self._gateways.narrowed:
            self.limit(now)
        if node.serving is not serving:
            node.serving = serving
            change = 1 if serving else -1
            self.serving += change
            if node.gateway is not None:
                node.gateway.serving += change
        in_flight = node.in_flight = self._ledger.in_flight(name)
        node.load = load_factor(in_flight, node.cap) if in_flight else 1.0
        on_trial = health.state is not HEALTHY
        for strategy in self._strategies.in_use:
            strategy.set(
                node.index,
                usable=node.free > 0,
                on_trial=on_trial,
                weight=node.proxy.weight,
                in_flight=in_flight,
            )

    def bring_forward(self, now: float) -> list[Node]:
        """End the cooldowns that would end next: who comes back seldom comes back alone.

        :return: of whom.
        """
        brought: list[Node] = []
        out: list[tuple[float, int]] = []
        for _ in range(_LOOKED_AT):
            self.next_change()  # clears away what was overtaken
            if not self._timers or len(brought) == _BROUGHT_FORWARD:
                break
            node = self._nodes.at(self._timers[0][1])
            if node.health.state is OUT:
                out.append(heappop(self._timers))  # another proxy's answer says nothing of that
                continue
            if node.health.state is not COOLING:
                break  # a rate comes first
            heappop(self._timers)
            self.end_cooldown(node, now)
            brought.append(node)
        for timer in out:
            heappush(self._timers, timer)
        return brought

    def end_cooldown(self, node: Node, now: float) -> bool:
        """Let a node be probed now; return whether it was cooling down."""
        if node.health.state is not COOLING:
            return False
        node.timer = None
        node.health.cooldown_until = now
        self._ledger.rest(node.proxy.name, now)
        self.refresh(node, now)
        return True

    def take_back(self, node: Node, now: float) -> None:
        """Count a node again whose cooldown, or time out of the pool, is as if it had not been."""
        node.priced_at = float("-inf")
        node.probe_out = False
        self._ledger.rest(node.proxy.name, float("-inf"))
        self.refresh(node, now)

    def withdraw(self, node: Node, now: float) -> None:
        """Count nothing as free on a node."""
        if node.gateway is not None:
            self._set_free_behind(node.gateway, node, 0, now)
        else:
            self._set_free(node, 0)

    def recount(self, gateway: Gateway, now: float) -> None:
        """Count again what is free behind a gateway."""
        leases, nodes = self._gateways.recount(gateway, now)
        self.free += leases
        self.free_members += nodes

    def limit(self, now: float) -> None:
        """Count no more as free than the whole pool may grant."""
        free = self.free + self._hidden
        self.free = min(free, self._gateways.whole_room(now)) if self._gateways.narrowed else free
        self._hidden = free - self.free

    def _set_free(self, node: Node, free: int) -> None:
        self.free += free - node.free
        if (free > 0) is not (node.free > 0):
            self.free_members += 1 if free else -1
        node.free = free

    def _set_free_behind(self, gateway: Gateway, node: Node, free: int, now: float) -> None:
        if free != node.free:
            gateway.set_free(node.index, node.free, free)
            node.free = free
        self.recount(gateway, now)

    def _wake(self, node: Node, when: float) -> None:
        if node.timer != when:
            node.timer = when
            heappush(self._timers, (when, node.index))
