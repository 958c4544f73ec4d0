"""What proxies sign their own pages with: headers and statuses that tell such a page from the site's.

Says whose page it is where a mark is certain, and nothing where it is not. No state.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from ..pool import Outcome
from .verdict import Verdict

if TYPE_CHECKING:
    from scrapy.http import Response

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


def proxy_says(response: Response) -> Verdict | None:
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


def is_tinyproxys(response: Response) -> bool:
    """Whether Tinyproxy refuses wrong credentials: it does so like a site, with 401."""
    return b'realm="Tinyproxy"' in (response.headers.get("WWW-Authenticate") or b"")
