"""What happened, as typed values. The core emits them; observers (stats, reports, users) subscribe.

No event holds a password: a proxy's representation is redacted. Times are seconds on the clock of
whoever drives the pool.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

import attrs

if TYPE_CHECKING:
    from collections.abc import Callable

    from .attempt import Attempt
    from .outcome import Outcome
    from .proxies.proxy import Proxy

logger = logging.getLogger("scrapy_proxybalance")


@attrs.define(kw_only=True)
class Event:
    """The base of all events. ``now``: when it happened, in seconds."""

    now: float


@attrs.define(kw_only=True)
class AttemptStarted(Event):
    """A request may go out through a proxy."""

    attempt: Attempt


@attrs.define(kw_only=True)
class AttemptEnded(Event):
    """An attempt has found its one end.

    ``failure``: the class of failure in a word, ``None`` for none. ``latency``: seconds to the
    response's headers, ``None`` if none came. ``charged``: the part of a failure that the
    proxy's health paid for, 0 to 1. ``in_flight``: how many were under way until then, with this one.
    """

    attempt: Attempt
    outcome: Outcome
    failure: str | None
    latency: float | None
    charged: float
    in_flight: int


@attrs.define(kw_only=True)
class RefusalWithdrawn(Event):
    """A refusal is not its target's: ``targets`` say the same through ``proxy``, or its gateway.

    ``status``: of the response that said so.
    """

    proxy: Proxy
    targets: tuple[str, ...]
    status: int


@attrs.define(kw_only=True)
class CooldownStarted(Event):
    """A proxy sits out until ``until``; ``step`` counts the cooldowns since it was last well, from 1."""

    proxy: Proxy
    until: float
    step: int


@attrs.define(kw_only=True)
class ProbeStarted(Event):
    """A proxy's cooldown is over and one request tries it."""

    proxy: Proxy


@attrs.define(kw_only=True)
class ProxyRecovered(Event):
    """A probe succeeded: the proxy earns its share back."""

    proxy: Proxy


@attrs.define(kw_only=True)
class ProxyOut(Event):
    """A proxy is out, because ``reason``: it is asked again at ``until``, or once it is updated."""

    proxy: Proxy
    reason: str
    until: float


@attrs.define(kw_only=True)
class ProxyAdded(Event):
    """A proxy joined the pool."""

    proxy: Proxy


@attrs.define(kw_only=True)
class ProxyRemoved(Event):
    """A removed proxy's last attempt has ended; it is gone."""

    proxy: Proxy


@attrs.define(kw_only=True)
class ProxyDrained(Event):
    """A proxy gets no further attempt until somebody enables it again."""

    proxy: Proxy


@attrs.define(kw_only=True)
class ProxyEnabled(Event):
    """A proxy that was drained, or out, may take leases again, by hand.

    :param anew: whether it was out, and starts over. One that was drained while it was cooling down
        continues to cool down.
    """

    proxy: Proxy
    anew: bool


@attrs.define(kw_only=True)
class CooldownShortened(Event):
    """A proxy may be probed sooner than was said, now: another has come back, or somebody said so."""

    proxy: Proxy


@attrs.define(kw_only=True)
class CooldownTakenBack(Event):
    """A proxy is as it was before: an outage of its gateway, of the pool, or a target was to blame."""

    proxy: Proxy


@attrs.define(kw_only=True)
class GatewayTripped(Event):
    """Nothing gets through a gateway that ``proxies`` share: only probes go there.

    ``failure``: the most frequent class of failure; ``targets``: those that may be down themselves, if
    it is no outage; none where no target can have caused the failures.
    """

    gateway: str
    proxies: int
    failure: str
    targets: tuple[str, ...] = ()


@attrs.define(kw_only=True)
class GatewayReopened(Event):
    """A probe was answered: a gateway's traffic grows back. ``seconds``: how long it was tripped.

    ``explained_by``: a target; then no probe was answered, but that target fails by itself, and what
    else failed is not enough for an outage.
    """

    gateway: str
    seconds: float
    explained_by: str | None = None


@attrs.define(kw_only=True)
class PoolTripped(Event):
    """Nothing gets through any gateway, although it did before: only probes go out.

    ``failure`` and ``targets``: as for a :class:`GatewayTripped`.
    """

    failure: str
    targets: tuple[str, ...] = ()


@attrs.define(kw_only=True)
class PoolReopened(Event):
    """A probe was answered: the traffic grows back. ``seconds``: how long the pool was tripped.

    ``explained_by``: as for a :class:`GatewayReopened`.
    """

    seconds: float
    explained_by: str | None = None


@attrs.define(kw_only=True)
class SessionStarted(Event):
    """A session was pinned to a proxy for the first time."""

    session: str
    proxy: Proxy


@attrs.define(kw_only=True)
class SessionReassigned(Event):
    """A session lost its proxy and goes on through another one: the target sees a new address."""

    session: str
    lost: str
    proxy: Proxy


@attrs.define(kw_only=True)
class SessionEnded(Event):
    """A session's mapping is gone; ``reason`` is ``ended``, ``expired`` or ``evicted``."""

    session: str
    reason: str


@attrs.define(kw_only=True)
class PairRested(Event):
    """A proxy rests at a target until ``until``, and carries all others.

    ``target``: ``CONNECT`` stands for all that need it. ``step``: counts its rests there in a row, from
    1. ``reason``: the class of failure, or ``refused_alone`` where the target refuses just that proxy.
    """

    proxy: Proxy
    target: str
    until: float
    step: int
    reason: str


@attrs.define(kw_only=True)
class TargetRefused(Event):
    """No proxy goes to a target: all that were asked refuse it. Its requests fail until ``until``."""

    target: str
    until: float


@attrs.define(kw_only=True)
class TargetPaused(Event):
    """A target gets no traffic until ``until``, because ``reason``; ``step`` counts pauses in a row."""

    target: str
    until: float
    step: int
    reason: str


@attrs.define(kw_only=True)
class TargetPauseExtended(Event):
    """A target that pauses already has asked for more: it gets no traffic until ``until``."""

    target: str
    until: float
    reason: str


@attrs.define(kw_only=True)
class TargetReleased(Event):
    """A target's pause or suspension was ended by hand; one request tries it next."""

    target: str


@attrs.define(kw_only=True)
class TargetProbing(Event):
    """A target's pause is over and one request tries it."""

    target: str


@attrs.define(kw_only=True)
class TargetRamping(Event):
    """A target answered its probe: its traffic grows back until ``until``, from ``rate`` requests/s."""

    target: str
    until: float
    rate: float


@attrs.define(kw_only=True)
class TargetReopened(Event):
    """A target's traffic has grown back."""

    target: str


@attrs.define(kw_only=True)
class TargetSuspended(Event):
    """A target gets no more traffic in this crawl, because ``reason``."""

    target: str
    reason: str


class EventBus:
    """Hands each event to those who want its type. One who raises is logged and harms nobody."""

    def __init__(self) -> None:
        self._observers: dict[type[Event], list[Callable[[Event], None]]] = {}
        self._of_all: list[Callable[[Event], None]] = []

    def subscribe(self, observer: Callable[[Any], None], *types: type[Event]) -> None:
        """Call ``observer`` with every event of these types from now on; with all if none is given."""
        if not types:
            self._of_all.append(observer)
        for wanted in types:
            self._observers.setdefault(wanted, []).append(observer)

    def wants(self, kind: type[Event]) -> bool:
        """Return whether anybody listens: the frequent events are not made in vain."""
        return bool(self._of_all) or kind in self._observers

    def emit(self, event: Event) -> None:
        """Hand ``event`` to its observers."""
        for observer in (*self._observers.get(type(event), ()), *self._of_all):
            try:
                observer(event)
            except Exception:
                logger.exception("An observer failed on %s", type(event).__name__)
