"""What a pool does unless a proxy says otherwise."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs

from .errors import ConfigurationError
from .gateways.limit import GatewayPolicy
from .proxies.health import HealthPolicy
from .targets.policy import TargetPolicy

if TYPE_CHECKING:
    from collections.abc import Mapping

    from .limits.rate import Rate
    from .proxies.warm_connections import WarmPolicy
    from .strategies import StrategyChoice

SESSION_LOST_POLICIES = ("reassign", "wait", "fail")


@attrs.frozen(kw_only=True)
class PoolPolicy:
    """What a pool does unless a proxy says otherwise.

    :param strategy: chooses the proxies: a name of :data:`STRATEGIES`, or a class of your
        own, derived from :class:`Strategy`.
    :param max_in_flight: requests at once per proxy.
    :param rate: requests over time per proxy; ``None`` for no limit.
    :param session_ttl: seconds of idleness after which a session is forgotten.
    :param session_limit: sessions remembered.
    :param session_lost: ``reassign``, ``wait`` or ``fail`` when a session's proxy is lost.
    :param timeout_min: seconds that no adaptive timeout is below, see ``Pool.timeout``.
    :param health: when proxies are sent out.
    :param gateways: how much gateways carry that several proxies share.
    :param gateways_by_name: how much others carry, by ``host:port``, shared or not.
    :param warm: what keeps connections open, so that proxies that have one can be preferred; ``None`` to
        prefer none.
    :param targets: what holds for a target: how much it may get, how long it is left alone.
    :param targets_by_name: what holds instead for some, see :class:`TargetRules`.
    """

    strategy: StrategyChoice = "weighted"
    max_in_flight: int = 4
    rate: Rate | None = None
    session_ttl: float = 600.0
    session_limit: int = 100_000
    session_lost: str = "reassign"
    timeout_min: float = 5.0
    health: HealthPolicy = attrs.field(factory=HealthPolicy)
    gateways: GatewayPolicy = attrs.field(factory=GatewayPolicy)
    gateways_by_name: Mapping[str, GatewayPolicy] = attrs.field(factory=dict)
    warm: WarmPolicy | None = None
    targets: TargetPolicy = attrs.field(factory=TargetPolicy)
    targets_by_name: Mapping[str, TargetPolicy] = attrs.field(factory=dict)

    def __attrs_post_init__(self) -> None:
        if self.max_in_flight < 1:
            raise ConfigurationError(f"max_in_flight {self.max_in_flight!r} is below 1")
        if self.session_ttl <= 0:
            raise ConfigurationError(f"session_ttl {self.session_ttl!r} s is not above 0")
        if not 0 < self.timeout_min < float("inf"):
            raise ConfigurationError(f"timeout_min {self.timeout_min!r} s is not above 0")
        if self.session_limit < 1:
            raise ConfigurationError(f"session_limit {self.session_limit!r} is below 1")
        if self.session_lost not in SESSION_LOST_POLICIES:
            raise ConfigurationError(
                f"session_lost {self.session_lost!r} is not one of "
                f"{', '.join(SESSION_LOST_POLICIES)}"
            )
