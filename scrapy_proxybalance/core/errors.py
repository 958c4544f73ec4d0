"""What the core raises. Messages name the thing, its value and the correction; none holds a password."""

from __future__ import annotations


class ProxyBalanceError(Exception):
    """The base of every error of this package."""


class ConfigurationError(ProxyBalanceError, ValueError):
    """An argument or a setting that cannot work; the message says which, and how to correct it."""


class NoProxyAvailableError(ProxyBalanceError):
    """No proxy could be leased.

    :param reason: what stood in the way, in words.
    :param retry_at: when it is worth asking again, in seconds on the caller's clock; ``None`` when
        that depends on an attempt being released.
    """

    def __init__(self, reason: str, retry_at: float | None = None) -> None:
        super().__init__(reason)
        self.retry_at = retry_at


class SessionLostError(ProxyBalanceError):
    """A session's proxy is gone and the pool was told not to choose another one."""


class NoProxyMatchesError(ProxyBalanceError):
    """A filter that no proxy of the pool matches, whatever their state."""


class TargetRefusedError(NoProxyMatchesError):
    """A target that no proxy of the pool is willing to go to.

    :param target: which.
    """

    def __init__(self, target: str) -> None:
        super().__init__(
            f"no proxy goes to {target}: all that were asked refuse it, as providers do with domains "
            "that they forbid; ask your provider, or send these requests through other proxies"
        )
