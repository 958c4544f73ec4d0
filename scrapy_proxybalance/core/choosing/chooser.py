"""Which proxy takes a request, or why none can now.

Brings together what a request wants, what holds for its target, and where its session is. Grants
nothing: the pool does.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs

from ..attempt import Blocked, Want
from ..errors import NoProxyMatchesError, SessionLostError, TargetRefusedError
from ..proxies.filters import ProxyFilter
from ..proxies.health import COOLING
from ..strategies import Pick
from .pairs import CONNECT

if TYPE_CHECKING:
    from collections.abc import Collection, Hashable, Mapping, Sequence
    from random import Random

    from ..availability.availability import Availability
    from ..availability.gateways import Gateways
    from ..gateways.gateway import Gateway
    from ..limits.ledger import Ledger
    from ..proxies.filters import FilterSpec
    from ..proxies.table import Node, Nodes
    from ..proxies.warm_connections import WarmConnections
    from ..strategies import Strategy
    from ..strategies.active import Strategies
    from ..targets.policy import TargetPolicy
    from .pairs import Pairs
    from .sessions import Sessions
    from .spacing import Spacing

# A new session goes to a proxy with no more sessions than this times its even share (the bound of
# consistent hashing with bounded loads, Mirrokni et al., 2016).
_SESSION_SPREAD = 1.25

# So often a strategy is asked for a proxy that does not rest, before all are looked through.
_PICKS = 8


@attrs.frozen
class _Eligible:
    """The proxies that may take a request.

    ``among``: their indices, ``None`` for all; ``resting``: those of them that rest, by name, with
    the moments they are due at; ``waits_for``: see :class:`Blocked`; ``wanted``: the filter, if any.
    """

    among: list[int] | None
    resting: Mapping[str, float]
    waits_for: Hashable
    wanted: ProxyFilter | None = None


_ALL = _Eligible(None, {}, None)


class Chooser:
    """Chooses among the pool's nodes.

    :param session_lost: ``reassign``, ``wait`` or ``fail``.
    :param warm_connections: knows who has idle connections; ``None`` if that does not matter.
    """

    def __init__(
        self,
        *,
        nodes: Nodes,
        availability: Availability,
        ledger: Ledger,
        strategies: Strategies,
        sessions: Sessions,
        spacing: Spacing,
        pairs: Pairs,
        gateways: Gateways,
        rng: Random,
        session_lost: str,
        warm_connections: WarmConnections | None,
    ) -> None:
        self._nodes = nodes
        self._availability = availability
        self._ledger = ledger
        self._strategies = strategies
        self._sessions = sessions
        self._spacing = spacing
        self._pairs = pairs
        self._gateways = gateways
        self._rng = rng
        self._session_lost = session_lost
        self._warm_connections = warm_connections

    def choose(self, want: Want, target: str, rule: TargetPolicy, now: float) -> Node | Blocked:
        """Return the proxy for a request; see :meth:`Pool.acquire`.

        :param target: what it goes to, by the rules for targets; ``rule`` is what holds for that.
        """
        self._availability.advance(now)
        strategy = self._strategies.find(rule.strategy if want.strategy is None else want.strategy)
        session, tunnel, avoid = want.session, want.tunnel, want.avoid
        if session is not None:
            pinned = self._session_node(session, target, rule, now)
            if pinned is not None:
                return pinned
        eligible = self._eligible(now, target, rule, want.proxy_filter, connect=tunnel is not None)
        prefer = want.prefer
        if prefer is not None and session is None and prefer not in avoid:
            preferred = self._preferred(prefer, eligible)
            if preferred is not None:
                return preferred
        pick = Pick(now, self._rng, target, session, eligible.among)
        warm_connections = self._warm_connections
        if tunnel is not None and warm_connections is not None and not avoid:
            if eligible is _ALL and not self._gateways.shut:
                pick.warm = warm_connections.offer(tunnel, now, proxies=self._availability.serving)
            else:
                pick.warm = self._warm(warm_connections, tunnel, now, eligible)
        index = self._pick(strategy, pick, eligible, avoid, strictly=want.strictly)
        if index is None:
            return self._nothing_free(eligible, target)
        if session is not None:
            index = self._spread(strategy, index, pick, eligible, avoid)
        return self._nodes.at(index)

    def blocked(
        self, want: Want, target: str, rule: TargetPolicy, now: float, ahead: int
    ) -> Blocked | None:
        """Return why a request has to wait for a proxy; see :meth:`Pool.blocked`."""
        self._availability.advance(now)
        session = want.session
        if session is not None:
            pinned = self._session_node(session, target, rule, now, ahead)
            if pinned is not None:
                return pinned if isinstance(pinned, Blocked) else None
            if ahead:
                return Blocked(
                    reason=f"session {session!r} is about to get its proxy",
                    waits_for=("session", session),
                    retry_at=None,
                )
        connect = want.tunnel is not None
        eligible = self._eligible(now, target, rule, want.proxy_filter, connect=connect)
        once = rule.spacing is not None  # each proxy will do for one request, however free it is
        if self._has_free(eligible, ahead, once=once):
            return None
        return self._nothing_free(eligible, target)

    def has_other(
        self, want: Want, target: str, rule: TargetPolicy, now: float, besides: Collection[str]
    ) -> bool:
        """Return whether there is a proxy for a request, other than some; see :meth:`Pool.has_other`."""
        self._availability.advance(now)
        eligible = self._eligible(now, target, rule, want.proxy_filter, connect=False)
        among, resting = eligible.among, eligible.resting
        return any(
            node.proxy.name not in besides
            and node.proxy.name not in resting
            and (node.in_good_standing or node.free)
            and (node.gateway is None or not node.gateway.tripped)
            for node in (self._nodes if among is None else map(self._nodes.at, among))
        )

    # Which proxies may be used

    def _eligible(
        self,
        now: float,
        target: str,
        rule: TargetPolicy,
        proxy_filter: FilterSpec | None,
        *,
        connect: bool,
    ) -> _Eligible:
        pairs = self._pairs
        apart = target in pairs or (connect and CONNECT in pairs)
        if apart and now < pairs.refused_until(target):
            raise TargetRefusedError(target)
        if connect and now < pairs.refused_until(CONNECT):
            raise NoProxyMatchesError(
                f"no proxy of the pool ({len(self._nodes)}) does CONNECT, which https://{target} needs"
            )
        if proxy_filter is None and not rule.narrows_proxies and not apart:
            return _ALL
        wanted = rule.proxy_filter
        if proxy_filter is not None:
            own = (
                proxy_filter if isinstance(proxy_filter, ProxyFilter) else ProxyFilter(proxy_filter)
            )
            wanted = own if wanted is None else wanted & own
        key = wanted.key if wanted is not None else None
        return _Eligible(
            self._matching(wanted, target, rule) if wanted is not None else None,
            self._resting(target, rule, now, apart=apart, connect=connect),
            ("target", target, key) if rule.narrows_proxies or apart else key,
            wanted,
        )

    def _resting(
        self, target: str, rule: TargetPolicy, now: float, *, apart: bool, connect: bool
    ) -> Mapping[str, float]:
        """Return who rests at a target, and until when."""
        resting = self._spacing.resting(target, now) if rule.spacing is not None else {}
        if not apart:
            return resting
        resting = {**resting, **self._pairs.resting(target, now)}
        if connect:
            resting.update(self._pairs.resting(CONNECT, now))
        return resting

    def _matching(self, wanted: ProxyFilter, target: str, rule: TargetPolicy) -> list[int]:
        try:
            return self._nodes.matching(wanted)
        except NoProxyMatchesError as error:
            if rule.proxy_filter is None:
                raise
            raise NoProxyMatchesError(
                f"{error}; {rule.proxy_filter.text} is the filter of target {target!r}"
            ) from None

    def _has_free(self, eligible: _Eligible, besides: int, *, once: bool) -> bool:
        """Whether more than ``besides`` leases could be granted."""
        among, resting = eligible.among, eligible.resting
        free_in_all = self._availability.free
        if among is None and not (once or resting):
            return free_in_all > besides
        if among is None and once:
            free = self._availability.free_members
            if free - len(resting) > besides:
                return True
            if free <= besides or len(self._nodes) - len(resting) <= besides:
                return False
        if free_in_all <= besides:
            return False
        left = besides
        rooms: dict[Gateway, int] = {}
        for node in self._nodes if among is None else map(self._nodes.at, among):
            if node.free and node.proxy.name not in resting:
                count = 1 if once else node.free
                if node.gateway is not None:
                    room = rooms.get(node.gateway, node.gateway.leases)
                    count = min(count, room)
                    rooms[node.gateway] = room - count
                left -= count
                if left < 0:
                    return True
        return False

    def _nothing_free(self, eligible: _Eligible, target: str) -> Blocked:
        resting, among = eligible.resting, eligible.among
        moments = [self._availability.next_change()]
        if not resting:
            reason = "every proxy is at its cap or rate, cooling down or out"
            if self._gateways.shut or self._gateways.narrowed:
                reason += ", or its gateway is at its limit or does not answer"
        else:
            reason = f"every proxy rests at {target}, is at its cap or rate, cooling down or out"
            if among is None:
                moments.append(min(resting.values()))
            else:
                names = (self._nodes.at(index).proxy.name for index in among)
                moments += (resting[name] for name in names if name in resting)
        return Blocked(
            reason=reason,
            waits_for=eligible.waits_for,
            retry_at=min((moment for moment in moments if moment is not None), default=None),
        )

    # Which of them is used

    def _preferred(self, name: str, eligible: _Eligible) -> Node | None:
        """Return a node by its name, if it will do and is free."""
        node = self._nodes.get(name)
        if (
            node is None
            or not node.free
            or name in eligible.resting
            or (eligible.among is not None and node.index not in eligible.among)
            or not self._has_way(node, 0)
        ):
            return None
        return node

    def _warm(
        self, warm_connections: WarmConnections, tunnel: str, now: float, eligible: _Eligible
    ) -> Sequence[int]:
        """Return some of them that have an idle connection, and could be used at once."""
        wanted, resting, gateways = eligible.wanted, eligible.resting, self._gateways
        among = eligible.among
        proxies = self._availability.serving if among is None else len(among)

        def fits(node: Node) -> bool:
            proxy = node.proxy
            return (
                proxy.name not in resting
                and gateways.fits(node)
                and (wanted is None or wanted(proxy))
            )

        return warm_connections.offer(tunnel, now, proxies=proxies, fits=fits)

    def _pick(
        self,
        strategy: Strategy,
        pick: Pick,
        eligible: _Eligible,
        avoid: Collection[str],
        *,
        strictly: bool,
    ) -> int | None:
        among, resting = eligible.among, eligible.resting
        gateways = self._gateways
        if self._availability.free <= 0:
            return None
        if not avoid and not resting and not gateways.shut:
            return strategy.pick(pick)
        if len(resting) >= len(self._nodes):
            return None
        last = None
        for _ in range(_PICKS):
            index = strategy.pick(pick)
            if index is None:
                return None
            node = self._nodes.at(index)
            name = node.proxy.name
            if name not in avoid and name not in resting and gateways.fits(node):
                return index
            if index == last or not (resting or gateways.shut):
                break  # the same again, or to be avoided: as likely as not there is no other
            last = index
        if among is None and not avoid and not resting:
            return strategy.pick(attrs.evolve(pick, among=gateways.sample(self._rng), warm=()))
        nodes = self._nodes if among is None else map(self._nodes.at, among)
        rested = [node for node in nodes if node.proxy.name not in resting and gateways.fits(node)]
        others = [node.index for node in rested if node.proxy.name not in avoid]
        index = strategy.pick(attrs.evolve(pick, among=others, warm=()))
        if index is None and avoid and not strictly:
            index = strategy.pick(attrs.evolve(pick, among=[node.index for node in rested]))
        return index

    def _spread(
        self,
        strategy: Strategy,
        index: int,
        pick: Pick,
        eligible: _Eligible,
        avoid: Collection[str],
    ) -> int:
        """Return a proxy for a new session: ``index``, unless it has more than its share of them."""
        fair = _SESSION_SPREAD * (len(self._sessions) + 1) / len(self._nodes) + 1
        if self._sessions.on_proxy(self._nodes.at(index).proxy.name) < fair:
            return index
        among, resting = eligible.among, eligible.resting
        nodes = self._nodes if among is None else map(self._nodes.at, among)
        others = [
            node.index
            for node in nodes
            if node.proxy.name not in avoid
            and node.proxy.name not in resting
            and self._gateways.fits(node)
            and self._sessions.on_proxy(node.proxy.name) < fair
        ]
        other = strategy.pick(attrs.evolve(pick, among=others, warm=()))
        return index if other is None else other

    def _has_way(self, node: Node, besides: int) -> bool:
        """Return whether what a free proxy's request passes has room for more than ``besides``."""
        gateways = self._gateways
        return gateways.fits(node, besides) and (
            not gateways.narrowed or self._availability.free > besides
        )

    # Where a session is

    def _session_node(
        self, session: str, target: str, rule: TargetPolicy, now: float, besides: int = 0
    ) -> Node | Blocked | None:
        """Return a session's proxy, why it has to wait for it, or ``None`` to choose one."""
        name = self._sessions.find(session, now)
        if name is None:
            return None
        node = self._nodes.get(name)
        if node is not None and not node.lost:
            if rule.narrows_proxies:
                hold = self._refuses(session, node, target, rule, now, besides)
                if hold is not None:
                    return hold
            share = self._sessions.has_share(session, name, node.cap)
            if node.free > besides and share:
                if self._has_way(node, besides):
                    return node
                return Blocked(
                    reason=f"session {session!r} waits for the gateway of its proxy {name}",
                    waits_for=(name, session),
                    retry_at=self._availability.next_change(),
                )
            ready_at = self._ledger.ready_at(name)
            return Blocked(
                reason=f"session {session!r} waits for its proxy {name}",
                waits_for=(name, session),
                retry_at=ready_at if ready_at > now else None,
            )
        if self._session_lost == "reassign":
            return None
        if (
            self._session_lost == "wait"
            and node is not None
            and not node.leaving
            and (
                node.draining
                or node.health.state is COOLING
                or node.answered  # its credentials have worked, and are tried again
            )
        ):
            until = max(node.health.cooldown_until, self._ledger.ready_at(name))
            return Blocked(
                reason=f"session {session!r} waits for its proxy {name} to come back",
                waits_for=(name, session),
                retry_at=None if node.draining else until,
            )
        raise SessionLostError(f"session {session!r} lost its proxy {name}")

    def _refuses(
        self,
        session: str,
        node: Node,
        target: str,
        rule: TargetPolicy,
        now: float,
        besides: int,
    ) -> Blocked | None:
        """Return why a session's proxy may not be used for a target now, or ``None`` if it may."""
        name = node.proxy.name
        if rule.proxy_filter is not None and not rule.proxy_filter(node.proxy):
            raise NoProxyMatchesError(
                f"session {session!r} is on proxy {name}, which the filter {rule.proxy_filter.text} of "
                f"target {target!r} does not accept; use another session for this target"
            )
        if rule.spacing is None:
            return None
        until = self._spacing.resting(target, now).get(name)
        if until is None and not besides:
            return None
        return Blocked(
            reason=f"session {session!r} waits for its proxy {name}, which rests at {target}",
            waits_for=(name, session, target),
            retry_at=until,
        )
