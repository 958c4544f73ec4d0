"""Marks: what real forward proxies answered on loopback, program by program, and whose it is told to be.

Each answer is one that the program gave to a plain ``GET http://...`` as an ordinary forward proxy: its
status, the headers that may tell who made it, and the beginning of its body without the tags.
"""

from __future__ import annotations

import pytest
from scrapy import Request
from scrapy.http import Response

from scrapy_proxybalance import Outcome, classify
from scrapy_proxybalance.http.marks import BUILT_IN, MEANINGS, Mark, signature
from scrapy_proxybalance.http.oddities import looks, oddity

PAGE = Request("http://shop.example/page")
TUNNELLED = Request("https://shop.example/page")

SQUID = {
    "Server": "squid/5.7",
    "X-Cache": "MISS from squidbox",
    "Via": "1.1 squidbox (squid/5.7)",
}
MISSED = SQUID | {"X-Cache-Lookup": "MISS from squidbox:3128"}
DENIED = SQUID | {"X-Cache-Lookup": "NONE from squidbox:3128"}
# Squid in front of a site that answers by itself: Squid adds these.
PASSED = {key: value for key, value in MISSED.items() if key != "Server"}
SQUIDS_PAGE = "ERROR The requested URL could not be retrieved The following error was"
TINY = {"Server": "tinyproxy/1.11.1", "Connection": "close"}
CHAIN = {"Server": "ProxyChain", "Connection": "close"}
APACHE = {"Server": "Apache/2.4.71 (Debian)"}
ATS = {"Server": "ATS/9.2.9", "Cache-Control": "no-store"}
NGINX = {"Server": "nginx/1.22.1"}
MITM = {"Server": "mitmproxy 11.0.2", "Connection": "close"}
PROXY_PY = {"Proxy-agent": "proxy.py v2.4.10", "Connection": "close"}
BASIC = {"Proxy-Authenticate": 'Basic realm="proxy"'}
NOTHING: dict[str, str] = {}

Row = tuple[str, int, dict[str, str], str]

NOT_REACHED: list[Row] = [
    ("squid, no name", 502, MISSED | {"X-Squid-Error": "ERR_READ_ERROR 0"}, SQUIDS_PAGE),
    ("squid, refused", 503, MISSED | {"X-Squid-Error": "ERR_CONNECT_FAIL 111"}, SQUIDS_PAGE),
    ("squid, silent", 504, MISSED | {"X-Squid-Error": "ERR_READ_TIMEOUT 0"}, SQUIDS_PAGE),
    ("squid, closed", 502, MISSED | {"X-Squid-Error": "ERR_ZERO_SIZE_OBJECT 0"}, SQUIDS_PAGE),
    ("tinyproxy", 500, TINY, "Unable to connect Tinyproxy was unable to connect to the remote"),
    ("3proxy", 502, NOTHING, "502 Bad Gateway Host Not Found or connection failed"),
    ("ziproxy, no name", 404, {"Server": "ziproxy"}, "404 Not Found Unknown host."),
    ("ziproxy, refused", 503, {"Server": "ziproxy"}, "503 Service Unavailable Connection refused."),
    ("ziproxy, closed", 500, {"Server": "ziproxy"}, "500 Server error Empty response from server"),
    ("mockttp, refused", 502, NOTHING, "Error: connect ECONNREFUSED"),
    ("privoxy, no name", 404, NOTHING, "502 - Bad Gateway (Privoxy@localhost)"),
    ("privoxy, refused", 503, NOTHING, "503 - Connect failed (Privoxy@localhost)"),
    ("privoxy, silent", 504, NOTHING, "504 - Connection timeout (Privoxy@localhost)"),
    ("privoxy, closed", 502, NOTHING, "502 - No server or forwarder data received (Privoxy@x)"),
    ("proxy-chain, refused", 594, NOTHING, "Connection Refused"),
    ("proxy-chain, closed", 595, NOTHING, "Connection Reset"),
    ("proxy-chain, site's 407", 597, CHAIN, "Invalid upstream proxy credentials"),
    ("nginx", 502, NGINX, "502 Bad Gateway nginx/1.22.1"),
    ("mitmproxy, no name", 502, MITM, "502 Bad Gateway [Errno -2] Name or service not known"),
    ("mitmproxy, closed", 502, MITM, "502 Bad Gateway server closed connection"),
    ("proxy.py", 502, PROXY_PY, "Bad Gateway"),
    ("ncat", 504, NOTHING, ""),
    ("apache, silent", 502, APACHE, "Proxy Error The proxy server received an invalid response"),
    ("ats, refused", 502, ATS, "Could Not Connect Description: Could not connect"),
    ("ats, silent", 504, ATS, "Inactivity Timeout Description: Too much time has passed"),
]

# Nothing tells these from what a site says by itself: a comparison does.
NOT_REACHED_UNMARKED: list[Row] = [
    ("proxy-chain, no name", 404, NOTHING, "Not Found"),
    ("npm proxy, no name", 404, NOTHING, "0"),
    ("npm proxy, refused", 500, NOTHING, "0"),
    ("goproxy, no name", 500, NOTHING, "dial tcp: lookup nope.invalid: no such host"),
    ("goproxy, closed", 500, NOTHING, "EOF"),
    ("apache, no name", 500, APACHE, "Proxy Error The proxy server could not handle the request"),
    ("apache, refused", 503, APACHE, "Service Unavailable The server is temporarily unable"),
    ("ats, no name", 500, ATS, "Unknown Host Description: Unable to locate the server"),
    ("haproxy", 503, NOTHING, "503 Service Unavailable No server is available to handle this"),
    ("nginx, at its limit", 503, NGINX, "503 Service Temporarily Unavailable nginx/1.22.1"),
]

HOST_DENIED: list[Row] = [
    ("squid", 403, DENIED | {"X-Squid-Error": "ERR_ACCESS_DENIED 0"}, SQUIDS_PAGE),
    ("tinyproxy", 403, TINY, "Filtered The request you made has been filtered"),
    ("3proxy", 403, NOTHING, "Access control list denies you to access this resource"),
    ("privoxy", 403, NOTHING, "Request blocked (Privoxy@localhost)"),
    ("proxy-chain", 403, CHAIN, "Denied"),
    ("proxy-chain, account blocked", 403, CHAIN, "Account blocked"),
    ("mitmproxy", 403, MITM, ""),
    (
        "apache",
        403,
        APACHE,
        "Proxy Error The proxy server could not handle the request Reason: "
        "Connect to remote machine blocked",
    ),
]

AT_ITS_LIMIT: list[Row] = [
    ("privoxy", 503, NOTHING, "Maximum number of open connections reached."),
]

CREDENTIALS: list[Row] = [
    ("squid", 407, DENIED | BASIC | {"X-Squid-Error": "ERR_CACHE_ACCESS_DENIED 0"}, "ERROR Cache"),
    ("tinyproxy, missing", 407, TINY | BASIC, "Proxy Authentication Required"),
    (
        "tinyproxy, wrong",
        401,
        TINY | {"WWW-Authenticate": 'Basic realm="Tinyproxy"'},
        "Unauthorized The administrator of this proxy has not configured it to",
    ),
    ("3proxy", 407, BASIC, "407 Proxy Authentication Required"),
    ("proxy-chain", 407, CHAIN | BASIC, "Proxy credentials required."),
    ("apache", 407, APACHE | BASIC, "Proxy Authentication Required"),
    ("npm proxy", 407, BASIC, "Proxy authorization required"),
    ("goproxy", 407, {"Proxy-Authenticate": "Basic realm=pool"}, "407 Proxy Authentication"),
    ("mitmproxy", 407, BASIC, "407 Proxy Authentication Required"),
    ("proxy.py", 407, PROXY_PY | BASIC, "Proxy Authentication Required"),
    ("ncat", 407, BASIC, ""),
]

# What each program adds to what a site says by itself.
PASSED_ON: list[tuple[str, dict[str, str]]] = [
    ("squid", PASSED),
    ("tinyproxy", {"Via": "1.1 box (tinyproxy/1.11.1)"}),
    ("3proxy", {"Connection": "close"}),
    ("privoxy", {"Connection": "close", "Proxy-Connection": "keep-alive"}),
    ("apache", APACHE),
    ("ats", {"Server": "ATS/9.2.9"}),
    ("proxy-chain", {"Connection": "keep-alive"}),
    ("nginx", NGINX),
    ("npm proxy", NOTHING),
    ("goproxy", NOTHING),
    ("mitmproxy", {"Connection": "close"}),
    ("ncat", {"Connection": "close"}),
]


passed_on = pytest.mark.parametrize(
    "added", [pytest.param(added, id=program) for program, added in PASSED_ON]
)


def answer(status: int, headers: dict[str, str], body: str, url: str = PAGE.url) -> Response:
    page = f"<!DOCTYPE html>\n<html><head></head><body>{body}</body></html>" if body else ""
    return Response(url, status=status, headers=headers, body=page.encode())


def rows(given: list[Row]) -> pytest.MarkDecorator:
    named = [pytest.param(*answered, id=f"{name}-{answered[0]}") for name, *answered in given]
    return pytest.mark.parametrize(("status", "headers", "body"), named)


# What the programs say


@rows(NOT_REACHED)
def test_a_proxy_that_does_not_get_through_is_not_to_blame_for_certain(
    status: int, headers: dict[str, str], body: str
) -> None:
    verdict = classify(PAGE, answer(status, headers, body))
    assert verdict.outcome in (Outcome.AMBIGUOUS, Outcome.GATEWAY_FAULT)


@rows(NOT_REACHED_UNMARKED)
def test_what_bears_no_mark_is_compared_with_what_others_get(
    status: int, headers: dict[str, str], body: str
) -> None:
    response = answer(status, headers, body)
    assert classify(PAGE, response).outcome is Outcome.SUCCESS
    assert oddity(PAGE, response) == str(status)


@rows(AT_ITS_LIMIT)
def test_a_proxy_that_is_at_its_limit_has_too_much_to_do(
    status: int, headers: dict[str, str], body: str
) -> None:
    verdict = classify(PAGE, answer(status, headers, body))
    assert verdict.outcome is Outcome.GATEWAY_FAULT
    assert verdict.failure == "too_many"
    assert verdict.certain


@rows(HOST_DENIED)
def test_a_proxy_that_denies_a_host_is_no_site_that_refuses(
    status: int, headers: dict[str, str], body: str
) -> None:
    verdict = classify(PAGE, answer(status, headers, body))
    assert (verdict.outcome, verdict.failure) == (Outcome.PROXY_FAULT, "host_refused")
    assert verdict.certain


@rows(CREDENTIALS)
def test_a_proxy_that_refuses_its_credentials_says_so(
    status: int, headers: dict[str, str], body: str
) -> None:
    verdict = classify(PAGE, answer(status, headers, body))
    assert (verdict.outcome, verdict.failure) == (Outcome.PROXY_FAULT, "proxy_auth")


@rows([*NOT_REACHED, *NOT_REACHED_UNMARKED, *HOST_DENIED, *CREDENTIALS])
def test_in_a_tunnel_no_mark_is_our_proxys(status: int, headers: dict[str, str], body: str) -> None:
    verdict = classify(TUNNELLED, answer(status, headers, body))
    assert verdict.outcome in (Outcome.SUCCESS, Outcome.TARGET_SIGNAL, Outcome.AMBIGUOUS)
    assert verdict.failure in (None, str(status))


# What the site says through them


@passed_on
@pytest.mark.parametrize(
    ("status", "headers"), [(403, {}), (429, {}), (503, {"Retry-After": "30"})]
)
def test_a_sites_own_refusal_is_the_sites_through_whatever_program(
    added: dict[str, str], status: int, headers: dict[str, str]
) -> None:
    verdict = classify(PAGE, answer(status, added | headers, f"site says {status}"))
    assert (verdict.outcome, verdict.failure) == (Outcome.TARGET_SIGNAL, str(status))


@passed_on
@pytest.mark.parametrize("status", [404, 407, 410, 500, 503])
def test_what_else_a_site_says_is_nobodys_fault(added: dict[str, str], status: int) -> None:
    verdict = classify(PAGE, answer(status, added, f"site says {status}"))
    assert (verdict.outcome, verdict.failure) == (Outcome.SUCCESS, None)


@passed_on
def test_a_page_bears_no_mark(added: dict[str, str]) -> None:
    page = answer(200, added, "(Privoxy@localhost) Host Not Found or connection failed")
    assert classify(PAGE, page).outcome is Outcome.SUCCESS
    assert oddity(PAGE, page) is None


# The table


@pytest.mark.parametrize("mark", BUILT_IN, ids=repr)
def test_each_built_in_mark_is_what_decides_about_the_page_that_bears_it(mark: Mark) -> None:
    status = min(mark.statuses, default=500)
    headers = {} if mark.header is None else {mark.header: f"{mark.value} 1"}
    page = answer(status, headers, mark.body or "")
    assert mark.fits(page)
    outcome, failure = MEANINGS[mark.verdict]
    verdict = classify(PAGE, page)
    assert (verdict.outcome, verdict.failure) == (outcome, failure)


@pytest.mark.parametrize("status", [402, *range(441, 444), *range(445, 449), 452, 458, 490, 599])
def test_a_status_that_only_proxies_use_is_not_certain(status: int) -> None:
    verdict = classify(PAGE, answer(status, NOTHING, "x"))
    assert verdict.outcome is not Outcome.SUCCESS
    assert not verdict.certain


@pytest.mark.parametrize("status", [404, 444, 449, 450, 451, 459, 499, 500, 520, 557])
def test_a_status_that_sites_use_has_no_meaning_of_a_proxys(status: int) -> None:
    assert classify(PAGE, answer(status, NOTHING, "x")).outcome is Outcome.SUCCESS


def test_a_header_fits_whatever_its_case_and_a_missing_one_does_not() -> None:
    mark = Mark(header="X-Gate-Error", value="Used Up")
    assert mark.fits(answer(502, {"x-gate-error": "USED UP: 10 GB"}, ""))
    assert not mark.fits(answer(502, {"x-gate-error": "other"}, ""))
    assert not mark.fits(answer(502, NOTHING, "Used Up"))


def test_a_mark_without_a_status_is_one_of_errors_alone() -> None:
    mark = Mark(header="X-Gate-Error")
    assert mark.fits(answer(400, {"X-Gate-Error": "1"}, ""))
    assert not mark.fits(answer(200, {"X-Gate-Error": "1"}, ""))
    assert Mark(header="X-Gate-Error", statuses=frozenset((200,))).fits(
        answer(200, {"X-Gate-Error": "1"}, "")
    )


def test_a_body_is_looked_at_from_its_beginning_only() -> None:
    mark = Mark(body="out of traffic")
    assert mark.fits(answer(500, NOTHING, "x" * 3000 + "out of traffic"))
    assert not mark.fits(answer(500, NOTHING, "x" * 9000 + "out of traffic"))


def test_the_users_marks_are_asked_before_the_built_in_ones() -> None:
    page = answer(403, TINY, "Filtered")
    own = Mark(header="Server", value="tinyproxy", verdict="too_many")
    assert classify(PAGE, page, (own, *BUILT_IN)).failure == "too_many"


# What pages have in common


def test_pages_of_one_maker_have_one_signature_and_others_have_another() -> None:
    one, same = (answer(503, TINY, "Unable to connect") for _ in range(2))
    assert signature(one) == signature(same)
    others = [
        answer(502, TINY, "Unable to connect"),
        answer(503, NGINX, "Unable to connect"),
        answer(503, TINY, "Filtered"),
        answer(503, TINY | {"Proxy-Status": "exit7; error=dns_error"}, "Unable to connect"),
    ]
    assert len({signature(page) for page in [one, *others]}) == 5


def test_only_the_last_member_of_proxy_status_tells_who_made_a_page() -> None:
    one, other = (
        answer(503, {"Proxy-Status": f"{first}; error=dns_error, exit7"}, "x")
        for first in ("cdn", "other")
    )
    assert signature(one) == signature(other)


@pytest.mark.parametrize(
    ("status", "location", "kind"),
    [
        (302, "http://provider.example/top-up", "redirect_elsewhere"),
        (302, "//provider.example/", "redirect_elsewhere"),
        (301, "https://shop.example/page", None),
        (302, "http://www.shop.example/page", None),
        (303, "/login", None),
        (302, "", None),
        (302, "http://[", "redirect_elsewhere"),
    ],
)
def test_a_redirect_is_odd_if_it_leads_to_another_site(
    status: int, location: str, kind: str | None
) -> None:
    assert oddity(PAGE, answer(status, {"Location": location}, "")) == kind


@pytest.mark.parametrize(
    ("method", "status", "kind"),
    [
        ("GET", 200, "empty"),
        ("GET", 204, "empty"),
        ("POST", 204, None),
        ("GET", 304, None),
        ("HEAD", 200, None),
    ],
)
def test_an_empty_page_is_odd_where_there_should_be_one(
    method: str, status: int, kind: str | None
) -> None:
    request = Request(PAGE.url, method=method)
    assert oddity(request, answer(status, NOTHING, "")) == kind
    assert not looks(request, answer(status, NOTHING, ""))


def test_pages_look_the_same_in_all_or_in_the_words_that_they_begin_with() -> None:
    blocked, other = "<title>No access</title> id 5f3a9c", "<title>No access</title> id 77b1e2"
    whole, words = looks(PAGE, answer(200, NOTHING, blocked))
    assert looks(PAGE, answer(200, NOTHING, blocked)) == (whole, words)
    assert looks(PAGE, answer(200, NOTHING, other))[0] != whole
    assert looks(PAGE, answer(200, NOTHING, other))[1] == words
    assert looks(PAGE, answer(200, NOTHING, "<title>A shop</title>"))[1] != words
    assert not looks(PAGE, answer(404, NOTHING, "a"))


def test_redirects_look_the_same_that_lead_to_the_same_place() -> None:
    there = looks(PAGE, answer(302, {"Location": "/blocked"}, ""))
    assert there == looks(PAGE, answer(302, {"Location": "/blocked"}, "words"))
    assert there != looks(PAGE, answer(302, {"Location": "/login"}, ""))
