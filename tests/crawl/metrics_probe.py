"""Keeps a crawl open when it has nothing left to do, until somebody has looked at its metrics."""

from __future__ import annotations

import re
import threading
from typing import TYPE_CHECKING, Any
from urllib.request import Request as HttpRequest
from urllib.request import urlopen

from prometheus_client.parser import text_string_to_metric_families
from scrapy import signals
from scrapy.exceptions import DontCloseSpider

from .crawling import UrlsSpider

if TYPE_CHECKING:
    from collections.abc import Callable

    import pytest
    from scrapy import Request
    from scrapy.crawler import Crawler
    from scrapy.http import Response

Samples = dict[tuple[str, tuple[tuple[str, str], ...]], float]


def fetch(url: str, **headers: str) -> str:
    """Return what a URL serves."""
    request = HttpRequest(url, headers=headers)  # noqa: S310
    with urlopen(request, timeout=10) as response:  # noqa: S310
        return str(response.read().decode())


def metrics_url(caplog: pytest.LogCaptureFixture) -> str:
    """Return the URL that the log names, the latest one."""
    found = [
        match[1]
        for record in caplog.records
        if (match := re.search(r"Metrics for Prometheus are at (\S+)", record.getMessage()))
    ]
    return found[-1]


def samples(text: str) -> Samples:
    """Return all samples by name and labels."""
    return {
        (one.name, tuple(sorted(one.labels.items()))): one.value
        for family in text_string_to_metric_families(text)
        for one in family.samples
    }


def of(found: Samples, name: str, **labels: str) -> dict[tuple[str, ...], float]:
    """Return a metric's samples with these labels, by the values of the others."""
    picked = {}
    for (sample, its), value in found.items():
        if sample == name and labels.items() <= dict(its).items():
            picked[tuple(text for key, text in its if key not in labels)] = value
    return picked


class Look:
    """Calls ``look`` in a thread when a crawl is idle, and keeps what it returns in ``seen``.

    The crawl goes on meanwhile, and ends when that has returned. :class:`WatchedSpider` starts it
    sooner.
    """

    def __init__(self, look: Callable[[], object]) -> None:
        self._look = look
        self._thread: threading.Thread | None = None
        #: Whether the thread is running.
        self.goes_on = False
        self.seen: object = None
        self.error: BaseException | None = None

    def prepare(self, crawler: Crawler) -> None:
        """To be called before the crawl begins."""
        self._crawler = crawler
        crawler.signals.connect(self._idle, signal=signals.spider_idle)

    def _run(self) -> None:
        from twisted.internet import reactor

        try:
            self.seen = self._look()
        except BaseException as error:
            self.error = error
        self.goes_on = False
        reactor.callFromThread(self._wake)

    def _wake(self) -> None:
        """Have the engine ask now whether to close; by itself it asks once in five seconds."""
        slot = self._crawler.engine._slot
        if slot is not None:
            slot.nextcall.schedule()

    def start(self) -> None:
        """Start the thread, unless it has been started."""
        if self._thread is None:
            self.goes_on = True
            self._thread = threading.Thread(target=self._run, daemon=True)
            self._thread.start()

    def _idle(self) -> None:
        self.start()
        if self.goes_on:
            raise DontCloseSpider

    def result(self) -> object:
        """Return what was seen.

        :raises BaseException: what looking has raised.
        """
        if self.error is not None:
            raise self.error
        return self.seen


class WatchedSpider(UrlsSpider):
    """Fetches its pages again and again while ``look`` goes on, which its first answer starts."""

    def __init__(self, look: Look, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.look = look

    def keep(self, response: Response) -> Request | None:  # type: ignore[override]
        self.look.start()
        if not self.look.goes_on:
            return None
        assert response.request is not None
        return response.request.replace(dont_filter=True)
