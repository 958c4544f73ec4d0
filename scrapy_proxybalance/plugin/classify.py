"""From what came back, a response or an exception, to whose fault it was. No state, no consequence.

The user's own classifier (``PROXYBALANCE_CLASSIFIER``) is asked first; where it returns ``None``,
:func:`classify` decides.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from ..core.verdict import IGNORED, Verdict
from ..http.marks import BUILT_IN
from ..http.responses import of_response
from .handlers.exceptions import of_exception

if TYPE_CHECKING:
    from collections.abc import Iterable

    from scrapy import Request
    from scrapy.http import Response

    from ..http.marks import Mark


def classify(
    request: Request,
    result: Response | Exception,
    marks: Iterable[Mark] = BUILT_IN,
    *,
    wall_now: float | None = None,
) -> Verdict:
    """Return whose fault the end of an attempt was.

    :param request: as it was sent.
    :param result: what came back.
    :param marks: of proxies' own pages, see ``PROXYBALANCE_PROXY_MARKS``.
    :param wall_now: seconds since the epoch; ``None`` to look at the clock.
    """
    if isinstance(result, Exception):
        return of_exception(request, result)
    if "cached" in result.flags:
        return IGNORED
    return of_response(
        request, result, marks, wall_now=time.time() if wall_now is None else wall_now
    )
