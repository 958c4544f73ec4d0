"""From an exception of a download handler's to whose fault it was. No state."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from scrapy import exceptions
from scrapy.core.downloader.handlers.http11 import TunnelError
from scrapy.exceptions import IgnoreRequest, NotSupported, StopDownload
from twisted.internet import error as twisted_error
from twisted.internet.defer import CancelledError
from twisted.web.client import ResponseFailed, ResponseNeverReceived

from ..pool import Outcome
from ..pool.outcome import NO_RESPONSE, TIMEOUT
from ..tunnel_errors import ClosedAfterConnectError, ConnectClosedError, ConnectFailedError
from .connect import of_connect
from .verdict import Verdict

if TYPE_CHECKING:
    from collections.abc import Iterator

_TUNNEL_STATUS = re.compile(r"'status': (\d{3})")


def _named(*names: str) -> tuple[type[Exception], ...]:
    """Return the exceptions of scrapy.exceptions that this Scrapy has (they are new in 2.15)."""
    return tuple(getattr(exceptions, name) for name in names if hasattr(exceptions, name))


# The first row that fits decides; a subclass stands before its base.
_EXCEPTIONS: tuple[tuple[tuple[type[Exception], ...], Outcome, str], ...] = (
    ((ConnectClosedError,), Outcome.AMBIGUOUS, "connect_closed"),
    ((ClosedAfterConnectError,), Outcome.AMBIGUOUS, "closed_after_connect"),
    (
        (
            IgnoreRequest,
            NotSupported,
            StopDownload,
            CancelledError,
            *_named("DownloadCancelledError", "UnsupportedURLSchemeError"),
        ),
        Outcome.IGNORED,
        "",
    ),
    (
        (twisted_error.DNSLookupError, *_named("CannotResolveHostError")),
        Outcome.PROXY_FAULT,
        "dns",
    ),
    (
        (twisted_error.ConnectionRefusedError, *_named("DownloadConnectionRefusedError")),
        Outcome.PROXY_FAULT,
        "connection_refused",
    ),
    (
        (twisted_error.TimeoutError, TimeoutError, *_named("DownloadTimeoutError")),
        Outcome.AMBIGUOUS,
        TIMEOUT,
    ),
    # What is left of ConnectError came up while connecting, and we connect to the proxy.
    ((twisted_error.ConnectError,), Outcome.PROXY_FAULT, "connect_error"),
    (_named("ResponseDataLossError"), Outcome.AMBIGUOUS, "truncated"),
    (
        (twisted_error.ConnectionLost, twisted_error.ConnectionDone, ConnectionError),
        Outcome.AMBIGUOUS,
        "connection_lost",
    ),
)


def of_exception(exception: Exception) -> Verdict:
    """Return whose fault an exception was."""
    for types, outcome, failure in _EXCEPTIONS:
        if isinstance(exception, types):
            return Verdict(outcome=outcome, failure=failure or None)
    if isinstance(exception, ConnectFailedError):
        return of_connect(exception.status, exception.headers)
    if isinstance(exception, TunnelError):  # of Scrapy's own handler
        match = _TUNNEL_STATUS.search(str(exception))
        return of_connect(int(match[1]) if match else None)
    for cause in _causes(exception):
        status = getattr(cause, "status", None)
        if isinstance(status, int):  # aiohttp: CONNECT was answered with an error
            return of_connect(status, getattr(cause, "headers", None))
        if isinstance(cause, ResponseFailed):
            return _of_failed_response(cause)
    if isinstance(exception, _named("DownloadFailedError")):
        return Verdict(outcome=Outcome.AMBIGUOUS, failure="connection_lost")
    return Verdict(outcome=Outcome.IGNORED, failure=type(exception).__name__)


def _of_failed_response(failed: ResponseFailed) -> Verdict:
    reasons = [getattr(reason, "value", reason) for reason in failed.reasons]
    if any(type(reason).__module__.startswith("OpenSSL") for reason in reasons):
        return Verdict(outcome=Outcome.AMBIGUOUS, failure="tls")
    if isinstance(failed, ResponseNeverReceived):
        return Verdict(outcome=Outcome.AMBIGUOUS, failure=NO_RESPONSE)
    return Verdict(outcome=Outcome.AMBIGUOUS, failure="truncated")


def _causes(exception: BaseException | None) -> Iterator[BaseException]:
    while exception is not None:
        yield exception
        exception = exception.__cause__
