"""From a proxy's answer to CONNECT, other than 200, to whose fault it was. No state."""

from __future__ import annotations

from ..core import Outcome
from ..core.outcome import HOST_REFUSED, NO_CONNECT, PROXY_AUTH, TOO_MANY, TRAFFIC_USED_UP
from ..core.verdict import Verdict

# nginx as a plain forward proxy answers 400, others 405 (RFC 9110, section 15.5.6) or 501.
_NO_CONNECT = frozenset((400, 405, 501))
_USED_UP = frozenset((402, 452))
# Statuses for too much to do: 429 and 503, and those of providers.
_TOO_MANY = frozenset((429, 441, 453, 503, 525, *range(590, 600)))
# What the words after a status contain that mean it, such as Privoxy's; 503 alone may mean the site.
_TOO_MANY_WORDS = "too many"
# Statuses for not getting through, because of the proxy's own connection or of the site.
_UPSTREAM = frozenset((500, 502, 504))


def of_connect(status: int | None, words: str = "") -> Verdict:
    """Return whose fault it was that CONNECT was refused.

    :param status: of the answer; ``None`` if it was not HTTP.
    :param words: with the answer's reason phrase, as far as it is known.
    """
    if status is not None and status >= 400 and _TOO_MANY_WORDS in words.lower():
        return Verdict(outcome=Outcome.GATEWAY_FAULT, failure=TOO_MANY, certain=True)
    if status in (401, 407):
        return Verdict(outcome=Outcome.PROXY_FAULT, failure=PROXY_AUTH)
    if status in _NO_CONNECT:
        return Verdict(outcome=Outcome.PROXY_FAULT, failure=NO_CONNECT)
    if status in _USED_UP:
        return Verdict(outcome=Outcome.PROXY_FAULT, failure=TRAFFIC_USED_UP)
    if status in _TOO_MANY or status in _UPSTREAM:
        return Verdict(outcome=Outcome.GATEWAY_FAULT, failure=f"connect_{status}")
    if status is not None and 400 <= status < 500:
        return Verdict(outcome=Outcome.PROXY_FAULT, failure=HOST_REFUSED)
    return Verdict(outcome=Outcome.PROXY_FAULT, failure=f"connect_{status or 'garbage'}")
