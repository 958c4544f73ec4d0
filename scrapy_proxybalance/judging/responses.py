"""From a response to whose fault it was: the proxy's, the target's, or nobody's. No state."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from scrapy.utils.httpobj import urlparse_cached

from ..pool import Outcome
from ..pool.outcome import PROXY_AUTH
from ..retry_after import wait_asked
from .marks import is_tinyproxys, proxy_says
from .verdict import FORBIDDEN, IGNORED, SUCCESS, Verdict

if TYPE_CHECKING:
    from scrapy import Request
    from scrapy.http import Response


def of_response(request: Request, response: Response) -> Verdict:
    """Return whose fault a response was."""
    status = response.status
    if "cached" in response.flags:
        return IGNORED
    if status < 400:
        return SUCCESS
    if status == 407 or (status == 401 and is_tinyproxys(response)):
        return Verdict(outcome=Outcome.PROXY_FAULT, failure=PROXY_AUTH)
    if status == 429 or (status == 503 and response.headers.get("Retry-After")):
        return _refusal(response, str(status))
    if urlparse_cached(request).scheme == "http":
        # Through a tunnel no proxy has a say: there such a page is of a proxy in front of the site.
        says = proxy_says(response)
        if says is not None:
            return says
    if status == 403 and urlparse_cached(request).path != "/robots.txt":
        return _refusal(response, FORBIDDEN)
    if status in (502, 504):
        return Verdict(outcome=Outcome.AMBIGUOUS, failure=str(status))
    return SUCCESS


def _refusal(response: Response, failure: str) -> Verdict:
    asked = wait_asked(response.headers, time.time())
    return Verdict(
        outcome=Outcome.TARGET_SIGNAL,
        failure=failure,
        retry_after=asked.seconds if asked is not None else None,
        header=asked.header if asked is not None else None,
    )
