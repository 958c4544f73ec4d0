"""Why proxies do not answer: the likeliest causes in words, from the classes of failure.

For people who have just written a list of proxies; knows no crawl and no pool.
"""

from __future__ import annotations

import re
from collections import Counter
from itertools import zip_longest
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

_NOT_ALLOWED = "this machine's IP address is not on the provider's list of allowed addresses"
_ACCOUNT = "the account has no traffic left, or a limit of it is reached"
_SESSION = "the region or session parameters in the username are not valid"
_NOT_RUNNING = "the proxies, or their gateway, are not running"
_SITE = "the site itself does not answer, or not within the timeout"
_SCHEME = "the port expects another protocol than the http://, https:// or socks5:// of the entry"

#: The silence of attempts that are still under way.
_SILENCE = "timeout"

# By the first pattern that fits a class of failure; the likeliest cause first.
_CAUSES: tuple[tuple[re.Pattern[str], tuple[str, ...]], ...] = tuple(
    (re.compile(pattern), causes)
    for pattern, causes in (
        (
            "connection_refused|connect_error",
            (
                "the address or the port of the proxies is wrong",
                _NOT_RUNNING,
                "a firewall refuses connections to them",
            ),
        ),
        (
            "dns",
            (
                "the host name of the proxies is misspelt",
                "this machine cannot resolve host names (DNS)",
                "this machine has no connection to the network",
            ),
        ),
        (
            "proxy_auth|connect_40[137]|squid_err_cache_access_denied",
            ("the username or the password is wrong", _NOT_ALLOWED, _ACCOUNT),
        ),
        (
            _SILENCE,
            (
                "a firewall drops what is sent to the proxies",
                "the gateway is down or overloaded",
                _SITE,
            ),
        ),
        (
            "no_response|connection_lost|truncated|tls|connect_closed|connect_garbage",
            (_SCHEME, _NOT_ALLOWED, _ACCOUNT),
        ),
        (
            r"connect_\w+|proxy_status_\w+|squid_\w+|\d{3}",
            ("the gateway does not reach the site", _ACCOUNT, _SESSION),
        ),
    )
)
_OTHERWISE = (
    "the list of proxies is old, or is meant for another protocol",
    _NOT_RUNNING,
    _SITE,
)
# A kind of failure that is a smaller part of all is left out.
_PART = 0.1


def likeliest_causes(failures: Mapping[str, int], under_way: int = 0) -> list[str]:
    """Return the three likeliest causes, the likeliest first.

    :param failures: how often attempts failed, by class.
    :param under_way: attempts that nothing has been heard of.
    """
    kinds: Counter[tuple[str, ...]] = Counter()
    for failure, count in (*failures.items(), (_SILENCE, under_way)):
        kinds[_causes_of(failure)] += count
    most_first = [causes for causes, count in kinds.most_common() if count > _PART * kinds.total()]
    by_likelihood = [one for rank in zip_longest(*most_first) for one in rank if one is not None]
    return list(dict.fromkeys(by_likelihood))[:3]


def _causes_of(failure: str) -> tuple[str, ...]:
    for pattern, causes in _CAUSES:
        if pattern.fullmatch(failure):
            return causes
    return _OTHERWISE


def failures_in_words(failures: Counter[str], count: int = 3) -> str:
    """Return the most frequent classes of failure with their counts."""
    return ", ".join(f"{failure} {number}" for failure, number in failures.most_common(count))
