"""The gateways: what each gateway has room for, counted with the free leases of the proxies behind it.

Keeps the books that choosing reads; what ended leases say about a gateway is judged elsewhere. A
gateway with a single proxy has no gateway, unless its policy is set by name.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from ..gateways.gateway import Gateway
from ..gateways.limit import GatewayPolicy
from ..limits.budget import Limit

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from random import Random

    from ..proxies.table import Node

#: What the gateway of the whole pool is called.
WHOLE_POOL = ""

# Where most gateways have no room, so many that have are looked at, and so many proxies of each.
_GATES_SAMPLED = 16
_MEMBERS_SAMPLED = 16


class Gateways:
    """The gateways of a pool.

    :param default: what holds for gateways that several proxies share.
    :param by_name: what holds instead for some, by ``host:port``, shared or not.
    """

    def __init__(
        self, default: GatewayPolicy, by_name: Mapping[str, GatewayPolicy] | None = None
    ) -> None:
        self._default = default
        self._by_name = dict(by_name or {})
        self._gateways: dict[str, Gateway] = {}
        self._alone: dict[str, Node] = {}
        self._open: list[Gateway] = []
        self.tripped: dict[str, Gateway] = {}
        #: How many gateways have no room although their nodes have.
        self.shut = 0
        #: Leases that are out, in all.
        self.in_flight = 0
        #: The gateway of the whole pool, which matters only while it is narrowed by an outage.
        self.whole = Gateway(WHOLE_POOL, GatewayPolicy(max_in_flight=sys.maxsize))
        self.narrowed = False
        #: Whether anything has tripped, or has not grown back.
        self.disturbed = False
        #: So many answers need not be told to the breaker of the whole pool now.
        self.quiet_answers = 0

    def __iter__(self) -> Iterator[Gateway]:
        return iter(self._gateways.values())

    def settle(self, gateway: Gateway) -> None:
        """Take note that a gateway is tripped no longer."""
        self.tripped.pop(gateway.name, None)
        self.disturbed = self.narrowed or bool(self.tripped)

    def rotates(self, name: str) -> bool:
        """Return whether each new connection to a gateway has another exit."""
        return self._by_name.get(name, self._default).rotating

    # Who is behind which

    def alone(self, name: str) -> Node | None:
        """Return the only node at a gateway without a gateway."""
        return self._alone.get(name)

    def join(self, node: Node) -> None:
        """Take note of a new node, or of a new gateway of one.

        Nothing of it, nor of one that has been alone there, may be counted as free yet.
        """
        name = node.proxy.gateway
        gateway = self._gateways.get(name)
        if gateway is None:
            alone = self._alone.pop(name, None)
            if alone is None and name not in self._by_name:
                self._alone[name] = node
                return
            gateway = self._gateways[name] = Gateway(name, self._by_name.get(name, self._default))
            if alone is not None:
                self._enter(alone, gateway)
        self._enter(node, gateway)

    @staticmethod
    def _enter(node: Node, gateway: Gateway) -> None:
        node.gateway = gateway
        gateway.nodes += 1
        gateway.serving += node.serving

    def leave(self, node: Node, name: str) -> None:
        """Take note that a node, which has no free attempt any more, has left a gateway."""
        gateway, node.gateway = node.gateway, None
        if gateway is None:
            self._alone.pop(name, None)
            return
        gateway.nodes -= 1
        gateway.serving -= node.serving
        if not gateway.nodes:
            del self._gateways[name]
            self.settle(gateway)

    # What is free

    def recount(self, gateway: Gateway, now: float) -> tuple[int, int]:
        """Compute again what is free behind a gateway; return by how much leases and proxies change."""
        room = gateway.room(now)
        leases, proxies = gateway.free_on_members, len(gateway.free_members)
        if room < leases:
            leases = room
            proxies = min(room, proxies)
        changes = leases - gateway.leases, proxies - gateway.proxies
        gateway.leases, gateway.proxies = leases, proxies
        shut = gateway.free_on_members > 0 and not leases
        if shut is not gateway.shut:
            gateway.shut = shut
            self.shut += 1 if shut else -1
        if (leases > 0) is (gateway.position is not None):
            return changes
        if leases:
            gateway.position = len(self._open)
            self._open.append(gateway)
        elif gateway.position is not None:
            last = self._open.pop()
            if last is not gateway:
                self._open[gateway.position] = last
                last.position = gateway.position
            gateway.position = None
        return changes

    def whole_room(self, now: float) -> int:
        """Return how many leases the pool may grant while it is narrowed."""
        self.whole.limit.in_flight = self.in_flight
        return self.whole.room(now)

    def next_probe(self, now: float) -> float | None:
        """Return when, after ``now``, the next probe may go; ``None`` if that is not what is awaited."""
        gateways = [*self.tripped.values(), *([self.whole] if self.whole.tripped else ())]
        moments = (gateway.breaker.next_probe for gateway in gateways)
        return min((when for when in moments if when is not None and when > now), default=None)

    def in_service(self, serving: int) -> int:
        """Return how many of so many proxies in good standing are not cut off by an outage."""
        if self.whole.tripped:
            return 0
        return serving - sum(gateway.serving for gateway in self.tripped.values())

    def reachable(self, node: Node) -> bool:
        """Return whether no outage cuts a node off: of its gateway, or of the whole pool."""
        gateway = node.gateway
        return not (self.whole.tripped or (gateway is not None and gateway.tripped))

    # What can be seen

    def limits(self) -> tuple[Limit, ...]:
        """Return the limit of every gateway."""
        return tuple(
            Limit(
                kind="gateway",
                name=gateway.name,
                limit=0 if gateway.tripped or self.whole.tripped else int(gateway.limit.limit),
                in_flight=gateway.limit.in_flight,
            )
            for gateway in self._gateways.values()
        )

    def explain(self, others: int) -> Limit:
        """Return what the gateways carry together, with what the proxies without one do."""
        limits = self.limits()
        total = sum(limit.limit for limit in limits) + (0 if self.whole.tripped else others)
        if self.narrowed and not self.whole.tripped:
            total = min(total, int(self.whole.limit.limit))
        name = limits[0].name if len(limits) == 1 and not self._alone else ""
        return Limit(kind="gateway", name=name, limit=total, in_flight=self.in_flight)

    # What choosing asks

    def fits(self, node: Node, besides: int = 0) -> bool:
        """Return whether a node's gateway has room for more than ``besides``."""
        gateway = node.gateway
        return gateway is None or gateway.leases > besides

    def sample(self, rng: Random) -> list[int]:
        """Return the indices of some free nodes behind gateways with room, and of those without one."""
        gateways = self._open
        if len(gateways) > _GATES_SAMPLED:
            gateways = rng.sample(gateways, _GATES_SAMPLED)
        found = [node.index for node in self._alone.values() if node.free]
        for gateway in gateways:
            members = gateway.free_members
            if len(members) > _MEMBERS_SAMPLED:
                members = rng.sample(members, _MEMBERS_SAMPLED)
            found += members
        return found
