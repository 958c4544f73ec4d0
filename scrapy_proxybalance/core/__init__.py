"""The core: choosing, limiting, holding and judging, as plain arithmetic on states and times.

What lives here may not know Scrapy, Twisted, I/O, a clock or a source of randomness; whoever drives
it passes ``now`` and a ``random.Random``, so that tests and simulations run it in virtual time.
"""

from .attempt import AnyAttempt, Attempt, Blocked, DirectAttempt, Want
from .dispatcher import Dispatcher
from .errors import (
    ConfigurationError,
    NoProxyAvailableError,
    NoProxyMatchesError,
    ProxyBalanceError,
    SessionLostError,
)
from .followup import Followup, RefusalPolicy, Step
from .gateways.limit import GatewayPolicy
from .history import History
from .limits.budget import Budget, Limit
from .limits.ledger import Ledger, LocalLedger
from .limits.rate import Rate
from .limits.retry_budget import RetryBudget
from .outcome import Outcome
from .policy import PoolPolicy
from .pool import Pool
from .proxies.filters import ProxyFilter
from .proxies.health import HealthPolicy, HealthState
from .proxies.proxy import Proxy
from .proxies.score import Score
from .proxies.warm_connections import WarmPolicy
from .snapshot import ProxyOverview, ProxySnapshot
from .strategies import STRATEGIES, Pick, Strategy, StrategyChoice, View
from .targets.gate import TargetGate
from .targets.policy import TargetPolicy, TargetRules
from .targets.record import TargetMemory, TargetState
from .verdict import Verdict

__all__ = [
    "STRATEGIES",
    "AnyAttempt",
    "Attempt",
    "Blocked",
    "Budget",
    "ConfigurationError",
    "DirectAttempt",
    "Dispatcher",
    "Followup",
    "GatewayPolicy",
    "HealthPolicy",
    "HealthState",
    "History",
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
    "RefusalPolicy",
    "RetryBudget",
    "Score",
    "SessionLostError",
    "Step",
    "Strategy",
    "StrategyChoice",
    "TargetGate",
    "TargetMemory",
    "TargetPolicy",
    "TargetRules",
    "TargetState",
    "Verdict",
    "View",
    "Want",
    "WarmPolicy",
]
