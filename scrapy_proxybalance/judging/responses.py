"""From a response to whose fault it was: the proxy's, the target's, or nobody's. No state."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from scrapy.utils.httpobj import urlparse_cached

from ..core import Outcome
from ..core.outcome import PROXY_AUTH
from ..retry_after import wait_asked
from .marks import BUILT_IN, proxy_says
from .verdict import IGNORED, SUCCESS, Verdict

if TYPE_CHECKING:
    from collections.abc import Iterable

    from scrapy import Request
    from scrapy.http import Response

    from .marks import Mark


def of_response(
    request: Request, response: Response, marks: Iterable[Mark] | None = BUILT_IN
) -> Verdict:
    """Return whose fault a response was.

    :param marks: of proxies' own pages; ``None`` to take the page for the site's, even with a mark.
    """
    status = response.status
    if "cached" in response.flags:
        return IGNORED
    if status < 400:
        return SUCCESS
    if marks is not None and urlparse_cached(request).scheme == "http":
        # Not through a tunnel: such a page there is of a proxy in front of the site.
        if status == 407 and response.headers.get("Proxy-Authenticate"):
            return Verdict(outcome=Outcome.PROXY_FAULT, failure=PROXY_AUTH, certain=True)
        says = proxy_says(response, marks)
        # What a site's own front end may say as well is a refusal, if it is one.
        if says is not None and (says.certain or not _is_refusal(request, response)):
            return says
    if _is_refusal(request, response):
        return _refusal(response, str(status))
    if status in (502, 504):
        return Verdict(outcome=Outcome.AMBIGUOUS, failure=str(status))
    return SUCCESS


def _is_refusal(request: Request, response: Response) -> bool:
    status = response.status
    if status == 403:
        return urlparse_cached(request).path != "/robots.txt"
    return status == 429 or (status == 503 and bool(response.headers.get("Retry-After")))


def _refusal(response: Response, failure: str) -> Verdict:
    asked = wait_asked(response.headers, time.time())
    return Verdict(
        outcome=Outcome.TARGET_SIGNAL,
        failure=failure,
        retry_after=asked.seconds if asked is not None else None,
        header=asked.header if asked is not None else None,
    )
