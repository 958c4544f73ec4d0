"""Errors of requests that are not sent, for whoever of ours holds them."""

from __future__ import annotations

from scrapy.exceptions import IgnoreRequest

from ..core import Blocked, NoProxyAvailableError


class TargetHeldError(NoProxyAvailableError):
    """A target must not be sent to now, whatever proxies there are.

    :param target: which.
    :param retry_at: as for any :class:`NoProxyAvailableError`.
    """

    def __init__(self, target: str, retry_at: float | None) -> None:
        super().__init__(f"{target} is paused or at its limit", retry_at)
        self.target = target


def dropped(target: str) -> IgnoreRequest:
    """Return the error of a request to a target that is dropped from the crawl."""
    return IgnoreRequest(f"{target} refuses and is dropped from this crawl")


def unavailable(target: str, blocked: Blocked) -> NoProxyAvailableError:
    """Return the error of a request that is blocked, for whoever waits no longer."""
    if blocked.by_target:
        return TargetHeldError(target, blocked.retry_at)
    return NoProxyAvailableError(blocked.reason, blocked.retry_at)
