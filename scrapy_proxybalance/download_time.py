"""How long an attempt really took: from when its download began until all of its body was there.

The wait in a download slot (``DOWNLOAD_DELAY``) is not the proxy's and does not count. Scrapy tells
nobody when a download begins; what it tells is put together here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from scrapy import signals

from . import request_meta

if TYPE_CHECKING:
    from scrapy import Request

    from .balancer import Balancer, Flight


class DownloadTime:
    """Measures the attempts of a crawl.

    :param balancer: knows what is under way.
    """

    def __init__(self, balancer: Balancer) -> None:
        self._balancer = balancer
        balancer.crawler.signals.connect(self._headers_received, signal=signals.headers_received)

    def _headers_received(self, request: Request) -> None:
        flight = self._balancer.flight_of(request)
        if flight is not None:
            flight.headers_at = self._balancer.clock()

    def of(self, request: Request, flight: Flight, *, timed_out: bool = False) -> float | None:
        """Return the seconds that an attempt, which has just ended, took.

        :param timed_out: whether it was cut off by its timeout, which begins with the download.
        :return: ``None`` where nobody knows: nothing has come back, and the request may have waited
            in a slot with a delay.
        """
        since_departure = self._balancer.clock() - flight.sent_at
        seconds: Any = None
        if flight.headers_at is not None:
            latency = request.meta.get("download_latency", 0.0)
            seconds = latency + self._balancer.clock() - flight.headers_at
        elif timed_out:
            seconds = request_meta.timeout_of(request)
        elif self._balancer.slots.has_delay(self._balancer.slots.key_of(request)):
            return None
        # What stands in meta may be left over from an attempt before, or be nonsense.
        return min(float(seconds or since_departure), since_departure)
