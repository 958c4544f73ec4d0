"""How many requests may be in flight at once, and what says so: the target, the gateways or the pool.

Only shows what others hold; it holds nothing itself.
"""

from __future__ import annotations

import attrs


@attrs.frozen(kw_only=True)
class Limit:
    """One limit on the requests at once.

    :param kind: ``target``, ``gateway`` or ``pool``.
    :param name: of the target or the gateway; empty for all gateways together, and for the pool.
    :param limit: requests; infinity for no limit, 0 while nothing but probes may go.
    :param in_flight: requests that count against it now.
    """

    kind: str
    name: str
    limit: float
    in_flight: int

    def __str__(self) -> str:
        what = f"{self.kind} {self.name}" if self.name else self.kind
        limit = "no limit" if self.limit == float("inf") else f"limit {self.limit:g}"
        return f"{what}: {limit}, in flight {self.in_flight}"


@attrs.frozen(kw_only=True)
class Budget:
    """What may be in flight at once to a target.

    :param target: what the target may get.
    :param gateways: what they carry in all, with the caps of the proxies that have a gateway of their
        own; by itself if there is only one.
    :param pool: what the proxies in service carry by their own caps.
    :param each_gateway: every gateway that has a limit.
    """

    target: Limit
    gateways: Limit
    pool: Limit
    each_gateway: tuple[Limit, ...]

    @property
    def binds(self) -> Limit:
        """The least of the three; of equal ones the pool, then the gateways."""
        return min((self.pool, self.gateways, self.target), key=lambda limit: limit.limit)

    def __str__(self) -> str:
        shown = "; ".join(map(str, (self.target, self.gateways, self.pool)))
        return f"{self.binds.kind} binds ({shown})"
