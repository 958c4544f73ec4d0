"""What the exceptions of download handlers say, whichever library they come from. No state.

Scrapy wraps what a library raises in exceptions of its own that are broader: its "connection refused"
may be a bad certificate, or the answer 407 to CONNECT. So what is asked here is the whole chain: an
exception, what Twisted has collected in it, and its causes. Libraries are known by the names of their
modules and classes: none of them need be installed.
"""

from __future__ import annotations

import errno
import re
import socket
import ssl
from typing import TYPE_CHECKING

from ..core import Outcome
from ..core.outcome import PROXY_AUTH, TIMEOUT
from ..core.verdict import Verdict

if TYPE_CHECKING:
    from collections.abc import Sequence

_LONGEST_CHAIN = 20

# libcurl's CONNECT, and those of http.client and urllib3.
_CONNECT_ANSWER = re.compile(
    r"(?:CONNECT tunnel failed, response|Received HTTP code|Tunnel connection failed:) (\d{3})\b"
)
# httpx and httpcore raise it for CONNECT with the status line as text, and for SOCKS with words.
_STATUS_LINE = re.compile(r"([1-5]\d\d)\b")
_SOCKS_REFUSES_CREDENTIALS = re.compile(
    r"rejected by the SOCKS|username/password|authentication fail", re.IGNORECASE
)

_DNS = Verdict(outcome=Outcome.PROXY_FAULT, failure="dns")
_REFUSED = Verdict(outcome=Outcome.PROXY_FAULT, failure="connection_refused")
_CONNECT_ERROR = Verdict(outcome=Outcome.PROXY_FAULT, failure="connect_error")
_NO_RESPONSE = Verdict(outcome=Outcome.PROXY_FAULT, failure="no_response")
_LOST = Verdict(outcome=Outcome.AMBIGUOUS, failure="connection_lost")
_TRUNCATED = Verdict(outcome=Outcome.AMBIGUOUS, failure="truncated")
_TIMED_OUT = Verdict(outcome=Outcome.AMBIGUOUS, failure=TIMEOUT)
_TLS = Verdict(outcome=Outcome.AMBIGUOUS, failure="tls")
_SOCKS = Verdict(outcome=Outcome.AMBIGUOUS, failure="socks")

# libcurl's codes (curl.se/libcurl/c/libcurl-errors.html).
_CURL = {
    5: _DNS,  # the proxy's name
    7: _REFUSED,
    18: _TRUNCATED,
    28: _TIMED_OUT,
    35: _TLS,
    52: _LOST,
    55: _LOST,
    56: _LOST,
    92: _TRUNCATED,
    97: _SOCKS,
}
_CURL_BAD_CERTIFICATE = {51, 60}
_CURL_CONNECT_ABORTED = "Proxy CONNECT aborted"

_NO_WAY = {errno.EHOSTUNREACH, errno.ENETUNREACH, errno.EHOSTDOWN, errno.ENETDOWN}
# anyio's, under httpx.
_STREAM_ENDS = {"EndOfStream", "BrokenResourceError", "ClosedResourceError"}


def chain(exception: BaseException) -> list[BaseException]:
    """Return an exception, what Twisted has collected in it, and its causes, from the outside in."""
    found: list[BaseException] = []
    waiting: list[object] = [exception]
    while waiting and len(found) < _LONGEST_CHAIN:
        one = waiting.pop(0)
        if not isinstance(one, BaseException) or one in found:
            continue
        found.append(one)
        reasons = getattr(one, "reasons", ())
        if isinstance(reasons, list | tuple):
            waiting += [getattr(reason, "value", reason) for reason in reasons]
        waiting.append(one.__cause__ or one.__context__)  # httpx suppresses what it has wrapped
    return found


def is_bad_certificate(exceptions: Sequence[BaseException]) -> bool:
    """Whether a certificate did not verify: one that Python, OpenSSL, Scrapy or libcurl has checked."""
    for one in exceptions:
        library = _library(one)
        if isinstance(one, ssl.SSLCertVerificationError):
            return True
        if library == "service_identity" and type(one).__name__ == "VerificationError":
            return True
        if library == "OpenSSL" and "certificate verify failed" in str(one):
            return True
        if library == "curl_cffi" and getattr(one, "code", None) in _CURL_BAD_CERTIFICATE:
            return True
    return False


def connect_status(exceptions: Sequence[BaseException]) -> int | None:
    """Return the status that CONNECT was answered with, ``None`` if no exception says so."""
    for one in exceptions:
        status = getattr(one, "status", None)
        if isinstance(status, int):  # aiohttp
            return status
        match = _CONNECT_ANSWER.search(str(one))
        if match is None and _is_proxy_error(one):
            match = _STATUS_LINE.match(str(one))
        if match is not None:
            return int(match[1])
    return None


def of_library(exceptions: Sequence[BaseException]) -> Verdict | None:
    """Return whose fault it was by what a library, or the system, has raised; ``None`` for neither."""
    for verdicts in (map(_of_library, exceptions), map(_of_system, exceptions)):
        for verdict in verdicts:
            if verdict is not None:
                return verdict
    return None


def _of_library(one: BaseException) -> Verdict | None:
    if _is_proxy_error(one) or (_library(one) == "curl_cffi" and getattr(one, "code", 0) == 97):
        if _SOCKS_REFUSES_CREDENTIALS.search(str(one)):
            return Verdict(outcome=Outcome.PROXY_FAULT, failure=PROXY_AUTH)
        return _SOCKS
    if _library(one) == "curl_cffi":
        if _CURL_CONNECT_ABORTED in str(one):
            return _NO_RESPONSE
        return _CURL.get(getattr(one, "code", 0))
    return None


def _of_system(one: BaseException) -> Verdict | None:
    if isinstance(one, ConnectionRefusedError):
        return _REFUSED
    if isinstance(one, socket.gaierror):
        return _DNS
    if isinstance(one, TimeoutError):
        return _TIMED_OUT
    if isinstance(one, ssl.SSLError) and not isinstance(one, ssl.SSLWantReadError):
        return _TLS
    if isinstance(one, ConnectionError | EOFError) or type(one).__name__ in _STREAM_ENDS:
        return _LOST
    if isinstance(one, OSError) and one.errno in _NO_WAY:
        return _CONNECT_ERROR
    return None


def _is_proxy_error(one: BaseException) -> bool:
    return type(one).__name__ == "ProxyError" and _library(one).startswith(("httpx", "httpcore"))


def _library(one: BaseException) -> str:
    return type(one).__module__.partition(".")[0]
