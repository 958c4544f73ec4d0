"""What an operator may do to a crawl from outside: with the token, and each act is logged.

Knows no HTTP. To be called in the crawl's thread.
"""

from __future__ import annotations

import hmac
import logging
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ..observed import OperatedCrawl
    from .view import LiveView

logger = logging.getLogger("scrapy_proxybalance")

#: Seconds that a target is paused for by hand, unless said otherwise, and at most.
PAUSE = 600.0
_PAUSE_MAX = 7 * 24 * 3600.0

#: What can be done to what.
PROXY_ACTIONS = ("drain", "enable", "end-cooldown")
TARGET_ACTIONS = ("pause", "resume")


class RefusedError(ValueError):
    """Something that makes no sense was asked for."""


class Actions:
    """Acts on one crawl.

    :param token: allows its holder to act; ``None``: nobody may.
    :param view: is refreshed after each act.
    """

    def __init__(self, context: OperatedCrawl, token: str | None, view: LiveView) -> None:
        self._context = context
        self._token = token
        self._view = view

    @property
    def possible(self) -> bool:
        """Whether anybody may act."""
        return self._token is not None

    def allows(self, token: str) -> bool:
        """Return whether this is the token. How long that takes tells nothing of the right one."""
        return self._token is not None and hmac.compare_digest(
            self._token.encode(), token.encode(errors="replace")
        )

    def on_proxy(self, action: str, name: str) -> bool:
        """Drain or enable a proxy, or end its cooldown; return whether that has changed anything.

        :param action: one of :data:`PROXY_ACTIONS`.
        :raises KeyError: if there is no such proxy.
        """
        context = self._context
        pool, now = context.pool, context.clock()
        if action == "drain":
            changed = pool.drain(name, now)
        elif action == "enable":
            changed = pool.enable(name, now)
        else:
            changed = pool.end_cooldown(name, now)
        self._done(f"{action} proxy {name}", changed=changed)
        return changed

    def on_target(self, action: str, name: str, how: Mapping[str, Any]) -> bool:
        """Pause a target or resume it; return whether that has changed anything.

        To resume is to have one request try it; then its traffic grows back.

        :param action: one of :data:`TARGET_ACTIONS`.
        :param how: ``seconds`` of a pause.
        :raises RefusedError: if these are invalid, or no target can have that name.
        """
        if not name.isprintable():  # it would write what it likes into the log
            raise RefusedError(f"target {name!r}: give a host")
        context = self._context
        target, now = context.pool.rules.target_of(name), context.clock()
        if action == "pause":
            seconds = _seconds(how.get("seconds", PAUSE))
            changed = context.pool.targets.pause(target, seconds, now, "paused by hand")
            if changed:
                context.recall(target)
        else:
            context.dropped_targets.discard(target)
            changed = context.pool.targets.release(target, now)
        context.target_changed(target)
        self._done(f"{action} target {target}", changed=changed)
        return changed

    def _done(self, what: str, *, changed: bool) -> None:
        logger.warning(
            "By hand: %s%s",
            what,
            "" if changed else " (nothing to change)",
            extra={"spider": self._context.crawler.spider},
        )
        self._view.outdate()
        self._context.look_again()


def _seconds(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise RefusedError(f"seconds {value!r}: give a number")
    if not 0 < value <= _PAUSE_MAX:
        raise RefusedError(f"seconds {value!r}: give more than 0, and {_PAUSE_MAX:.0f} at most")
    return float(value)
