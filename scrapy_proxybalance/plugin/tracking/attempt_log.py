"""The attempt log: the result of each request that was sent, passed to observers.

The core's events know leases; an attempt also has the request, its response and the target's state
afterwards. Knows no observer; without any, nothing is computed.
"""

from __future__ import annotations

import logging
import secrets
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from ...reporting.attempt_record import AttemptRecord
from .. import request_meta

if TYPE_CHECKING:
    from collections.abc import Callable

    from scrapy import Request
    from scrapy.http import Response

    from ...core import AnyAttempt, Pool
    from ...core.verdict import Verdict

logger = logging.getLogger("scrapy_proxybalance")


class AttemptLog:
    """Tells listeners of the attempts of one crawl.

    :param pool: knows their targets.
    :param clock: seconds, never going back.
    :param wall_clock: seconds since the epoch.
    """

    def __init__(
        self, pool: Pool, *, clock: Callable[[], float], wall_clock: Callable[[], float]
    ) -> None:
        self._pool = pool
        self._clock = clock
        self._wall_clock = wall_clock
        self._listeners: list[Callable[[AttemptRecord], None]] = []
        self._crawl = secrets.token_hex(4)
        self._pages = 0
        self._started: dict[AnyAttempt, tuple[str, int, float]] = {}

    def subscribe(self, listener: Callable[[AttemptRecord], None]) -> None:
        """Call ``listener`` with every attempt that ends from now on; if it raises, that is logged."""
        self._listeners.append(listener)

    def started(self, request: Request, attempt: AnyAttempt, waited: float) -> None:
        """Count an attempt.

        :param waited: the seconds for which it has waited for a proxy, once it was its turn.
        """
        if self._listeners:
            page, number = request_meta.count_attempt(request, self._next_id)
            self._started[attempt] = page, number, waited

    def not_sent(self, request: Request, attempt: AnyAttempt) -> None:
        """Take note that an attempt was stopped before anything was sent: it was none."""
        if self._started.pop(attempt, None) is not None:
            request_meta.uncount_attempt(request)

    def ended(
        self,
        request: Request,
        attempt: AnyAttempt,
        verdict: Verdict,
        *,
        duration: float | None = None,
        response: Response | None = None,
    ) -> None:
        """Tell of an attempt. To be called when all that follows from it has happened."""
        if attempt not in self._started:
            return
        request_id, number, waited = self._started.pop(attempt)
        record = AttemptRecord(
            timestamp=self._wall_clock() - (self._clock() - attempt.started_at),
            request_id=request_id,
            url=_without_credentials(request.url),
            target=attempt.target,
            proxy=attempt.proxy.name if attempt.proxy is not None else None,
            session=attempt.session,
            attempt=number,
            status=response.status if response is not None else None,
            failure=verdict.failure,
            outcome=verdict.outcome,
            latency=_latency(request, duration) if response is not None else None,
            duration=duration,
            size=len(response.body) if response is not None else None,
            waited=waited,
            target_paused=not self._pool.targets.state(attempt.target).gets_traffic,
        )
        for listener in self._listeners:
            try:
                listener(record)
            except Exception:
                logger.exception("A listener failed on an attempt")

    def _next_id(self) -> str:
        self._pages += 1
        return f"{self._crawl}-{self._pages}"


def _latency(request: Request, duration: float | None) -> float | None:
    latency = request.meta.get("download_latency")
    if not isinstance(latency, int | float) or (duration is not None and latency > duration):
        return None  # somebody else has written it
    return latency


def _without_credentials(url: str) -> str:
    if "@" not in url:
        return url
    parts = urlsplit(url)
    return parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()
