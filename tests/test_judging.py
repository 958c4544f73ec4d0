"""Whose fault it was: the table of the design, row by row, on what Scrapy really hands over."""

from __future__ import annotations

import time
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

PAGE = Request("http://shop.example/page")


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
    (KeyError("nobody knows whose"), Outcome.AMBIGUOUS, "KeyError"),
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
    ("UnsupportedURLSchemeError", Outcome.IGNORED, "unsupported"),
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


# Who says so


@pytest.mark.parametrize(
    ("status", "headers"),
    [
        (429, {"Proxy_Status": "cdn; error=http_request_error"}),
        (429, {"Proxy_Status": "cdn; error=proxy_internal_error"}),
        (429, {"X_Squid_Error": "ERR_ACCESS_DENIED 0"}),
        (503, {"Proxy_Status": "cdn; error=connection_limit_reached", "Retry_After": "9"}),
        (503, {"X_Squid_Error": "ERR_ACCESS_DENIED 0", "Retry_After": "9"}),
    ],
)
@pytest.mark.parametrize("scheme", ["http", "https"])
def test_who_asks_to_come_back_later_is_obeyed_whoever_it_is(
    scheme: str, status: int, headers: dict[str, str]
) -> None:
    request = Request(f"{scheme}://shop.example/page")
    verdict = classify(request, respond(status, **headers))
    assert (verdict.outcome, verdict.failure) == (Outcome.TARGET_SIGNAL, str(status))


@pytest.mark.parametrize(
    ("status", "outcome"),
    [(403, Outcome.TARGET_SIGNAL), (502, Outcome.AMBIGUOUS), (503, Outcome.SUCCESS)],
)
def test_what_comes_through_a_tunnel_is_not_of_our_proxy(status: int, outcome: Outcome) -> None:
    page = Request("https://shop.example/page")
    verdict = classify(page, respond(status, Proxy_Status="cdn; error=proxy_internal_error"))
    assert verdict.outcome is outcome
    assert "proxy_status" not in (verdict.failure or "")


def test_the_name_of_a_failure_is_cut_to_what_a_stats_key_bears() -> None:
    verdict = classify(PAGE, respond(502, Proxy_Status="exit; error=" + "a" * 99))
    assert verdict.failure == "proxy_status_" + "a" * 27
    assert len(verdict.failure) == 40


# What the response says of the time


def test_a_refusal_carries_the_wait_that_it_asks_for_and_the_header_that_says_so() -> None:
    for status in (403, 429, 503):
        verdict = classify(PAGE, respond(status, Retry_After="120"))
        assert verdict.outcome is Outcome.TARGET_SIGNAL
        assert (verdict.retry_after, verdict.header) == (120, "Retry-After: 120")


def test_a_date_is_counted_from_now() -> None:
    date = formatdate(time.time() + 3600, usegmt=True)
    verdict = classify(PAGE, respond(429, Retry_After=date))
    assert verdict.retry_after is not None
    assert 0 < verdict.retry_after <= 3600
    assert verdict.header == f"Retry-After: {date}"


def test_a_429_and_a_403_may_tell_the_time_by_their_rate_limit() -> None:
    for status in (403, 429):
        verdict = classify(PAGE, respond(status, RateLimit='"default";r=0;t=30'))
        assert verdict.outcome is Outcome.TARGET_SIGNAL
        assert (verdict.retry_after, verdict.header) == (30, 'RateLimit: "default";r=0;t=30')


def test_a_refusal_that_does_not_say_how_long_is_still_one() -> None:
    for status, headers in (
        (403, {}),
        (429, {}),
        (429, {"Retry_After": "0"}),
        (503, {"Retry_After": "soon"}),
    ):
        verdict = classify(PAGE, respond(status, **headers))
        assert verdict.outcome is Outcome.TARGET_SIGNAL
        assert (verdict.retry_after, verdict.header) == (None, None)


def test_a_503_is_no_refusal_for_its_rate_limit_alone() -> None:
    assert classify(PAGE, respond(503, RateLimit_Reset="30")).outcome is Outcome.SUCCESS
    verdict = classify(PAGE, respond(503, Retry_After="0", RateLimit_Reset="30"))
    assert verdict.outcome is Outcome.TARGET_SIGNAL
    assert verdict.header == "RateLimit-Reset: 30"


# Squid's own pages


@pytest.mark.parametrize(
    ("status", "error", "outcome", "failure"),
    [
        (403, "ERR_ACCESS_DENIED 0", Outcome.PROXY_FAULT, "squid_err_access_denied"),
        (403, "ERR_FORWARDING_DENIED 0", Outcome.PROXY_FAULT, "squid_err_forwarding_denied"),
        (413, "ERR_TOO_BIG 0", Outcome.PROXY_FAULT, "squid_err_too_big"),
        (503, "ERR_DNS_FAIL 0", Outcome.GATEWAY_FAULT, "squid_err_dns_fail"),
        (503, "ERR_CONNECT_FAIL 111", Outcome.GATEWAY_FAULT, "squid_err_connect_fail"),
        (504, "ERR_READ_TIMEOUT 0", Outcome.GATEWAY_FAULT, "squid_err_read_timeout"),
        (502, "err_lower", Outcome.AMBIGUOUS, "502"),
        (403, "302 Access Denied", Outcome.TARGET_SIGNAL, "403"),
        (404, "", Outcome.SUCCESS, None),
        (407, "ERR_CACHE_ACCESS_DENIED 0", Outcome.PROXY_FAULT, "proxy_auth"),
        (200, "ERR_ACCESS_DENIED 0", Outcome.SUCCESS, None),
        (502, "ERR_A-B", Outcome.GATEWAY_FAULT, "squid_err_a"),
        (502, "ERR_" + "A" * 99, Outcome.GATEWAY_FAULT, "squid_err_" + "a" * 30),
    ],
)
def test_an_error_page_that_squid_has_made_itself(
    status: int, error: str, outcome: Outcome, failure: str | None
) -> None:
    verdict = classify(PAGE, respond(status, X_Squid_Error=error))
    assert (verdict.outcome, verdict.failure) == (outcome, failure)


def test_squids_403_for_robots_txt_is_the_proxys_too() -> None:
    robots = Request("http://shop.example/robots.txt")
    verdict = classify(robots, respond(403, X_Squid_Error="ERR_ACCESS_DENIED 0"))
    assert verdict.outcome is Outcome.PROXY_FAULT


def test_what_comes_through_a_tunnel_is_the_page_of_a_squid_in_front_of_the_site() -> None:
    page = Request("https://shop.example/page")
    denied = respond(403, X_Squid_Error="ERR_ACCESS_DENIED 0")
    assert classify(page, denied).outcome is Outcome.TARGET_SIGNAL
    failed = respond(503, X_Squid_Error="ERR_CONNECT_FAIL 111")
    assert classify(page, failed).outcome is Outcome.SUCCESS


def test_who_asks_to_come_back_later_is_obeyed_even_if_it_is_squid() -> None:
    for status in (429, 503):
        verdict = classify(PAGE, respond(status, X_Squid_Error="ERR_SLOW 0", Retry_After="9"))
        assert verdict.outcome is Outcome.TARGET_SIGNAL
        assert verdict.retry_after == 9
