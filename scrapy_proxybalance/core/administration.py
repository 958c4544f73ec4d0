"""Joining, changing and leaving: tells all who keep something of a proxy, in the right order.

Knows nothing of leases but whether there are any left.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .events import ProxyAdded, ProxyDrained, ProxyEnabled, ProxyRemoved
from .proxies.health import OUT

if TYPE_CHECKING:
    from .availability.availability import Availability
    from .availability.gateways import Gateways
    from .availability.outages import Outages
    from .choosing.pairs import Pairs
    from .choosing.spacing import Spacing
    from .events import EventBus
    from .limits.ledger import Ledger
    from .policy import PoolPolicy
    from .proxies.proxy import Proxy
    from .proxies.table import Node, Nodes
    from .proxies.warm_connections import WarmConnections
    from .strategies.active import Strategies

_NEVER = float("-inf")


class Administration:
    """Lets proxies in and out.

    :param policy: the limits of a proxy that has none of its own.
    :param nodes: the books.
    :param availability: counts what they have free.
    :param gateways: stand before those that share a gateway.
    :param ledger: holds their limits.
    :param strategies: forget who is gone, as do ``spacing``, ``pairs``, ``warm_connections`` and
        ``outages``.
    :param events: is told.
    """

    def __init__(
        self,
        policy: PoolPolicy,
        *,
        nodes: Nodes,
        availability: Availability,
        gateways: Gateways,
        ledger: Ledger,
        strategies: Strategies,
        spacing: Spacing,
        pairs: Pairs,
        warm_connections: WarmConnections | None,
        outages: Outages,
        events: EventBus,
    ) -> None:
        self._policy = policy
        self._nodes = nodes
        self._availability = availability
        self._gateways = gateways
        self._ledger = ledger
        self._strategies = strategies
        self._spacing = spacing
        self._pairs = pairs
        self._warm_connections = warm_connections
        self._outages = outages
        self._events = events

    def add(self, proxy: Proxy, now: float) -> None:
        """See :meth:`Pool.add`."""
        node = self._nodes.add(proxy)
        self._register(node)
        self._join(node, now)
        self._events.emit(ProxyAdded(now=now, proxy=proxy))

    def remove(self, name: str, now: float) -> None:
        """See :meth:`Pool.remove`."""
        node = self._nodes[name]
        node.draining = node.leaving = True
        self._availability.refresh(node, now)
        self.remove_if_drained(node, now)

    def drain(self, name: str, now: float) -> bool:
        """See :meth:`Pool.drain`."""
        node = self._nodes[name]
        if node.draining:
            return False
        node.draining = True
        self._availability.refresh(node, now)
        self._events.emit(ProxyDrained(now=now, proxy=node.proxy))
        return True

    def enable(self, name: str, now: float) -> bool:
        """See :meth:`Pool.enable`."""
        node = self._nodes[name]
        out = node.health.state is OUT
        if node.leaving or not (node.draining or out):
            return False
        node.draining = False
        if out:
            node.begin_anew()
            node.priced_at = _NEVER
            self._ledger.rest(name, _NEVER)  # it may have been cooling down before
        self._availability.refresh(node, now)
        self._events.emit(ProxyEnabled(now=now, proxy=node.proxy, anew=out))
        return True

    def update(self, proxy: Proxy, now: float) -> None:
        """See :meth:`Pool.update`."""
        before = self._nodes[proxy.name].proxy
        node = self._nodes.replace(proxy)
        self._register(node)
        if proxy.gateway == before.gateway:
            self._availability.refresh(node, now)
            return
        self._availability.withdraw(node, now)
        self._outages.forget(node)
        self._gateways.leave(node, before.gateway)
        self._join(node, now)

    def remove_if_drained(self, node: Node, now: float) -> None:
        """Let a node go that is leaving, once its last attempt has ended."""
        proxy = node.proxy
        if not node.leaving or self._ledger.in_flight(proxy.name):
            return
        self._nodes.remove(node)
        self._outages.forget(node)
        self._gateways.leave(node, proxy.gateway)
        for strategy in self._strategies.in_use:
            strategy.forget(node.index)
        self._ledger.forget(proxy.name)
        self._spacing.forget(proxy.name)
        self._pairs.forget(proxy.name)
        if self._warm_connections is not None:
            self._warm_connections.forget(node)
        self._events.emit(ProxyRemoved(now=now, proxy=proxy))

    def _register(self, node: Node) -> None:
        proxy, policy = node.proxy, self._policy
        node.priced_at = _NEVER
        own = proxy.max_in_flight
        node.cap = own if own is not None else policy.max_in_flight
        self._ledger.register(proxy.name, node.cap, proxy.rate or policy.rate)

    def _join(self, node: Node, now: float) -> None:
        """Let a node take requests, behind the gateway of its gateway."""
        other = self._gateways.alone(node.proxy.gateway)
        if other is not None:
            self._availability.withdraw(other, now)
        self._gateways.join(node)
        if other is not None:
            self._availability.refresh(other, now)
        self._availability.refresh(node, now)
