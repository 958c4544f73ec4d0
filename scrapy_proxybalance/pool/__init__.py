"""The core: choosing, limiting, holding and judging, as plain arithmetic on states and times.

What lives here may not know Scrapy, Twisted, I/O, a clock or a source of randomness; whoever drives
it passes ``now`` and a ``random.Random``, so that tests and simulations run it in virtual time.
"""

from .budget import Budget, Limit
from .errors import (
    ConfigurationError,
    NoProxyAvailableError,
    NoProxyMatchesError,
    ProxyBalanceError,
    SessionLostError,
)
from .filters import ProxyFilter
from .gateway_limit import GatewayPolicy
from .health import HealthPolicy, HealthState
from .lease import Hold, Lease
from .ledger import Ledger, LocalLedger
from .limits import Rate
from .outcome import Outcome
from .policy import PoolPolicy
from .pool import Pool
from .proxy import Proxy
from .score import Score
from .snapshot import ProxyOverview, ProxySnapshot
from .strategies import STRATEGIES, Pick, Strategy, StrategyChoice, View
from .target_policy import TargetPolicy, TargetRules
from .target_record import TargetMemory, TargetState
from .targets import TargetGate
from .warmth import WarmPolicy

__all__ = [
    "STRATEGIES",
    "Budget",
    "ConfigurationError",
    "GatewayPolicy",
    "HealthPolicy",
    "HealthState",
    "Hold",
    "Lease",
    "Ledger",
    "Limit",
    "LocalLedger",
    "NoProxyAvailableError",
    "NoProxyMatchesError",
    "Outcome",
    "Pick",
    "Pool",
    "PoolPolicy",
    "Proxy",
    "ProxyBalanceError",
    "ProxyFilter",
    "ProxyOverview",
    "ProxySnapshot",
    "Rate",
    "Score",
    "SessionLostError",
    "Strategy",
    "StrategyChoice",
    "TargetGate",
    "TargetMemory",
    "TargetPolicy",
    "TargetRules",
    "TargetState",
    "View",
    "WarmPolicy",
]
