"""What holds for a target: how much it may get, and how long it is left alone when it refuses.

Names of targets are matched here, and nowhere else: a host, a domain with its subdomains, a pattern.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs

from .errors import ConfigurationError

if TYPE_CHECKING:
    from .filters import ProxyFilter
    from .limits import Rate


@attrs.frozen(kw_only=True)
class TargetPolicy:
    """How much a target may get, across all proxies, and how long one that refuses is left alone.

    :param pause: seconds of the first pause; each further one in a row doubles.
    :param pause_max: seconds that no pause exceeds, whatever the target asks for.
    :param max_pauses: pauses in a row after which the target is suspended.
    :param forbidden_threshold: 403s in a row that count as one refusal.
    :param ramp: seconds over which traffic grows back after a pause.
    :param rate: requests over time; ``None`` for no limit.
    :param max_in_flight: requests at once; ``None`` for no limit.
    :param spacing: seconds between two requests through the same proxy; ``None`` for no limit.
    :param matching: which proxies may be used; ``None`` for all.
    """

    pause: float = 60.0
    pause_max: float = 3600.0
    max_pauses: int = 5
    forbidden_threshold: int = 3
    ramp: float = 60.0
    rate: Rate | None = None
    max_in_flight: int | None = None
    spacing: float | None = None
    matching: ProxyFilter | None = None

    def __attrs_post_init__(self) -> None:
        if not 0 < self.pause <= self.pause_max:
            raise ConfigurationError(
                f"pause {self.pause!r} s has to be above 0 and no longer than pause_max "
                f"({self.pause_max!r} s)"
            )
        for name in ("max_pauses", "forbidden_threshold", "max_in_flight"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ConfigurationError(f"{name} {value!r} is below 1")
        for name in ("ramp", "spacing"):
            value = getattr(self, name)
            if value is not None and not 0 < value < float("inf"):
                raise ConfigurationError(f"{name} {value!r} s is not above 0")
