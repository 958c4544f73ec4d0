"""From an exception of a download handler's to whose fault it was. No state.

Scrapy's and Twisted's own exceptions are here; what those of other libraries say, ``handler_errors.py``
knows. What nobody knows is evidence all the same: something has failed, be it the proxy or the target.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from scrapy import exceptions
from scrapy.core.downloader.handlers.http11 import TunnelError
from scrapy.exceptions import IgnoreRequest, NotSupported, StopDownload
from twisted.internet import error as twisted_error
from twisted.internet.defer import CancelledError
from twisted.web.client import ResponseFailed, ResponseNeverReceived
from twisted.web.error import SchemeNotSupported

from ...core import Outcome
from ...core.outcome import CLOSED_AFTER_CONNECT, CONNECT_CLOSED, NO_RESPONSE, TIMEOUT
from ...core.verdict import CERTIFICATE, UNSUPPORTED, Verdict
from ...http.connect import of_connect
from ...http.errors import unknown
from ...http.library_errors import chain, connect_status, is_bad_certificate, of_library
from .tunnel_errors import ClosedAfterConnectError, ConnectClosedError, ConnectFailedError

if TYPE_CHECKING:
    from scrapy import Request

_TUNNEL_STATUS = re.compile(r"'status': (\d{3})")


def _named(*names: str) -> tuple[type[Exception], ...]:
    """Return the exceptions of scrapy.exceptions that this Scrapy has (they are new in 2.15)."""
    return tuple(getattr(exceptions, name) for name in names if hasattr(exceptions, name))


#: Nothing was sent, or it was us who stopped it: nobody's fault.
_LOCAL: tuple[type[Exception], ...] = (
    IgnoreRequest,
    NotSupported,
    StopDownload,
    CancelledError,
    *_named("DownloadCancelledError"),
)
#: A handler says that it cannot use such a proxy, or any.
_CANNOT: tuple[type[Exception], ...] = (
    NotImplementedError,
    SchemeNotSupported,
    *_named("UnsupportedURLSchemeError"),
)

_Row = tuple[tuple[type[Exception], ...], Outcome, str]
# The first row that fits decides; a subclass stands before its base. These say enough by themselves.
_CERTAIN: tuple[_Row, ...] = (
    (
        (twisted_error.DNSLookupError, *_named("CannotResolveHostError")),
        Outcome.PROXY_FAULT,
        "dns",
    ),
    (
        (twisted_error.TimeoutError, TimeoutError, *_named("DownloadTimeoutError")),
        Outcome.AMBIGUOUS,
        TIMEOUT,
    ),
    (_named("ResponseDataLossError"), Outcome.AMBIGUOUS, "truncated"),
)
# These decide where the exceptions inside of them say nothing more.
_BROAD: tuple[_Row, ...] = (
    (
        (twisted_error.ConnectionRefusedError, *_named("DownloadConnectionRefusedError")),
        Outcome.PROXY_FAULT,
        "connection_refused",
    ),
    # What is left of ConnectError came up while connecting, and we connect to the proxy.
    ((twisted_error.ConnectError,), Outcome.PROXY_FAULT, "connect_error"),
    (
        (twisted_error.ConnectionLost, twisted_error.ConnectionDone, ConnectionError),
        Outcome.AMBIGUOUS,
        "connection_lost",
    ),
    (_named("DownloadFailedError"), Outcome.AMBIGUOUS, "connection_lost"),
)


def of_exception(request: Request, exception: Exception) -> Verdict:
    """Return whose fault an exception was.

    :param request: as it was sent.
    :param exception: as the download handler, or a middleware on the way, has raised it.
    """
    if isinstance(exception, ConnectClosedError):
        return Verdict(outcome=Outcome.AMBIGUOUS, failure=CONNECT_CLOSED)
    if isinstance(exception, ClosedAfterConnectError):
        return Verdict(outcome=Outcome.AMBIGUOUS, failure=CLOSED_AFTER_CONNECT)
    if isinstance(exception, ConnectFailedError):
        return of_connect(exception.status, str(exception))
    if isinstance(exception, TunnelError):  # of Scrapy's own handler
        match = _TUNNEL_STATUS.search(str(exception))
        return of_connect(int(match[1]) if match else None, str(exception))
    if isinstance(exception, _LOCAL):
        return Verdict(outcome=Outcome.IGNORED)
    if isinstance(exception, _CANNOT):
        return Verdict(outcome=Outcome.IGNORED, failure=UNSUPPORTED)
    verdict = _of_row(_CERTAIN, exception)
    if verdict is not None:
        return verdict
    inside = chain(exception)
    if is_bad_certificate(inside):
        if str(request.meta.get("proxy") or "").startswith("https:"):
            return Verdict(outcome=Outcome.AMBIGUOUS, failure="tls")  # it may be the proxy's own
        return Verdict(outcome=Outcome.IGNORED, failure=CERTIFICATE)
    status = connect_status(inside)
    if status is not None:
        return of_connect(status)
    failed = next((one for one in inside if isinstance(one, ResponseFailed)), None)
    if failed is not None:
        return _of_failed_response(failed)
    return of_library(inside) or _of_row(_BROAD, exception) or unknown(exception)


def _of_row(rows: tuple[_Row, ...], exception: Exception) -> Verdict | None:
    for types, outcome, failure in rows:
        if isinstance(exception, types):
            return Verdict(outcome=outcome, failure=failure)
    return None


def _of_failed_response(failed: ResponseFailed) -> Verdict:
    reasons = [getattr(reason, "value", reason) for reason in failed.reasons]
    if any(type(reason).__module__.startswith("OpenSSL") for reason in reasons):
        return Verdict(outcome=Outcome.AMBIGUOUS, failure="tls")
    if isinstance(failed, ResponseNeverReceived):
        return Verdict(outcome=Outcome.AMBIGUOUS, failure=NO_RESPONSE)
    return Verdict(outcome=Outcome.AMBIGUOUS, failure="truncated")
