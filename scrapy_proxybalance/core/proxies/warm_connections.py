"""Which proxies have an idle connection to a site, as far as one can tell: no connection is seen here.

Books of what ended leases leave behind and what new ones take, and how much of that is to be used. It
opens and closes nothing, and chooses nothing: what it believes may be wrong, as the other side closes
connections without a word, so nothing but a preference among good proxies may rest on it.
"""

from __future__ import annotations

from collections import OrderedDict
from itertools import islice
from math import exp
from typing import TYPE_CHECKING

import attrs

from ..errors import ConfigurationError
from .health import HealthState

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from ..gateways.limit import GatewayPolicy
    from .table import Node

# So many requests in a row go over one connection because it is there; then the proxy is chosen like
# any other.
RUN = 30
# A proxy that had so many times its even share of the last minutes is not preferred, and not before it
# had a run.
SHARE = 3.0
# A attempt counts for 37 % of itself after so many seconds.
_MEMORY = 300.0
_UNIT_HOLDS = 1.0
# So many are offered of so many that are looked at.
_OFFERED = 3
_LOOKED_AT = 8
# Connections that are remembered.
_MOST = 10_000
# No number overflows.
_LARGEST_EXPONENT = 300.0


@attrs.frozen(kw_only=True)
class WarmPolicy:
    """What keeps connections open.

    :param idle_seconds: for how long to believe that an idle connection is there.
    :param most_idle: idle connections that are kept per proxy and site.
    """

    idle_seconds: float = 60.0
    most_idle: int = 8

    def __attrs_post_init__(self) -> None:
        if not 0 < self.idle_seconds < float("inf"):
            raise ConfigurationError(f"warm: idle_seconds {self.idle_seconds!r} is not above 0")
        if self.most_idle < 1:
            raise ConfigurationError(f"warm: most_idle {self.most_idle!r} is below 1")


# Of each proxy its idle connections to one site, the longest idle first: since when, and how many
# requests each has carried. The proxies are in the order in which they were last used.
_Site = OrderedDict["Node", list[tuple[float, int]]]


class WarmConnections:
    """The idle connections of a pool, by what they can be used again for.

    :param policy: what keeps them open.
    :param default: what holds for gateways.
    :param by_name: what holds instead for some, by ``host:port``.
    :param now: seconds on the pool's clock.
    """

    def __init__(
        self,
        policy: WarmPolicy,
        default: GatewayPolicy,
        by_name: Mapping[str, GatewayPolicy],
        now: float,
    ) -> None:
        self._idle_seconds = policy.idle_seconds
        self._most_idle = policy.most_idle
        self._default = default
        self._by_name = by_name
        self._some_rotate = default.rotating or any(one.rotating for one in by_name.values())
        self._sites: OrderedDict[str, _Site] = OrderedDict()
        self._size = 0
        # Leases per proxy and in all, in a unit that grows, so that the others fade.
        self._used: dict[Node, float] = {}
        self._total = 0.0
        self._unit = 1.0
        self._unit_until = float("-inf")
        self._began = now

    def __len__(self) -> int:
        return self._size

    def offer(
        self,
        tunnel: str,
        now: float,
        *,
        proxies: int,
        fits: Callable[[Node], bool] | None = None,
    ) -> list[int]:
        """Return a few proxies that have an idle connection, by index, the longest unused first.

        All of them may be used, are healthy, and have not had more than their part.

        :param tunnel: what the connection is to be used for.
        :param proxies: that share the requests.
        :param fits: which proxies will do; ``None`` for all.
        """
        site = self._sites.get(tunnel)
        if not site:
            return []
        if now >= self._unit_until:
            self._tick(now)
        used, expired = self._used, now - self._idle_seconds
        allowed = max(RUN * self._unit, SHARE * self._total / (proxies or 1))
        offered: list[int] = []
        for node in site:
            if (
                used.get(node, 0.0) >= allowed
                or node.free <= 0
                or node.health.state is not HealthState.HEALTHY
                or site[node][-1][0] < expired
                or (fits is not None and not fits(node))
            ):
                return self._weed(site, allowed, expired, fits)
            offered.append(node.index)
            if len(offered) == _OFFERED:
                break
        return offered

    def _weed(
        self,
        site: _Site,
        allowed: float,
        expired: float,
        fits: Callable[[Node], bool] | None,
    ) -> list[int]:
        """Do the same where some are in the way: forget those for good, or put them last."""
        offered: list[int] = []
        for node in list(islice(site, _LOOKED_AT)):
            if node.health.state is not HealthState.HEALTHY or (
                site[node][-1][0] < expired or self._used.get(node, 0.0) >= allowed
            ):
                self._size -= len(site.pop(node))
            elif node.free <= 0 or (fits is not None and not fits(node)):
                site.move_to_end(node)
            else:
                offered.append(node.index)
                if len(offered) == _OFFERED:
                    break
        return offered

    def take(self, node: Node, tunnel: str, now: float) -> int:
        """Take note that a request goes through a proxy: over the longest idle connection.

        :return: how many requests that has carried; 0 for a new one.
        """
        if now >= self._unit_until:
            self._tick(now)
        unit, used = self._unit, self._used
        used[node] = used.get(node, 0.0) + unit
        self._total += unit
        site = self._sites.get(tunnel)
        idle = site.get(node) if site else None
        if site is None or idle is None:
            return 0
        expired = now - self._idle_seconds
        carried = 0
        while idle and not carried:
            since, requests = idle.pop(0)
            self._size -= 1
            if since >= expired:
                carried = requests
        if not idle:
            del site[node]
        return carried

    def put_back(self, node: Node, tunnel: str, now: float, carried: int) -> None:
        """Take note that a connection is idle: a request has had its whole response over it.

        :param carried: how many requests it has carried, with that one.
        """
        if carried >= RUN or (self._some_rotate and self._rotates(node)):
            return
        sites = self._sites
        site = sites.get(tunnel)
        if site is None:
            self._tidy(now)
            site = sites[tunnel] = OrderedDict()
        else:
            sites.move_to_end(tunnel)
        idle = site.get(node)
        if idle is None:
            site[node] = [(now, carried)]
        else:
            idle.append((now, carried))
            site.move_to_end(node)
            if len(idle) > self._most_idle:
                del idle[0]
                return
        self._size += 1
        if self._size > _MOST:
            self._drop_first()

    def forget(self, node: Node) -> None:
        """Forget a proxy that is gone."""
        # Its connections are never offered, as it has no attempt free, and expire.
        self._total -= self._used.pop(node, 0.0)

    def _tick(self, now: float) -> None:
        """Let the unit grow."""
        self._unit_until = now + _UNIT_HOLDS
        exponent = (now - self._began) / _MEMORY
        if exponent > _LARGEST_EXPONENT:
            shrunk = exp(-min(exponent, 2 * _LARGEST_EXPONENT))
            self._began, exponent = now, 0.0
            self._total *= shrunk
            for node in self._used:
                self._used[node] *= shrunk
        self._unit = exp(exponent)

    def _rotates(self, node: Node) -> bool:
        return self._by_name.get(node.proxy.gateway, self._default).rotating

    def _tidy(self, now: float) -> None:
        """Forget a site or two that nobody has asked for in a long time."""
        expired = now - self._idle_seconds
        for _ in range(2):
            if not self._sites:
                return
            site = next(iter(self._sites.values()))
            if site and site[next(reversed(site))][-1][0] >= expired:
                return
            self._size -= sum(map(len, site.values()))
            self._sites.popitem(last=False)

    def _drop_first(self) -> None:
        """Forget the connections of one proxy to the site that was left alone for longest."""
        while self._sites:
            site = next(iter(self._sites.values()))
            if site:
                _, idle = site.popitem(last=False)
                self._size -= len(idle)
                return
            self._sites.popitem(last=False)
