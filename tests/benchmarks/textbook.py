"""The textbook's scheduler of proxies, to compare with: score every proxy, draw one by its score.

The score of a proxy is the product of

- its weight (1 for all),
- its success rate in the last 50 outcomes, with a prior of four successes in five,
- the pool's usual latency over its own (exponentially weighted means), from 0.1 to 4,
- ``1 / (1 + in flight) ** 2``,
- 0.5 for each fault in a row.

Three faults in a row send a proxy out for 30 s, then for twice as long each time, until it succeeds.
No proxy has more than four requests in flight. It knows nothing of this project.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections import deque
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence

    import scrapy
    from scrapy.crawler import Crawler
    from scrapy.http import Response

    # typing.Self requires Python 3.11
    from typing_extensions import Self

WINDOW = 50
PRIOR_SUCCESSES, PRIOR_TRIES = 4, 5
EWMA_WEIGHT = 0.2
LATENCY_FACTOR = (0.1, 4.0)
FAULTS_TO_COOL = 3
COOLDOWN_SECONDS, COOLDOWN_MAX_SECONDS = 30.0, 600.0
MAX_IN_FLIGHT = 4
#: How often a request that finds every proxy taken looks again.
POLL_SECONDS = 0.02
#: A response with one of these is the proxy's fault.
FAULTY_STATUSES = frozenset((407, 429, 500, 502, 503, 504))


class Candidate:
    """A proxy and what is known of it."""

    def __init__(self, url: str, weight: float = 1.0) -> None:
        self.url = url
        self.weight = weight
        self.outcomes: deque[bool] = deque(maxlen=WINDOW)
        self.latency: float | None = None
        self.in_flight = 0
        self.faults_in_a_row = 0
        self.cooldown = COOLDOWN_SECONDS
        self.out_until = 0.0

    def score(self, usual_latency: float | None) -> float:
        """Return the weight with which it is drawn."""
        rate = (sum(self.outcomes) + PRIOR_SUCCESSES) / (len(self.outcomes) + PRIOR_TRIES)
        speed = 1.0
        if self.latency is not None and usual_latency is not None:
            low, high = LATENCY_FACTOR
            speed = min(high, max(low, usual_latency / self.latency))
        load = 1 / (1 + self.in_flight) ** 2
        penalty: float = 0.5**self.faults_in_a_row
        return self.weight * rate * speed * load * penalty


class TextbookMiddleware:
    """The downloader middleware; ``TEXTBOOK_PROXIES`` is the list of URLs."""

    def __init__(self, urls: Sequence[str]) -> None:
        self._candidates = [Candidate(url) for url in urls]
        self._usual_latency: float | None = None

    @classmethod
    def from_crawler(cls, crawler: Crawler) -> Self:
        """Read the setting."""
        return cls(crawler.settings.getlist("TEXTBOOK_PROXIES"))

    async def process_request(self, request: scrapy.Request) -> None:
        """Choose a proxy; wait for one if all are taken or out."""
        while (chosen := self._draw()) is None:
            await asyncio.sleep(POLL_SECONDS)
        chosen.in_flight += 1
        request.meta["proxy"] = chosen.url
        request.meta["_textbook"] = (chosen, time.monotonic())

    def process_response(self, request: scrapy.Request, response: Response) -> Response:
        """Note how it went."""
        self._note(request, response.status not in FAULTY_STATUSES)
        return response

    def process_exception(self, request: scrapy.Request, exception: Exception) -> None:  # noqa: ARG002
        """Note that it failed."""
        self._note(request, success=False)

    def _draw(self) -> Candidate | None:
        now = time.monotonic()
        free = [
            one
            for one in self._candidates
            if one.out_until <= now and one.in_flight < MAX_IN_FLIGHT
        ]
        if not free:
            return None
        return random.choices(free, [one.score(self._usual_latency) for one in free])[0]

    def _note(self, request: scrapy.Request, success: bool) -> None:
        taken: Any = request.meta.pop("_textbook", None)
        if taken is None:
            return
        candidate, started = taken
        now = time.monotonic()
        candidate.in_flight -= 1
        candidate.outcomes.append(success)
        if success:
            candidate.latency = _blend(candidate.latency, now - started)
            self._usual_latency = _blend(self._usual_latency, now - started)
            candidate.faults_in_a_row = 0
            candidate.cooldown = COOLDOWN_SECONDS
            return
        candidate.faults_in_a_row += 1
        if candidate.faults_in_a_row >= FAULTS_TO_COOL and candidate.out_until <= now:
            candidate.out_until = now + candidate.cooldown
            candidate.cooldown = min(COOLDOWN_MAX_SECONDS, 2 * candidate.cooldown)


def _blend(mean: float | None, value: float) -> float:
    return value if mean is None else mean + EWMA_WEIGHT * (value - mean)
