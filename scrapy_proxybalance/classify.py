"""From what came back, a response or an exception, to whose fault it was. No state, no consequence.

The user's own classifier (``PROXYBALANCE_CLASSIFIER``) is asked first; where it returns ``None``,
:func:`classify` decides.
"""

from __future__ import annotations

import re
import time
from typing import TYPE_CHECKING

import attrs
from scrapy import exceptions
from scrapy.core.downloader.handlers.http11 import TunnelError
from scrapy.exceptions import IgnoreRequest, NotSupported, StopDownload
from scrapy.utils.httpobj import urlparse_cached
from twisted.internet import error as twisted_error
from twisted.internet.defer import CancelledError
from twisted.web.client import ResponseFailed, ResponseNeverReceived

from .pool import Outcome
from .pool.outcome import PROXY_AUTH, TIMEOUT
from .retry_after import wait_asked

if TYPE_CHECKING:
    from collections.abc import Iterator

    from scrapy import Request
    from scrapy.http import Response


@attrs.frozen(kw_only=True)
class Verdict:
    """Whose fault an attempt's end was.

    :param outcome: whose.
    :param failure: the class of failure in a word, as it appears in stats; ``None`` for none.
    :param retry_after: seconds that the target asked for, if it did.
    :param header: the response's header that said so, for the log; ``None`` if none did.
    """

    outcome: Outcome
    failure: str | None = None
    retry_after: float | None = None
    header: str | None = None


#: The failure of a response 403: a refusal only after several in a row.
FORBIDDEN = "403"

_SUCCESS = Verdict(outcome=Outcome.SUCCESS)
_IGNORED = Verdict(outcome=Outcome.IGNORED)

# RFC 9209, section 2.3: the errors in which the proxy itself is at fault. The others say that it did
# not reach, or did not understand, what lies behind it.
_PROXY_STATUS_OWN_FAULT = {
    "http_request_denied",
    "proxy_configuration_error",
    "proxy_internal_error",
    "proxy_internal_response",
    "proxy_loop_detected",
}
_PROXY_STATUS_ERROR = re.compile(rb";\s*error\s*=\s*\"?([a-z_]+)")

# A page that Squid has made up itself bears the name of its template. With these the proxy will not do
# it. With any other one it could not, for its own line or for the site: what it then answers to CONNECT
# is a gateway fault too, and a lone proxy pays for that only where others get through.
_SQUID_WILL_NOT = {
    "squid_err_access_denied",
    "squid_err_forwarding_denied",
    "squid_err_too_big",
}
_SQUID_ERROR = re.compile(rb"\s*(ERR_[A-Za-z0-9_]+)")
_LONGEST_FAILURE = 40

_TUNNEL_STATUS = re.compile(r"'status': (\d{3})")
_TUNNEL_GATEWAY = {429, 500, 502, 503, 504}


def _named(*names: str) -> tuple[type[Exception], ...]:
    """Return the exceptions of scrapy.exceptions that this Scrapy has (they are new in 2.15)."""
    return tuple(getattr(exceptions, name) for name in names if hasattr(exceptions, name))


# The first row that fits decides; a subclass stands before its base.
_EXCEPTIONS: tuple[tuple[tuple[type[Exception], ...], Outcome, str], ...] = (
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


def classify(request: Request, result: Response | Exception) -> Verdict:
    """Return whose fault the end of an attempt was.

    :param request: as it was sent.
    :param result: what came back.
    """
    if isinstance(result, Exception):
        return _of_exception(result)
    return _of_response(request, result)


def _of_response(request: Request, response: Response) -> Verdict:
    status = response.status
    if "cached" in response.flags:
        return _IGNORED
    if status < 400:
        return _SUCCESS
    if status == 407 or (status == 401 and _is_tinyproxys(response)):
        return Verdict(outcome=Outcome.PROXY_FAULT, failure=PROXY_AUTH)
    if status == 429 or (status == 503 and response.headers.get("Retry-After")):
        return _refusal(response, str(status))
    if urlparse_cached(request).scheme == "http":
        # Through a tunnel no proxy has a say: there such a page is of a proxy in front of the site.
        says = _proxy_says(response)
        if says is not None:
            return says
    if status == 403 and urlparse_cached(request).path != "/robots.txt":
        return _refusal(response, FORBIDDEN)
    if status in (502, 504):
        return Verdict(outcome=Outcome.AMBIGUOUS, failure=str(status))
    return _SUCCESS


def _refusal(response: Response, failure: str) -> Verdict:
    asked = wait_asked(response.headers, time.time())
    return Verdict(
        outcome=Outcome.TARGET_SIGNAL,
        failure=failure,
        retry_after=asked.seconds if asked is not None else None,
        header=asked.header if asked is not None else None,
    )


def _proxy_says(response: Response) -> Verdict | None:
    """Return the verdict on an error page that a proxy says it has made itself."""
    error = _PROXY_STATUS_ERROR.search(b",".join(response.headers.getlist("Proxy-Status")))
    if error is not None:
        name = error[1].decode()
        return Verdict(
            outcome=(Outcome.PROXY_FAULT if name in _PROXY_STATUS_OWN_FAULT else Outcome.AMBIGUOUS),
            failure=f"proxy_status_{name}"[:_LONGEST_FAILURE],
        )
    error = _SQUID_ERROR.match(response.headers.get("X-Squid-Error") or b"")
    if error is not None:
        name = f"squid_{error[1].decode().lower()}"[:_LONGEST_FAILURE]
        return Verdict(
            outcome=Outcome.PROXY_FAULT if name in _SQUID_WILL_NOT else Outcome.GATEWAY_FAULT,
            failure=name,
        )
    return None


def _is_tinyproxys(response: Response) -> bool:
    """Whether Tinyproxy refuses wrong credentials: it does so like a site, with 401."""
    return b'realm="Tinyproxy"' in (response.headers.get("WWW-Authenticate") or b"")


def _of_exception(exception: Exception) -> Verdict:
    if isinstance(exception, TunnelError):
        match = _TUNNEL_STATUS.search(str(exception))
        return _of_connect_status(int(match[1]) if match else None)
    for types, outcome, failure in _EXCEPTIONS:
        if isinstance(exception, types):
            return Verdict(outcome=outcome, failure=failure or None)
    for cause in _causes(exception):
        status = getattr(cause, "status", None)
        if isinstance(status, int):  # aiohttp: CONNECT was answered with an error
            return _of_connect_status(status)
        if isinstance(cause, ResponseFailed):
            return _of_failed_response(cause)
    if isinstance(exception, _named("DownloadFailedError")):
        return Verdict(outcome=Outcome.AMBIGUOUS, failure="connection_lost")
    return Verdict(outcome=Outcome.IGNORED, failure=type(exception).__name__)


def _of_connect_status(status: int | None) -> Verdict:
    if status in (401, 407):
        return Verdict(outcome=Outcome.PROXY_FAULT, failure=PROXY_AUTH)
    if status in _TUNNEL_GATEWAY:
        return Verdict(outcome=Outcome.GATEWAY_FAULT, failure=f"connect_{status}")
    return Verdict(outcome=Outcome.PROXY_FAULT, failure=f"connect_{status or 'garbage'}")


def _of_failed_response(failed: ResponseFailed) -> Verdict:
    reasons = [getattr(reason, "value", reason) for reason in failed.reasons]
    if any(type(reason).__module__.startswith("OpenSSL") for reason in reasons):
        return Verdict(outcome=Outcome.AMBIGUOUS, failure="tls")
    if isinstance(failed, ResponseNeverReceived):
        return Verdict(outcome=Outcome.PROXY_FAULT, failure="no_response")
    return Verdict(outcome=Outcome.AMBIGUOUS, failure="truncated")


def _causes(exception: BaseException | None) -> Iterator[BaseException]:
    while exception is not None:
        yield exception
        exception = exception.__cause__
