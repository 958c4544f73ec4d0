"""The state of a proxy in one word, the same for people and machines.

Every reporter takes it from here, so that the log, the pages, the metrics and the files say the same.
"""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING

from ..core import HealthState

if TYPE_CHECKING:
    from ..core import ProxyOverview, ProxySnapshot


class Standing(Enum):
    """The state of a proxy. Listed in this order.

    ``UNPROVEN``: it may be used, and nothing useful has come back through it yet, tried or not.
    ``UNREACHABLE``: nothing gets through its gateway, or the whole pool, at the moment.
    """

    HEALTHY = "healthy"
    UNPROVEN = "unproven"
    RECOVERING = "recovering"
    PROBING = "probing"
    COOLING = "cooling"
    UNREACHABLE = "unreachable"
    DRAINED = "drained"
    OUT = "out"


_OF_STATE = {
    HealthState.COOLING: Standing.COOLING,
    HealthState.PROBING: Standing.PROBING,
    HealthState.OUT: Standing.OUT,
}


def standing(one: ProxyOverview | ProxySnapshot) -> Standing:
    """Return the state of a proxy."""
    if one.draining:
        return Standing.DRAINED
    if one.state in _OF_STATE:
        return _OF_STATE[one.state]
    if not one.reachable:
        return Standing.UNREACHABLE
    if one.state is HealthState.RECOVERING:
        return Standing.RECOVERING
    return Standing.HEALTHY if one.answered else Standing.UNPROVEN
