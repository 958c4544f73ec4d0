"""What the pool hands out: an attempt, or the reason why there is none now."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs

if TYPE_CHECKING:
    from collections.abc import Hashable

    from .availability.gateways import Gateway
    from .proxies.proxy import Proxy
    from .proxies.table import Node


@attrs.define(eq=False, repr=False)
class Attempt:
    """The right to send one request through one proxy. It ends exactly once, in ``Pool.release``.

    ``timeout``: seconds after which its request is cut off, where ``Pool.timeout`` has set less than
    the user's own; ``None`` otherwise. ``cuts``: how often its page had been cut off so before.
    ``outage_suspected``, once it has failed: whether that looks like an outage of the gateway or of the
    pool, so that nobody could have carried the request, and it deserves another try free of charge.
    ``tunnel``: what its connection can be used again for, ``None`` where that does not matter.
    ``in_flight``: how many leases were out on its proxy, or its gateway's, when it was granted, this one
    included. ``idle``: how many idle connections its proxy, or gateway, may have besides; ``None`` for
    any number. ``too_many``, once it has failed: whether it was one too many at once, and deserves
    another try free of charge. ``carried``: how many requests that connection is believed to have
    carried before; 0 for a new one.
    """

    proxy: Proxy
    target: str
    session: str | None
    started_at: float
    probe: bool
    node: Node
    generation: int
    gateway: Gateway | None = None
    gateway_probe: bool = False
    pool_probe: bool = False
    outage_suspected: bool = False
    ended: bool = False
    timeout: float | None = None
    cuts: int = 0
    tunnel: str | None = None
    carried: int = 0
    in_flight: int = 1
    idle: int | None = None
    too_many: bool = False

    @property
    def timed_as(self) -> str:
        """Equal for leases whose times compare: of one target, on a new connection or on a warm one."""
        return f"warm {self.target}" if self.carried else self.target

    def __repr__(self) -> str:
        return f"<Attempt {self.proxy.name} for {self.target}{' ended' if self.ended else ''}>"


@attrs.frozen(kw_only=True)
class Blocked:
    """Why a request cannot be sent now.

    :param reason: in words.
    :param waits_for: equal for requests that wait for the same thing.
    :param retry_at: when it is worth asking again; ``None`` when an attempt has to end first.
    """

    reason: str
    waits_for: Hashable
    retry_at: float | None
