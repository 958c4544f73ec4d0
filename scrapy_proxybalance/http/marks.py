"""Marks of proxies' own pages: headers, statuses and words that distinguish them from the site's.

A mark says whose page it is where it is certain, and nothing where it is not. No state: whether a
mark that a site's front end may use as well is a proxy's is decided by who else gets it.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING
from zlib import crc32

import attrs

from ..core import Outcome
from ..core.outcome import HOST_REFUSED, PROXY_AUTH, PROXY_PAGE, TOO_MANY, TRAFFIC_USED_UP, UPSTREAM
from ..core.verdict import Verdict

if TYPE_CHECKING:
    from collections.abc import Iterable

    from .messages import Response

#: What a mark may say of the proxy: the outcome and the class of failure.
MEANINGS: dict[str, tuple[Outcome, str]] = {
    "proxy": (Outcome.PROXY_FAULT, PROXY_PAGE),
    "host_refused": (Outcome.PROXY_FAULT, HOST_REFUSED),
    "credentials": (Outcome.PROXY_FAULT, PROXY_AUTH),
    "traffic_used_up": (Outcome.PROXY_FAULT, TRAFFIC_USED_UP),
    "too_many": (Outcome.GATEWAY_FAULT, TOO_MANY),
    "upstream": (Outcome.AMBIGUOUS, UPSTREAM),
}


@attrs.frozen(kw_only=True)
class Mark:
    """What a proxy's own page looks like. All that is given has to match.

    :param header: the name of a header that the page has.
    :param value: what that header's value begins with, in any case.
    :param statuses: the page's status is one of these; empty for any from 400 on.
    :param body: what the beginning of the body contains.
    :param verdict: one of :data:`MEANINGS`.
    :param certain: whether no site says so.
    """

    header: str | None = None
    value: str = ""
    statuses: frozenset[int] = frozenset()
    body: str | None = None
    verdict: str = "proxy"
    certain: bool = True

    def fits(self, response: Response) -> bool:
        """Return whether a response has it."""
        if self.statuses:
            if response.status not in self.statuses:
                return False
        elif response.status < 400:
            return False
        if self.header is not None:
            value = response.headers.get(self.header)
            if value is None or not value.lower().startswith(self.value.lower().encode()):
                return False
        return self.body is None or self.body.encode() in response.body[:_LOOKED_AT]


_LOOKED_AT = 4096


def _statuses(*given: int | range) -> frozenset[int]:
    found: set[int] = set()
    for one in given:
        found.update((one,) if isinstance(one, int) else one)
    return frozenset(found)


#: What the proxies that were run say, and what the documentation of providers lists; see
#: docs/reference/proxy-marks.md for both. The first that fits decides; the user's own stand before them.
BUILT_IN: tuple[Mark, ...] = (
    Mark(header="Server", value="tinyproxy/", statuses=_statuses(403), verdict="host_refused"),
    Mark(header="Server", value="tinyproxy/", statuses=_statuses(401), verdict="credentials"),
    Mark(header="Server", value="tinyproxy/", verdict="upstream"),
    Mark(header="Server", value="ProxyChain", statuses=_statuses(403), verdict="host_refused"),
    Mark(header="Server", value="ProxyChain", verdict="upstream"),
    Mark(header="Server", value="mitmproxy", statuses=_statuses(403), verdict="host_refused"),
    Mark(header="Server", value="mitmproxy", verdict="upstream"),
    Mark(header="Server", value="ziproxy", verdict="upstream"),
    Mark(header="Proxy-agent", value="proxy.py", verdict="upstream"),
    Mark(statuses=_statuses(403), body="(Privoxy@", verdict="host_refused"),
    Mark(body="(Privoxy@", verdict="upstream"),
    Mark(
        statuses=_statuses(503),
        body="Maximum number of open connections reached.",
        verdict="too_many",
    ),
    Mark(
        statuses=_statuses(403),
        body="Access control list denies you to access this resource",
        verdict="host_refused",
    ),
    Mark(
        statuses=_statuses(403),
        body="Connect to remote machine blocked",
        verdict="host_refused",
    ),
    Mark(
        statuses=_statuses(502),
        body="Host Not Found or connection failed",
        verdict="upstream",
    ),
    Mark(statuses=_statuses(503), body="No rules were found matching this request"),
    Mark(header="X-SOAX-Error"),
    Mark(header="X-BRD-Err-Code"),
    Mark(header="X-BRD-Error-Code"),
    Mark(header="X-Luminati-Error"),
    Mark(header="X-Thor-Error-Code"),
    Mark(header="X-Crawlera-Error", value="banned", verdict="upstream"),
    Mark(header="X-Crawlera-Error", value="slavebanned", verdict="upstream"),
    Mark(header="X-Crawlera-Error", value="user_session_limit", verdict="too_many"),
    Mark(header="X-Crawlera-Error", value="too_many_conns", verdict="too_many"),
    Mark(header="X-Crawlera-Error"),
    Mark(statuses=_statuses(402, 452), verdict="traffic_used_up", certain=False),
    Mark(statuses=_statuses(441, 453), verdict="too_many", certain=False),
    Mark(
        statuses=_statuses(442, 443, range(445, 449), 454, 455, 457, 458, 490),
        certain=False,
    ),
    Mark(statuses=_statuses(range(590, 600)), verdict="upstream", certain=False),
)

# RFC 9209, section 2.3: the errors in which the proxy itself is at fault. The others say that it did
# not reach, or did not understand, the next server.
_PROXY_STATUS_OWN_FAULT = {
    "http_request_denied",
    "proxy_configuration_error",
    "proxy_internal_error",
    "proxy_internal_response",
    "proxy_loop_detected",
}
_PROXY_STATUS_ERROR = re.compile(rb";\s*error\s*=\s*\"?([a-z_]+)")

# A page of Squid's own has the name of its template. With these, Squid refuses the request. With any
# other one it could not serve it, because of its own connection or of the site.
_SQUID_WILL_NOT = {
    "squid_err_access_denied",
    "squid_err_forwarding_denied",
    "squid_err_too_big",
}
_SQUID_ERROR = re.compile(rb"\s*(ERR_[A-Za-z0-9_]+)")
_QUOTED = re.compile(rb'"(?:[^"\\]|\\.)*"')
_LONGEST_FAILURE = 40
# What a page's signature consists of, in addition to its status.
_HEAD = 256


def proxy_says(response: Response, marks: Iterable[Mark]) -> Verdict | None:
    """Return the verdict on an error page that a proxy says it has made itself.

    :param marks: those of the user and the built-in ones, in this order.
    """
    for mark in marks:
        if mark.fits(response):
            outcome, failure = MEANINGS[mark.verdict]
            return Verdict(outcome=outcome, failure=failure, certain=mark.certain)
    return _squid_says(response) or _proxy_status_says(response)


def _squid_says(response: Response) -> Verdict | None:
    error = _SQUID_ERROR.match(response.headers.get("X-Squid-Error") or b"")
    if error is None:
        return None
    name = f"squid_{error[1].decode().lower()}"[:_LONGEST_FAILURE]
    if name not in _SQUID_WILL_NOT:
        return Verdict(outcome=Outcome.GATEWAY_FAULT, failure=name)
    # A page that Squid denies was not looked up in its cache.
    certain = (response.headers.get("Server") or b"").startswith(b"squid") and (
        response.headers.get("X-Cache-Lookup") or b""
    ).startswith(b"NONE")
    if certain and response.status == 403:
        return Verdict(outcome=Outcome.PROXY_FAULT, failure=HOST_REFUSED, certain=True)
    return Verdict(outcome=Outcome.PROXY_FAULT, failure=name, certain=certain)


def _proxy_status_says(response: Response) -> Verdict | None:
    # The last member is of the server nearest to us (RFC 9209, section 2).
    last = _last_member(b",".join(response.headers.getlist("Proxy-Status")))
    error = _PROXY_STATUS_ERROR.search(last)
    if error is None:
        return None
    name = error[1].decode()
    return Verdict(
        outcome=Outcome.PROXY_FAULT if name in _PROXY_STATUS_OWN_FAULT else Outcome.AMBIGUOUS,
        failure=f"proxy_status_{name}"[:_LONGEST_FAILURE],
    )


def _last_member(value: bytes) -> bytes:
    """Return the last member of a structured header's list; commas within strings do not count."""
    outside = re.sub(
        rb'"(?:[^"\\]|\\.)*"', lambda quoted: b'"' + b"_" * (len(quoted[0]) - 2) + b'"', value
    )
    return value[outside.rfind(b",") + 1 :]


def via(response: Response) -> list[str]:
    """Return the members of a response's ``Via``, the nearest server last."""
    members = b",".join(response.headers.getlist("Via")).decode("latin-1").split(",")
    return [member for member in map(str.strip, members) if member]


def signature(response: Response) -> str:
    """Return what is equal for pages that look as if the same server had made them up."""
    headers = response.headers
    made_by = b"|".join(headers.get(name) or b"" for name in ("Server", "X-Squid-Error"))
    # Of all that have named themselves the first has made it; the others have passed it on.
    made_by += b"|" + "".join(via(response)[:1]).encode("latin-1")
    member = _last_member(b",".join(headers.getlist("Proxy-Status"))).partition(b";")[0].strip()
    return f"{response.status} {crc32(made_by + member + response.body[:_HEAD]):x}"
