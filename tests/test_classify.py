"""Whose fault it was: the table of the design, row by row, on what Scrapy really hands over."""

from __future__ import annotations

from email.utils import formatdate

import pytest
from scrapy import Request, exceptions
from scrapy.core.downloader.handlers.http11 import TunnelError
from scrapy.exceptions import IgnoreRequest
from scrapy.http import Response
from twisted.internet import error as twisted_error
from twisted.python.failure import Failure
from twisted.web.client import ResponseFailed, ResponseNeverReceived

from scrapy_proxybalance import Outcome, classify
from scrapy_proxybalance.classify import retry_after

PAGE = Request("http://shop.example/page")
NOW = 1_800_000_000.0


def respond(status: int, **headers: str) -> Response:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Response(PAGE.url, status=status, headers=named)


def caused_by(exception: Exception, cause: Exception) -> Exception:
    exception.__cause__ = cause
    return exception


@pytest.mark.parametrize("status", [200, 204, 301, 304, 404, 410, 500, 501, 503])
def test_the_sites_own_answers_are_a_success_for_the_proxy(status: int) -> None:
    verdict = classify(PAGE, respond(status))
    assert (verdict.outcome, verdict.failure) == (Outcome.SUCCESS, None)


@pytest.mark.parametrize(
    ("response", "outcome", "failure"),
    [
        (respond(407), Outcome.PROXY_FAULT, "proxy_auth"),
        (respond(429), Outcome.TARGET_SIGNAL, "429"),
        (respond(503, Retry_After="30"), Outcome.TARGET_SIGNAL, "503"),
        (respond(403), Outcome.TARGET_SIGNAL, "403"),
        (respond(502), Outcome.AMBIGUOUS, "502"),
        (respond(504), Outcome.AMBIGUOUS, "504"),
        (
            respond(502, Proxy_Status="exit7; error=connection_timeout"),
            Outcome.AMBIGUOUS,
            "proxy_status_connection_timeout",
        ),
        (
            respond(502, Proxy_Status="a, exit7; received-status=1; error=proxy_internal_error"),
            Outcome.PROXY_FAULT,
            "proxy_status_proxy_internal_error",
        ),
    ],
)
def test_a_response_that_says_something_else(
    response: Response, outcome: Outcome, failure: str
) -> None:
    verdict = classify(PAGE, response)
    assert (verdict.outcome, verdict.failure) == (outcome, failure)


def test_a_cached_response_says_nothing_of_the_proxy() -> None:
    assert classify(PAGE, Response(PAGE.url, flags=["cached"])).outcome is Outcome.IGNORED


def test_a_403_for_robots_txt_is_no_refusal() -> None:
    robots = Request("http://shop.example/robots.txt")
    assert classify(robots, respond(403)).outcome is Outcome.SUCCESS


TWISTED_EXCEPTIONS = [
    (twisted_error.ConnectionRefusedError(), Outcome.PROXY_FAULT, "connection_refused"),
    (twisted_error.DNSLookupError(), Outcome.PROXY_FAULT, "dns"),
    (twisted_error.ConnectError(), Outcome.PROXY_FAULT, "connect_error"),
    (twisted_error.NoRouteError(), Outcome.PROXY_FAULT, "connect_error"),
    (twisted_error.TimeoutError(), Outcome.AMBIGUOUS, "timeout"),
    (twisted_error.ConnectionLost(), Outcome.AMBIGUOUS, "connection_lost"),
    (
        ResponseNeverReceived([Failure(twisted_error.ConnectionLost())]),
        Outcome.PROXY_FAULT,
        "no_response",
    ),
    (
        ResponseFailed([Failure(twisted_error.ConnectionLost())]),
        Outcome.AMBIGUOUS,
        "truncated",
    ),
    (
        TunnelError(
            "Could not open CONNECT tunnel with proxy p:1 [{'status': 407, 'reason': b''}]"
        ),
        Outcome.PROXY_FAULT,
        "proxy_auth",
    ),
    (
        TunnelError(
            "Could not open CONNECT tunnel with proxy p:1 [{'status': 503, 'reason': b''}]"
        ),
        Outcome.GATEWAY_FAULT,
        "connect_503",
    ),
    (
        TunnelError(
            "Could not open CONNECT tunnel with proxy p:1 [{'status': 403, 'reason': b''}]"
        ),
        Outcome.PROXY_FAULT,
        "connect_403",
    ),
    (TunnelError("... [b'SSH-2.0-OpenSSH']"), Outcome.PROXY_FAULT, "connect_garbage"),
    (IgnoreRequest(), Outcome.IGNORED, None),
    (KeyError("a bug in somebody's middleware"), Outcome.IGNORED, "KeyError"),
]


@pytest.mark.parametrize(("exception", "outcome", "failure"), TWISTED_EXCEPTIONS)
def test_an_exception(exception: Exception, outcome: Outcome, failure: str | None) -> None:
    verdict = classify(PAGE, exception)
    assert (verdict.outcome, verdict.failure) == (outcome, failure)


SCRAPY_EXCEPTIONS = [
    ("DownloadConnectionRefusedError", Outcome.PROXY_FAULT, "connection_refused"),
    ("CannotResolveHostError", Outcome.PROXY_FAULT, "dns"),
    ("DownloadTimeoutError", Outcome.AMBIGUOUS, "timeout"),
    ("ResponseDataLossError", Outcome.AMBIGUOUS, "truncated"),
    ("DownloadFailedError", Outcome.AMBIGUOUS, "connection_lost"),
    ("DownloadCancelledError", Outcome.IGNORED, None),
    ("UnsupportedURLSchemeError", Outcome.IGNORED, None),
]


@pytest.mark.parametrize(
    ("name", "outcome", "failure"),
    [row for row in SCRAPY_EXCEPTIONS if hasattr(exceptions, row[0])]
    or [("IgnoreRequest", Outcome.IGNORED, None)],
)
def test_an_exception_of_the_newer_scrapy(name: str, outcome: Outcome, failure: str | None) -> None:
    verdict = classify(PAGE, getattr(exceptions, name)("text"))
    assert (verdict.outcome, verdict.failure) == (outcome, failure)


def test_what_failed_is_told_from_the_cause_that_the_newer_scrapy_wraps() -> None:
    never = ResponseNeverReceived([Failure(twisted_error.ConnectionLost())])
    wrapped = caused_by(RuntimeError("as DownloadFailedError is"), never)
    assert classify(PAGE, wrapped).failure == "no_response"


def test_a_connect_refused_by_status_is_told_from_the_cause_of_other_handlers() -> None:
    class ClientHttpProxyError(Exception):
        status = 407

    wrapped = caused_by(RuntimeError("as DownloadFailedError is"), ClientHttpProxyError())
    assert classify(PAGE, wrapped).failure == "proxy_auth"


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("120", 120.0),
        (" 7 ", 7.0),
        (formatdate(NOW + 90, usegmt=True), 90.0),
        ("Fri, 15-Jan-27 08:01:30 GMT", 90.0),
        ("Fri Jan 15 08:01:30 2027", 90.0),
        ("0", None),
        ("-5", None),
        ("soon", None),
        ("", None),
        ("1e400", None),
        (formatdate(NOW - 90, usegmt=True), None),
    ],
)
def test_retry_after_in_each_form_and_nothing_from_what_is_none(
    value: str, seconds: float | None
) -> None:
    assert retry_after(respond(429, Retry_After=value), NOW) == seconds


def test_no_retry_after_asks_for_nothing() -> None:
    assert retry_after(respond(429), NOW) is None
