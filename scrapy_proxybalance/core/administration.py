"""Joining, changing and leaving: tells all who keep something of a proxy, in the right order.

Knows nothing of leases but whether there are any left.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .events import ProxyAdded, ProxyDrained, ProxyEnabled, ProxyRemoved
from .proxies.health import OUT

if TYPE_CHECKING:
    from .availability.availability import Availability
    from .availability.gateways import Gates
    from .choosing.pairs import Pairs
    from .choosing.spacing import Spacing
    from .events import EventBus
    from .limits.ledger import Ledger
    from .policy import PoolPolicy
    from .proxies.proxy import Proxy
    from .proxies.table import Member, Members
    from .proxies.warm_connections import Warmth
    from .strategies.active import Strategies

_NEVER = float("-inf")


class Membership:
    """Lets proxies in and out.

    :param policy: the limits of a proxy that has none of its own.
    :param members: the books.
    :param availability: counts what they have free.
    :param gates: stand before those that share a gateway.
    :param ledger: holds their limits.
    :param strategies: forget who is gone, as do ``spacing``, ``pairs`` and ``warmth``.
    :param events: is told.
    """

    def __init__(
        self,
        policy: PoolPolicy,
        *,
        members: Members,
        availability: Availability,
        gates: Gates,
        ledger: Ledger,
        strategies: Strategies,
        spacing: Spacing,
        pairs: Pairs,
        warmth: Warmth | None,
        events: EventBus,
    ) -> None:
        self._policy = policy
        self._members = members
        self._availability = availability
        self._gates = gates
        self._ledger = ledger
        self._strategies = strategies
        self._spacing = spacing
        self._pairs = pairs
        self._warmth = warmth
        self._events = events

    def add(self, proxy: Proxy, now: float) -> None:
        """See :meth:`Pool.add`."""
        member = self._members.add(proxy)
        self._register(member)
        self._join(member, now)
        self._events.emit(ProxyAdded(now=now, proxy=proxy))

    def remove(self, name: str, now: float) -> None:
        """See :meth:`Pool.remove`."""
        member = self._members[name]
        member.draining = member.leaving = True
        self._availability.refresh(member, now)
        self.remove_if_drained(member, now)

    def drain(self, name: str, now: float) -> bool:
        """See :meth:`Pool.drain`."""
        member = self._members[name]
        if member.draining:
            return False
        member.draining = True
        self._availability.refresh(member, now)
        self._events.emit(ProxyDrained(now=now, proxy=member.proxy))
        return True

    def enable(self, name: str, now: float) -> bool:
        """See :meth:`Pool.enable`."""
        member = self._members[name]
        out = member.health.state is OUT
        if member.leaving or not (member.draining or out):
            return False
        member.draining = False
        if out:
            member.begin_anew()
            member.priced_at = _NEVER
            self._ledger.rest(name, _NEVER)  # it may have been cooling down before
        self._availability.refresh(member, now)
        self._events.emit(ProxyEnabled(now=now, proxy=member.proxy, anew=out))
        return True

    def update(self, proxy: Proxy, now: float) -> None:
        """See :meth:`Pool.update`."""
        before = self._members[proxy.name].proxy
        member = self._members.replace(proxy)
        self._register(member)
        if proxy.gateway == before.gateway:
            self._availability.refresh(member, now)
            return
        self._availability.withdraw(member, now)
        self._gates.leave(member, before.gateway)
        self._join(member, now)

    def remove_if_drained(self, member: Member, now: float) -> None:
        """Let a member go that is leaving, once its last lease has ended."""
        proxy = member.proxy
        if not member.leaving or self._ledger.in_flight(proxy.name):
            return
        self._members.remove(member)
        self._gates.leave(member, proxy.gateway)
        for strategy in self._strategies.in_use:
            strategy.forget(member.index)
        self._ledger.forget(proxy.name)
        self._spacing.forget(proxy.name)
        self._pairs.forget(proxy.name)
        if self._warmth is not None:
            self._warmth.forget(member)
        self._events.emit(ProxyRemoved(now=now, proxy=proxy))

    def _register(self, member: Member) -> None:
        proxy, policy = member.proxy, self._policy
        member.priced_at = _NEVER
        own = proxy.max_in_flight
        member.cap = own if own is not None else policy.max_in_flight
        self._ledger.register(proxy.name, member.cap, proxy.rate or policy.rate)

    def _join(self, member: Member, now: float) -> None:
        """Let a member take requests, behind the gate of its gateway."""
        other = self._gates.alone(member.proxy.gateway)
        if other is not None:
            self._availability.withdraw(other, now)
        self._gates.join(member)
        if other is not None:
            self._availability.refresh(other, now)
        self._availability.refresh(member, now)
