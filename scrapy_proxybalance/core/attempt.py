"""One attempt: what is wanted, what was granted, or why it has to wait."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, TypeAlias

import attrs

if TYPE_CHECKING:
    from collections.abc import Collection, Hashable

    from .gateways.gateway import Gateway
    from .proxies.filters import FilterSpec
    from .proxies.proxy import Proxy
    from .proxies.table import Node
    from .strategies import StrategyChoice


@attrs.frozen(kw_only=True)
class Want:
    """What a request asks for.

    :param target: what it goes to, like ``example.com``; see :class:`TargetRules`.
    :param session: keeps all requests of the same key on one proxy.
    :param proxy_filter: which proxies will do, see :class:`ProxyFilter`; its target's rule may
        narrow that.
    :param avoid: names of proxies to use only if no other is free.
    :param strictly: whether to use none of ``avoid`` even then.
    :param prefer: the name of a proxy to use, whatever the strategy, if it is free and will do; it
        counts for nothing with a session.
    :param strategy: chooses the proxy: a name of :data:`STRATEGIES`, or a class of your own;
        ``None`` for that of the target's rule, or else the policy's.
    :param tunnel: what the connection can be used again for, such as the site's host and port where
        the proxy tunnels; ``None`` where a new one costs little. See ``PoolPolicy.warm``.
    :param timeout: the request's own, in seconds, if a shorter one may end it, see
        :class:`Timeouts`; then :attr:`Attempt.timeout` says which. ``None`` to leave it alone.
    :param cuts: how often its page was cut off so already.
    :param retry: whether it counts towards the retry budget.
    :param overdue: whether it goes even where that has no room.
    :param direct: whether it goes through no proxy of the pool: only its target is asked.
    """

    target: str = ""
    session: str | None = None
    proxy_filter: FilterSpec | None = None
    avoid: Collection[str] = ()
    strictly: bool = False
    prefer: str | None = None
    strategy: StrategyChoice | None = None
    tunnel: str | None = None
    timeout: float | None = None
    cuts: int = 0
    retry: bool = False
    overdue: bool = False
    direct: bool = False


@attrs.define(eq=False, repr=False)
class Attempt:
    """The right to send one request through one proxy. It ends exactly once.

    For users: ``proxy``; ``target``; ``session``; ``started_at``: when it was granted, in seconds.
    ``target_probe``: whether it finds out if a target that was paused bears requests again. ``timeout``:
    seconds after which it is to be cut off, where that is less than the request's own;
    ``None`` otherwise. ``idle``: how many idle connections its proxy, or gateway, may have besides;
    ``None`` for any number. ``ended``.

    For the core: ``tunnel``: what its connection can be used again for. ``retry``: whether it was
    charged to the retry budget. ``probe``, ``gateway_probe``, ``pool_probe``: whether it finds out if
    its proxy, its gateway or the pool works again. ``cuts``: how often its page had been cut off before.
    ``in_flight``: how many were out on its proxy, or its gateway's, when it was granted, this one
    included. ``carried``: how many requests its connection is believed to have carried before; 0 for a
    new one. ``outage_suspected``, once it has failed: whether nobody could have carried the request;
    ``too_many``: whether it was one too many at once. Both deserve another try free of charge.
    """

    proxy: Proxy
    target: str
    session: str | None
    started_at: float
    probe: bool
    node: Node
    generation: int
    gateway: Gateway | None = None
    tunnel: str | None = None
    retry: bool = False
    target_probe: bool = False
    gateway_probe: bool = False
    pool_probe: bool = False
    outage_suspected: bool = False
    ended: bool = False
    timeout: float | None = None
    cuts: int = 0
    carried: int = 0
    in_flight: int = 1
    idle: int | None = None
    too_many: bool = False

    @property
    def timed_as(self) -> str:
        """Equal for attempts whose times compare: of one target, on a new connection or a warm one."""
        return f"warm {self.target}" if self.carried else self.target

    def __repr__(self) -> str:
        return f"<Attempt {self.proxy.name} for {self.target}{' ended' if self.ended else ''}>"


@attrs.define(eq=False)
class DirectAttempt:
    """The right to send one request past the pool: its target is asked, and no proxy.

    The fields are those of :class:`Attempt`.
    """

    target: str
    session: str | None
    started_at: float
    target_probe: bool = False
    ended: bool = False
    proxy: ClassVar[None] = None
    retry: ClassVar[bool] = False


#: What a request that goes has, through the pool or not.
AnyAttempt: TypeAlias = "Attempt | DirectAttempt"


@attrs.frozen(kw_only=True)
class Blocked:
    """Why a request cannot be sent now.

    :param reason: in words.
    :param waits_for: equal for requests that wait for the same thing.
    :param retry_at: when it is worth asking again; ``None`` when an attempt has to end first, infinity
        for a target that is suspended.
    :param by_target: whether its target must not be sent to now, whatever proxies there are.
    """

    reason: str
    waits_for: Hashable
    retry_at: float | None
    by_target: bool = False
