"""From a response to whose fault it was: the proxy's, the target's, or nobody's. No state."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from ..core import Outcome
from ..core.outcome import PROXY_AUTH
from ..core.verdict import SUCCEEDED, Verdict
from .marks import BUILT_IN, proxy_says
from .retry_after import wait_asked

if TYPE_CHECKING:
    from collections.abc import Iterable

    from .marks import Mark
    from .messages import Request, Response


def of_response(
    request: Request,
    response: Response,
    marks: Iterable[Mark] | None = BUILT_IN,
    *,
    wall_now: float,
) -> Verdict:
    """Return whose fault a response was.

    :param marks: of proxies' own pages; ``None`` to take the page for the site's, even with a mark.
    :param wall_now: seconds since the epoch: a header may name a moment to come back at.
    """
    status = response.status
    if status < 400:
        return SUCCEEDED
    if marks is not None and request.url.startswith("http:"):
        # Not through a tunnel: such a page there is of a proxy in front of the site.
        if status == 407 and response.headers.get("Proxy-Authenticate"):
            return Verdict(outcome=Outcome.PROXY_FAULT, failure=PROXY_AUTH, certain=True)
        says = proxy_says(response, marks)
        # What a site's own front end may say as well is a refusal, if it is one.
        if says is not None and (says.certain or not _is_refusal(request, response)):
            return says
    if _is_refusal(request, response):
        return _refusal(response, str(status), wall_now)
    if status in (502, 504):
        return Verdict(outcome=Outcome.AMBIGUOUS, failure=str(status))
    return SUCCEEDED


def _is_refusal(request: Request, response: Response) -> bool:
    status = response.status
    if status == 403:
        return urlsplit(request.url).path != "/robots.txt"
    return status == 429 or (status == 503 and bool(response.headers.get("Retry-After")))


def _refusal(response: Response, failure: str, wall_now: float) -> Verdict:
    asked = wait_asked(response.headers, wall_now)
    return Verdict(
        outcome=Outcome.TARGET_SIGNAL,
        failure=failure,
        retry_after=asked.seconds if asked is not None else None,
        header=asked.header if asked is not None else None,
    )
