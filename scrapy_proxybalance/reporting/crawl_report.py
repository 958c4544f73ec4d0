"""The report that a crawl writes at its end. It knows more than a request log does."""

from __future__ import annotations

import logging
from collections import defaultdict
from pathlib import Path
from tempfile import TemporaryFile
from typing import TYPE_CHECKING

from ..core import ConfigurationError
from ..core.events import (
    CooldownStarted,
    CooldownTakenBack,
    PoolTripped,
    ProxyDrained,
    ProxyEnabled,
    ProxyOut,
    ProxyRecovered,
    ProxyRemoved,
    TargetPaused,
    TargetRamping,
    TargetSuspended,
)
from .placeholders import fill_in
from .report import CrawlPart, Report, ReportError, Row, suggestions, write_csv
from .request_log import plain_text
from .scrapy_hooks import in_thread, on_closed

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from ..core.events import EventBus
    from .attempt_record import AttemptRecord
    from .figures import Figures
    from .observed import ObservedCrawl

logger = logging.getLogger("scrapy_proxybalance")

_SETTING = "PROXYBALANCE_REPORT"


class CrawlReport:
    """Counts the attempts of a crawl, and writes what they come to when the spider is closed.

    :param templates: paths that end in ``.html`` or ``.csv``, with the placeholders of feeds.
    :raises ConfigurationError: for a path that cannot be written, or a library that is not there.
    """

    def __init__(self, context: ObservedCrawl, figures: Figures, templates: Sequence[str]) -> None:
        self._context = context
        self._figures = figures
        spider = context.crawler.spider
        self._paths = []
        for template in templates:
            try:
                path = Path(fill_in(template, spider) if spider is not None else template)
            except ValueError as error:
                raise ConfigurationError(
                    f"{_SETTING} = {template!r}: {error}; use %(name)s, %(time)s or another attribute "
                    "of the spider"
                ) from None
            _refuse_unwritable(template, path)
            self._paths.append((path, _writer(template, path)))
        self._report = Report()
        self._began = context.wall_clock()
        self._paused = Spans()
        context.attempt_log.subscribe(self.add)
        events = context.pool.events
        self._out = OutOfService(events)
        events.subscribe(self._pauses, TargetPaused, TargetSuspended)
        events.subscribe(self._answers, TargetRamping)
        on_closed(context, self.write)

    def add(self, attempt: AttemptRecord) -> None:
        """Count an attempt."""
        self._report.add(
            Row(
                timestamp=attempt.timestamp,
                target=attempt.target,
                proxy=attempt.proxy,
                session=attempt.session,
                status=attempt.status,
                failure=plain_text(attempt.failure),
                outcome=attempt.outcome.value,
                latency=attempt.latency,
                duration=attempt.duration,
                target_paused=attempt.target_paused,
            )
        )

    def _pauses(self, event: TargetPaused | TargetSuspended) -> None:
        self._paused.begin(event.target, event.now)

    def _answers(self, event: TargetRamping) -> None:
        self._paused.end(event.target, event.now)

    async def write(self) -> None:
        """Write it, in a thread: the charts of a large pool take seconds."""
        self._report.complete(self._crawl_part())
        if self._report.requests:
            await in_thread(self._write_all)
        else:
            logger.warning(
                "%s: no attempt went through the pool; there is nothing to report", _SETTING
            )

    def _crawl_part(self) -> CrawlPart:
        now, present = self._context.clock(), self._context.wall_clock()
        members = self._context.pool.snapshot(now)
        total = sum(one.max_in_flight for one in members)
        return CrawlPart(
            began=self._began,
            ended=present,
            capacities={one.proxy.name: one.max_in_flight / total for one in members},
            cooldowns={name: one.cooldowns for name, one in self._figures.proxies.items()},
            outages=self._outages(),
            out=self._out.until(now, since_epoch=present - now),
            paused=self._paused.until(now, since_epoch=present - now),
        )

    def _outages(self) -> dict[str, int]:
        trips = {name: gateway.trips for name, gateway in self._figures.gateways.items()}
        trips[""] = self._figures.events[PoolTripped]
        return {name: count for name, count in trips.items() if count}

    def _write_all(self) -> None:
        for path, write in self._paths:
            try:
                write(self._report, path)
            except ReportError as error:
                logger.error("%s: %s", _SETTING, error)
            else:
                logger.info("%s: wrote %s", _SETTING, path)


class Spans:
    """Stretches of time by name; for each name one may be running. Seconds on one clock."""

    def __init__(self) -> None:
        self._ended: defaultdict[str, list[tuple[float, float]]] = defaultdict(list)
        self._since: dict[str, float] = {}

    def begin(self, name: str, now: float) -> None:
        """Begin one, unless it is running already."""
        self._since.setdefault(name, now)

    def end(self, name: str, now: float) -> None:
        """End it, if it is running."""
        since = self._since.pop(name, None)
        if since is not None:
            self._ended[name].append((since, now))

    def until(self, now: float, *, since_epoch: float) -> dict[str, list[tuple[float, float]]]:
        """End all of them, and return them in seconds since the epoch.

        :param since_epoch: what the clock's zero is there.
        """
        for name in list(self._since):
            self.end(name, now)
        return {
            name: [(since_epoch + start, since_epoch + stop) for start, stop in spans]
            for name, spans in self._ended.items()
        }


class OutOfService:
    """When proxies were cooling down, probed or out, or drained, whichever came first or lasted longer.

    :param events: of the pool.
    """

    def __init__(self, events: EventBus) -> None:
        self._ailing, self._drained = Spans(), Spans()
        events.subscribe(self._goes, CooldownStarted, ProxyOut)
        events.subscribe(self._is_back, CooldownTakenBack, ProxyRecovered, ProxyRemoved)
        events.subscribe(self._is_drained, ProxyDrained)
        events.subscribe(self._is_enabled, ProxyEnabled, ProxyRemoved)

    def _goes(self, event: CooldownStarted | ProxyOut) -> None:
        self._ailing.begin(event.proxy.name, event.now)

    def _is_back(self, event: CooldownTakenBack | ProxyRecovered | ProxyRemoved) -> None:
        self._ailing.end(event.proxy.name, event.now)

    def _is_drained(self, event: ProxyDrained) -> None:
        self._drained.begin(event.proxy.name, event.now)

    def _is_enabled(self, event: ProxyEnabled | ProxyRemoved) -> None:
        self._drained.end(event.proxy.name, event.now)
        if isinstance(event, ProxyEnabled) and event.anew:
            self._ailing.end(event.proxy.name, event.now)

    def until(self, now: float, *, since_epoch: float) -> dict[str, list[tuple[float, float]]]:
        """Return the stretches as :meth:`Spans.until` does; where two overlap, they are one."""
        listed: defaultdict[str, list[tuple[float, float]]] = defaultdict(list)
        for spans in (self._ailing, self._drained):
            for name, own in spans.until(now, since_epoch=since_epoch).items():
                listed[name] += own
        return {name: _united(own) for name, own in listed.items()}


def _united(spans: list[tuple[float, float]]) -> list[tuple[float, float]]:
    united: list[tuple[float, float]] = []
    for start, stop in sorted(spans):
        if united and start <= united[-1][1]:
            united[-1] = (united[-1][0], max(united[-1][1], stop))
        else:
            united.append((start, stop))
    return united


def _refuse_unwritable(template: str, path: Path) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with TemporaryFile(dir=path.parent):
            pass
        if path.is_dir():
            raise IsADirectoryError(0, "Is a directory")
    except OSError as error:
        exists = isinstance(error, FileExistsError)
        reason = "its directory is a file" if exists else error.strerror or error
        raise ConfigurationError(
            f"{_SETTING} = {template!r}: it cannot be written ({reason}); name a file in a directory "
            "that can be written"
        ) from None


def _writer(template: str, path: Path) -> Callable[[Report, Path], None]:
    if path.suffix.lower() == ".csv":
        return write_csv
    try:
        from .report.page import write_html
    except ImportError as error:
        raise ConfigurationError(
            f"{_SETTING} = {template!r}: a page needs a library that is not there ({error}); "
            "pip install 'scrapy-proxybalance[report]', or end the path in .csv"
        ) from None
    return lambda report, path: write_html(report, suggestions(report), path)
