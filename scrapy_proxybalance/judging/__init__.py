"""From what came back, a response or an exception, to whose fault it was. No state, no consequence.

The user's own classifier (``PROXYBALANCE_CLASSIFIER``) is asked first; where it returns ``None``,
:func:`classify` decides. ``responses.py`` and ``exceptions.py`` have the two halves, ``marks.py`` what
proxies sign their own pages with, ``handler_errors.py`` what the exceptions of other libraries say.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .exceptions import of_exception
from .responses import of_response
from .verdict import CERTIFICATE, FORBIDDEN, UNSUPPORTED, Verdict

if TYPE_CHECKING:
    from scrapy import Request
    from scrapy.http import Response

__all__ = ["CERTIFICATE", "FORBIDDEN", "UNSUPPORTED", "Verdict", "classify"]


def classify(request: Request, result: Response | Exception) -> Verdict:
    """Return whose fault the end of an attempt was.

    :param request: as it was sent.
    :param result: what came back.
    """
    if isinstance(result, Exception):
        return of_exception(request, result)
    return of_response(request, result)
