"""How a lease can end, and whose fault it was."""

from __future__ import annotations

from enum import Enum


class Outcome(Enum):
    """What a lease ended with. A success is the proxy's: it says nothing about the page."""

    SUCCESS = "success"
    PROXY_FAULT = "proxy_fault"
    GATEWAY_FAULT = "gateway_fault"
    TARGET_SIGNAL = "target_signal"
    AMBIGUOUS = "ambiguous"
    IGNORED = "ignored"


#: The outcomes by name: to look one up in its class takes 0.1 us on Python 3.10 and 3.11.
SUCCESS, PROXY_FAULT, GATEWAY_FAULT, TARGET_SIGNAL, AMBIGUOUS, IGNORED = Outcome


#: The class of failure of a proxy that does not accept its credentials; it puts the proxy out.
PROXY_AUTH = "proxy_auth"
#: The class of failure of an attempt that was cut off because it took too long.
TIMEOUT = "timeout"

#: The classes of failure that come before the proxy is told the target: never the target's doing.
BEFORE_THE_TARGET = frozenset((PROXY_AUTH, "connection_refused", "connect_error", "dns"))
