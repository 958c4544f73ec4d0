"""Whose fault the end of an attempt was by itself: the user's classifier says first, then the plugin.

The one place where a verdict comes from. Knows requests, responses and exceptions; what follows from a
verdict is the middleware's.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import attrs
from scrapy.exceptions import IgnoreRequest

from ..core import Outcome
from ..core.verdict import Verdict
from . import request_meta
from .classify import classify
from .scrapy_internals import reached_downloader

if TYPE_CHECKING:
    from collections.abc import Callable

    from scrapy import Request
    from scrapy.http import Response

    from .config.settings import Settings

logger = logging.getLogger("scrapy_proxybalance")


class Judge:
    """Judges the ends of the attempts of one crawl.

    :param settings: with the user's classifier and marks.
    :param wall_clock: seconds since the epoch.
    """

    def __init__(self, settings: Settings, wall_clock: Callable[[], float]) -> None:
        self._wall_clock = wall_clock
        self._classifier = settings.classifier
        self._marks = settings.proxy_marks

    def verdict(self, request: Request, result: Response | Exception) -> Verdict:
        """Return whose fault the end of an attempt was, from its response or exception alone."""
        verdict = self._users(request, result)
        if verdict is None and isinstance(result, Exception) and not reached_downloader(result):
            # Of another middleware, on the way out: nothing was sent.
            failure = None if isinstance(result, IgnoreRequest) else type(result).__name__
            return Verdict(outcome=Outcome.IGNORED, failure=failure)
        verdict = verdict or self._classify(request, result)
        return _for_robots(request, result, verdict)

    def of_response(self, request: Request, response: Response) -> tuple[Verdict, bool]:
        """Return whose fault a response was by itself, and whether it may be compared with others."""
        verdict = None if self._classifier is None else self._users(request, response)
        if verdict is not None:
            return _for_robots(request, response, verdict), False
        verdict = self._classify(request, response)
        if request_meta.ROBOTS in request.meta:
            return _for_robots(request, response, verdict), False
        return verdict, True

    def _classify(self, request: Request, result: Response | Exception) -> Verdict:
        return classify(request, result, self._marks, wall_now=self._wall_clock())

    def _users(self, request: Request, result: Response | Exception) -> Verdict | None:
        if self._classifier is None:
            return None
        try:
            verdict = self._classifier(request, result)
        except Exception:
            logger.exception("PROXYBALANCE_CLASSIFIER failed on %s", request)
            return None
        if verdict is None or isinstance(verdict, Verdict):
            return verdict
        logger.error(
            "PROXYBALANCE_CLASSIFIER returned %r for %s; it has to return a Verdict, or None to have "
            "the plugin decide",
            verdict,
            request,
        )
        return None


def _for_robots(request: Request, result: Response | Exception, verdict: Verdict) -> Verdict:
    if (
        request_meta.ROBOTS in request.meta
        and verdict.outcome is Outcome.SUCCESS
        and getattr(result, "status", 0) >= 500
    ):
        # Nobody's fault, but no answer either: it must not reopen a target that is probed.
        return attrs.evolve(verdict, outcome=Outcome.IGNORED)
    return verdict
