"""One log line for each thing that an operator would want to have been told."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from ..pool.events import (
    CooldownStarted,
    ProxyOut,
    ProxyRecovered,
    SessionReassigned,
    TargetPaused,
    TargetReopened,
    TargetSuspended,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from ..pool import Pool
    from ..pool.events import Event

logger = logging.getLogger(__name__)


class EventLog:
    """An observer that logs.

    :param pool: whose events it sees.
    :param clock: the pool's, in seconds.
    """

    def __init__(self, pool: Pool, clock: Callable[[], float]) -> None:
        self._pool = pool
        self._clock = clock
        pool.events.subscribe(
            self._log,
            *(CooldownStarted, ProxyRecovered, ProxyOut, SessionReassigned),
            *(TargetPaused, TargetReopened, TargetSuspended),
        )

    def _log(self, event: Event) -> None:
        if isinstance(event, CooldownStarted):
            logger.info(
                "Proxy %s cools down for %.0f s (no. %d in a row); %d of %d in service",
                event.proxy.name,
                event.until - self._clock(),
                event.step,
                self._pool.in_service,
                len(self._pool),
            )
        elif isinstance(event, ProxyRecovered):
            logger.info("Proxy %s answered its probe and comes back gradually", event.proxy.name)
        elif isinstance(event, ProxyOut):
            logger.error(
                "Proxy %s is out of the pool: %s. Correct its credentials; it is not tried again "
                "until they change.",
                event.proxy.name,
                event.reason,
            )
        elif isinstance(event, SessionReassigned):
            logger.info(
                "Session %s lost its proxy %s and goes on through %s",
                event.session,
                event.lost,
                event.proxy.name,
            )
        elif isinstance(event, TargetPaused):
            logger.warning(
                "Target %s paused for %.0f s (no. %d in a row): %s",
                event.target,
                event.until - self._clock(),
                event.step,
                event.reason,
            )
        elif isinstance(event, TargetReopened):
            logger.info("Target %s answers again: reopened", event.target)
        elif isinstance(event, TargetSuspended):
            logger.error(
                "Target %s gets no more requests in this crawl: %s. Review your permission and "
                "your rate before you crawl it again.",
                event.target,
                event.reason,
            )
