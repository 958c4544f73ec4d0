"""From what came back, a response or an exception, to whose fault it was. No state, no consequence.

The user's own classifier (``PROXYBALANCE_CLASSIFIER``) is asked first; where it returns ``None``,
:func:`classify` decides. ``responses.py`` and ``exceptions.py`` have the two halves, ``marks.py`` the
marks of proxies' own pages, ``handler_errors.py`` what the exceptions of other libraries say.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .exceptions import of_exception
from .marks import BUILT_IN
from .responses import of_response
from .verdict import CERTIFICATE, FORBIDDEN, IGNORED, UNSUPPORTED, Verdict

if TYPE_CHECKING:
    from collections.abc import Iterable

    from scrapy import Request
    from scrapy.http import Response

    from .marks import Mark

__all__ = ["CERTIFICATE", "FORBIDDEN", "IGNORED", "UNSUPPORTED", "Verdict", "classify"]


def classify(
    request: Request, result: Response | Exception, marks: Iterable[Mark] = BUILT_IN
) -> Verdict:
    """Return whose fault the end of an attempt was.

    :param request: as it was sent.
    :param result: what came back.
    :param marks: of proxies' own pages, see ``PROXYBALANCE_PROXY_MARKS``.
    """
    if isinstance(result, Exception):
        return of_exception(request, result)
    return of_response(request, result, marks)
