"""One log line for each thing that an operator would want to have been told."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from ..core.events import (
    CooldownStarted,
    GatewayReopened,
    GatewayTripped,
    PairRested,
    PoolReopened,
    PoolTripped,
    ProxyOut,
    ProxyRecovered,
    RefusalWithdrawn,
    SessionReassigned,
    TargetPaused,
    TargetPauseExtended,
    TargetRamping,
    TargetRefused,
    TargetReopened,
    TargetSuspended,
)
from ..core.outcome import NO_CONNECT
from ..util.wall_clock import local_time
from ..util.wording import ROBOTS_NOT_FETCHED, counted
from .scrapy_hooks import on_closed

if TYPE_CHECKING:
    from ..core.events import Event
    from .figures import Figures
    from .observed import ObservedCrawl
    from .scrapy_hooks import Spider

logger = logging.getLogger("scrapy_proxybalance.events")

# So many proxies that are out have a line each.
_OUT_LINES = 5
# So many pairs that rest have a line each, and so many targets that all proxies refuse.
_REST_LINES = 10
# So many targets that may be down are named.
_NAMED = 5


def _or_down(targets: tuple[str, ...]) -> str:
    """Return the question that is left if an outage may as well be its targets' own."""
    if not targets:
        return ""
    names = ", ".join(targets[:_NAMED]) + (", ..." if len(targets) > _NAMED else "")
    return f" Nothing else was asked for meanwhile than {names}: see whether that answers at all."


class EventLog:
    """An observer that logs.

    :param context: whose pool's events it sees.
    :param figures: which has seen them before.
    """

    def __init__(self, context: ObservedCrawl, figures: Figures) -> None:
        self._context = context
        self._figures = figures
        self._refused: set[str] = set()
        self._withdrawn: set[str] = set()  # gateways
        self._rests, self._targets_refused = 0, 0
        on_closed(context, self._log_refused)
        events = context.pool.events
        events.subscribe(self._log, *(CooldownStarted, ProxyRecovered, ProxyOut, SessionReassigned))
        events.subscribe(self._log_rest, PairRested, TargetRefused)
        events.subscribe(self._log_withdrawn, RefusalWithdrawn)
        events.subscribe(
            self._log_outage, *(GatewayTripped, GatewayReopened, PoolTripped, PoolReopened)
        )
        events.subscribe(
            self._log_target,
            *(TargetPaused, TargetPauseExtended, TargetRamping, TargetReopened, TargetSuspended),
        )

    def _log(self, event: Event) -> None:
        if isinstance(event, CooldownStarted):
            logger.info(
                "Proxy %s cools down for %.0f s (no. %d in a row); %d of %d in service",
                event.proxy.name,
                event.until - event.now,
                event.step,
                self._context.pool.in_service,
                len(self._context.pool),
            )
        elif isinstance(event, ProxyRecovered):
            self._refused.discard(event.proxy.name)
            logger.info("Proxy %s answered its probe and comes back gradually", event.proxy.name)
        elif isinstance(event, ProxyOut):
            self._log_out(event)
        elif isinstance(event, SessionReassigned):
            logger.info(
                "Session %s lost its proxy %s and goes on through %s",
                event.session,
                event.lost,
                event.proxy.name,
            )

    def _log_withdrawn(self, event: RefusalWithdrawn) -> None:
        gateway = event.proxy.gateway
        logger.log(
            logging.DEBUG if gateway in self._withdrawn else logging.WARNING,
            "%s say the same through %s (response %d), which no site can do: it is taken for that "
            "proxy's, or its gateway's, and less is sent through it",
            " and ".join(event.targets),
            event.proxy.name,
            event.status,
        )
        self._withdrawn.add(gateway)

    def _log_rest(self, event: PairRested | TargetRefused) -> None:
        """Log it for the first few; of a pair once for its rests in a row."""
        seconds = event.until - event.now
        if isinstance(event, TargetRefused):
            self._targets_refused += 1
            if self._targets_refused <= _REST_LINES:
                logger.warning(
                    "No proxy goes to %s: all that were asked refuse it. Its requests fail for %.0f s, "
                    "then it is asked for again",
                    event.target,
                    seconds,
                )
            return
        if event.step > 1:
            return
        self._rests += 1
        if self._rests > _REST_LINES:
            if self._rests == _REST_LINES + 1:
                logger.info(
                    "More proxies rest at a target: the stats count them (proxybalance/pairs/rests), "
                    "and the summary lists the targets"
                )
            return
        name = event.proxy.name
        if event.reason == "refused_alone":
            logger.info(
                "%s refuses proxy %s and serves the others: it is not asked through %s for %.0f s",
                event.target,
                name,
                name,
                seconds,
            )
        elif event.reason == NO_CONNECT:
            logger.info(
                "Proxy %s does no CONNECT: it gets no https pages for %.0f s", name, seconds
            )
        else:
            logger.info(
                "Proxy %s refuses to go to %s: it is not asked for that host for %.0f s",
                name,
                event.target,
                seconds,
            )

    def _log_out(self, event: ProxyOut) -> None:
        """Log it for the first few proxies, once each: a list that is all wrong is one line more."""
        name, refused = event.proxy.name, self._refused
        if name in refused:
            return  # it was asked again after a while
        refused.add(name)
        if len(refused) <= _OUT_LINES:
            logger.error(
                "Proxy %s is out of the pool: %s. %s; it is asked again after a while.",
                name,
                event.reason,
                "Add them" if event.proxy.username is None else "Correct its credentials",
            )
        elif len(refused) == _OUT_LINES + 1:
            logger.error(
                "More proxies are out of the pool for the same reason; the log says at the end how many."
            )

    def _log_refused(self, spider: Spider) -> None:
        if len(self._refused) > _OUT_LINES:
            logger.error(
                "The credentials of %s were refused and have not worked since: %s, ...",
                counted(len(self._refused), "proxy", "proxies"),
                ", ".join(sorted(self._refused)[:_OUT_LINES]),
                extra={"spider": spider},
            )

    def _log_outage(self, event: Event) -> None:
        if isinstance(event, GatewayTripped):
            logger.warning(
                "Nothing gets through gateway %s any more (%s); requests are held, and only probes go "
                "through its %s. If that lasts, check the gateway's address and syntax, the "
                "credentials, the region and session parameters, and the provider's limits and "
                "your balance there.%s",
                event.gateway,
                event.failure,
                counted(event.proxies, "proxy", "proxies"),
                _or_down(event.targets),
            )
        elif isinstance(event, PoolTripped):
            logger.warning(
                "Nothing gets through any gateway any more (%s); requests are held, and only probes go "
                "out. If that lasts, check your own network first, then the credentials and the "
                "provider's limits and your balance there.%s",
                event.failure,
                _or_down(event.targets),
            )
        elif isinstance(event, GatewayReopened | PoolReopened) and event.explained_by is not None:
            logger.info(
                "It was no outage of the proxies: %s fails by itself, while others were answered. "
                "Requests go out again.",
                event.explained_by,
            )
        elif isinstance(event, GatewayReopened):
            logger.info(
                "Gateway %s answers again after %.0f s; its traffic grows back",
                event.gateway,
                event.seconds,
            )
        elif isinstance(event, PoolReopened):
            logger.info(
                "The proxies answer again after %.0f s; the traffic grows back", event.seconds
            )

    def _log_target(self, event: Event) -> None:
        if isinstance(event, TargetPaused):
            seconds = event.until - event.now
            logger.warning(
                "Target %s paused until %s (%.0f s%s): %s; %s held",
                event.target,
                local_time(seconds, self._context.wall_clock()),
                seconds,
                f", no. {event.step} in a row" if event.step else "",
                event.reason,
                self._held(event.target),
            )
        elif isinstance(event, TargetPauseExtended):
            seconds = event.until - event.now
            logger.warning(
                "Target %s stays paused until %s (%.0f s more): %s",
                event.target,
                local_time(seconds, self._context.wall_clock()),
                seconds,
                event.reason,
            )
        elif isinstance(event, TargetRamping):
            target = self._figures.targets[event.target]
            logger.info(
                "Target %s answers again%s; %s held; it ramps up over %.0f s from %.3g requests/s",
                event.target,
                f" after {target.last_pause:.0f} s" if target.last_pause else "",
                self._held(event.target),
                event.until - event.now,
                event.rate,
            )
        elif isinstance(event, TargetReopened):
            logger.debug("Target %s is open: the ramp is over", event.target)
        elif isinstance(event, TargetSuspended):
            dropped = event.target in self._context.dropped_targets
            refused = not event.reason.startswith(ROBOTS_NOT_FETCHED)
            logger.error(
                "Target %s gets no more requests in this crawl: %s; %s %s. %s before you "
                "crawl it again.",
                event.target,
                event.reason,
                self._held(event.target),
                "dropped" if dropped else "held",
                "Review your permission and your rate"
                if refused
                else "See whether the site, and the proxies, answer",
            )

    def _held(self, target: str) -> str:
        return counted(self._figures.targets[target].held, "request")
