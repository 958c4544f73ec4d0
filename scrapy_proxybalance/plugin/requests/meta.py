"""What stands in ``request.meta``: the user's keys, our marker, and what others leave there.

``meta`` is copied by retries, redirects and careless spiders, so nothing found here is trusted to
belong to the request that carries it: an attempt is never kept in it.
"""

from __future__ import annotations

from functools import lru_cache
from hashlib import blake2b
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import urlsplit

from scrapy.utils.httpobj import urlparse_cached

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from scrapy import Request

    from ...core import Proxy

#: Documented keys that users set; the key of the session is a setting.
PROXY = "proxy"
PROXY_FILTER = "proxy_filter"
STRATEGY = "proxy_strategy"
TIMEOUT = "download_timeout"
SESSION_END = "session_end"
#: Documented key that users read.
PROXY_NAME = "proxy_name"
#: In what our RobotsTxtMiddleware asks for, which deals with its failures itself: the
#: :class:`Question`.
ROBOTS = "_proxybalance_robots"

#: The URL that we wrote to ``proxy``, without credentials: tells our choice from the user's.
_CHOSEN = "_proxybalance_chosen"
#: ``(url, names)``: the proxies that have failed this URL.
_TRIED = "_proxybalance_tried"
#: ``(url, names, answers)``: the proxies that have refused their credentials for this URL, and how many
#: answers the pool had had when the first did.
_REFUSED = "_proxybalance_refused"
#: ``(url, kind, who, ...)``: what was odd about the last answer for this URL, see OddAnswer.
_ODD = "_proxybalance_odd"
#: Whether those may not be used even where no other proxy is free.
_STRICTLY = "_proxybalance_strictly"
#: The name of the proxy to send a request through if that is free; for its next attempt only.
_PREFERRED = "_proxybalance_preferred"
#: ``(ours, theirs)``: the timeout that we wrote to ``download_timeout``, and what stood there before.
_TIMEOUTS = "_proxybalance_timeouts"
#: ``(url, count)``: how often attempts at this URL were cut off by a timeout of ours.
_CUTS = "_proxybalance_cuts"
#: ``(url, count)``: how often attempts at this URL cost no retry because of a suspected outage.
_SPARED = "_proxybalance_spared"
#: Whether the last one did, and has to wait like a retry before it goes again.
_JUST_SPARED = "_proxybalance_just_spared"
#: How many idle connections to its proxy may stay open when a request is sent.
_IDLE = "_proxybalance_idle"
#: ``(url, count)``: how often attempts at this URL were one too many at once for their proxy.
_TOO_MANY = "_proxybalance_too_many"
#: ``(what is asked, id, count)``: what the attempts at a page have in common, and how many there were.
_ATTEMPTS = "_proxybalance_attempts"
#: Where RetryMiddleware counts how often a request has been retried; a copy of meta has it, too.
_RETRY_TIMES = "retry_times"
#: That count, as it was when a request last went: with the same count it is no new retry.
_RETRIED = "_proxybalance_retried"
#: Where download handlers write the seconds until the response's headers were there.
_LATENCY = "download_latency"
#: Where HttpProxyMiddleware remembers which proxy a Proxy-Authorization header is for.
_AUTH_PROXY = "_auth_proxy"

_AUTHORIZATION = b"Proxy-Authorization"
_BASIC = b"basic "
_LOCAL_SCHEMES = ("data:", "file:")
_DEFAULT_PORTS = {"http": 80, "https": 443}


def is_remote(request: Request) -> bool:
    """Whether a request goes over the network at all."""
    return not request.url.startswith(_LOCAL_SCHEMES)


def is_direct(request: Request) -> bool:
    """Whether the user wants no proxy for this request."""
    return PROXY in request.meta and request.meta[PROXY] is None


def proxy_is_users(request: Request) -> bool:
    """Whether the user has decided on the proxy of this request, ``None`` for none included."""
    if PROXY not in request.meta:
        return False
    proxy = request.meta[PROXY]
    if proxy is None:
        return True
    scheme, separator, rest = str(proxy).rpartition("://")
    return request.meta.get(_CHOSEN) != f"{scheme}{separator}{rest.rpartition('@')[2]}"


def host_of(request: Request) -> str:
    """Return the URL's host, with the port where it is not the usual one.

    Never the download slot, which redirects and users carry over from elsewhere.
    """
    parts = urlparse_cached(request)
    return _target(parts.scheme, parts.netloc)


def tunnel_of(request: Request) -> str | None:
    """Return what a connection through a proxy can be used again for; ``None`` if that is anything.

    https is tunnelled: each site, by host and port, needs connections of its own.
    """
    parts = urlparse_cached(request)
    if parts.scheme != "https":
        return None
    site = _target("https", parts.netloc)
    address = request.meta.get("bindaddress")
    return f"{site} from {address}" if address else site


@lru_cache(maxsize=10_000)
def _target(scheme: str, netloc: str) -> str:
    parts = urlsplit(f"{scheme}://{netloc}")
    host = parts.hostname or ""
    if ":" in host:
        host = f"[{host}]"
    try:
        port = parts.port
    except ValueError:
        return host
    return host if port is None or port == _DEFAULT_PORTS.get(scheme) else f"{host}:{port}"


def session_of(request: Request, key: str) -> str | None:
    """Return a request's session, or ``None`` if it has none."""
    session = request.meta.get(key)
    return None if session is None else str(session)


def filter_of(request: Request) -> Any:
    """Return a request's proxy filter, or ``None`` if it has none."""
    return request.meta.get(PROXY_FILTER)


def strategy_of(request: Request) -> Any:
    """Return what is to choose a request's proxy, or ``None`` if it does not say."""
    return request.meta.get(STRATEGY)


def tried(request: Request) -> tuple[str, ...]:
    """Return the names of the proxies that have failed this URL already, or are to be avoided."""
    url, names = request.meta.get(_TRIED, ("", ()))
    return tuple(names) if url == request.url or avoids_strictly(request) else ()


def avoid(request: Request, names: Iterable[str], *, strictly: bool) -> None:
    """Have a request go through other proxies than these.

    :param strictly: even if no other is free, and wherever it is redirected to.
    """
    request.meta[_TRIED] = (request.url, tuple(names))
    request.meta[_STRICTLY] = strictly


def avoids_strictly(request: Request) -> bool:
    """Return whether a request may not go through those that are :func:`tried`."""
    return bool(request.meta.get(_STRICTLY))


def mark_tried(request: Request, proxy: Proxy) -> None:
    """Remember, for the retries to come, that a proxy has failed this URL."""
    request.meta[_TRIED] = (request.url, (*tried(request), proxy.name))


def mark_refused(request: Request, proxy: Proxy, answers: int) -> tuple[int, bool]:
    """Remember that a proxy has refused its credentials for this URL.

    :param answers: how many answers the pool has had so far.
    :return: how many proxies have refused it, and whether there were answers since the first did.
    """
    url, names, before = request.meta.get(_REFUSED, ("", (), answers))
    if url != request.url:
        names, before = (), answers
    names = (*names, proxy.name)
    request.meta[_REFUSED] = (request.url, names, before)
    return len(names), answers > before


class OddAnswer(NamedTuple):
    """An answer that may be a proxy's own.

    ``kind``: what it looked like. ``who``: who was compared. ``proxy``: the name of the one that gave
    it. ``part``: what that was charged with, 0 to 1. ``at``: when it came, in seconds on the pool's
    clock. ``generation``: that of its attempt.
    """

    kind: str
    who: str
    proxy: str
    part: float
    at: float
    generation: int


def odd_answer(request: Request) -> OddAnswer | None:
    """Return the odd answer that was the last for this URL, if it was odd."""
    url, *odd = request.meta.get(_ODD, ("",))
    return OddAnswer(*odd) if url == request.url else None


def mark_odd(request: Request, odd: OddAnswer) -> None:
    """Remember, for the second opinion, what was odd about an answer."""
    request.meta[_ODD] = (request.url, *odd)


def prefer(request: Request, proxy: str) -> None:
    """Have the next attempt at a request go through a proxy, by its name, if that is free."""
    request.meta[_PREFERRED] = proxy


def take_preferred(request: Request) -> str | None:
    """Return the name of the proxy that the next attempt is to go through, and forget it."""
    preferred: str | None = request.meta.pop(_PREFERRED, None)
    return preferred


def retry_of(request: Request) -> int:
    """Return which retry of its page a request is, from 1 on; 0 if it is no retry, or was sent already.

    Redirects, careless spiders and our own :func:`resend` copy the count; they are no retries.
    """
    times = request.meta.get(_RETRY_TIMES)
    if not times or not isinstance(times, int) or times < 1:
        return 0
    return 0 if request.meta.get(_RETRIED) == times else times


def is_retry(request: Request) -> bool:
    """Whether a request is a retry that has yet to go through the pool; any other costs it nothing."""
    return (
        _RETRY_TIMES in request.meta
        and retry_of(request) > 0
        and is_remote(request)
        and not proxy_is_users(request)
    )


def mark_retried(request: Request) -> None:
    """Remember that a retry goes now; on disk, too."""
    request.meta[_RETRIED] = request.meta[_RETRY_TIMES]


def assign(request: Request, proxy: Proxy) -> None:
    """Send a request through a proxy: HttpProxyMiddleware turns the credentials into a header.

    Credentials that the request has were for another proxy. Only those that no URL can hold, such as a
    Bearer token, were set by the user and stay.
    """
    forget_credentials(request)
    _remove_basic(request)
    request.meta[PROXY] = proxy.url
    request.meta[_CHOSEN] = proxy.endpoint
    request.meta[PROXY_NAME] = proxy.name


def timeout_of(request: Request) -> Any:
    """Return a request's ``download_timeout``, Scrapy's or the user's; ``None`` if it has none."""
    return request.meta.get(TIMEOUT)


def has_headers(request: Request) -> bool:
    """Whether the headers of the response to a request in flight have come."""
    return _LATENCY in request.meta


def forget_latency(request: Request) -> None:
    """Take off what an earlier attempt has left: a request that departs has no headers yet."""
    request.meta.pop(_LATENCY, None)


def limit_time(request: Request, seconds: float) -> None:
    """Give a request a timeout of ours."""
    request.meta[_TIMEOUTS] = (seconds, request.meta.get(TIMEOUT))
    request.meta[TIMEOUT] = seconds


def restore_timeout(request: Request) -> bool:
    """Give a request its own timeout back; return whether it had one of ours."""
    if _TIMEOUTS not in request.meta:
        return False
    ours, theirs = request.meta.pop(_TIMEOUTS)
    if request.meta.get(TIMEOUT) != ours:
        return False
    request.meta[TIMEOUT] = theirs
    return True


def limit_idle(request: Request, idle: int | None) -> None:
    """Say how many idle connections to its proxy may stay open when it is sent; ``None``: any number."""
    if idle is not None:
        request.meta[_IDLE] = idle
    else:
        request.meta.pop(_IDLE, None)


def idle_of(request: Request) -> int | None:
    """Return how many idle connections to its proxy may stay open when it is sent."""
    return request.meta.get(_IDLE)


def mark_too_many(request: Request) -> int:
    """Count an attempt at this URL that was one too many at once; return how many there were."""
    url, count = request.meta.get(_TOO_MANY, ("", 0))
    count = count + 1 if url == request.url else 1
    request.meta[_TOO_MANY] = (request.url, count)
    return int(count)


def cuts(request: Request) -> int:
    """Return how often attempts at this URL were cut off by a timeout of ours."""
    url, count = request.meta.get(_CUTS, ("", 0))
    return int(count) if url == request.url else 0


def mark_cut(request: Request) -> None:
    """Remember, for the attempts to come, that this one was cut off by a timeout of ours."""
    request.meta[_CUTS] = (request.url, cuts(request) + 1)


def spared(request: Request) -> int:
    """Return how often attempts at this URL cost no retry because of a suspected outage."""
    url, count = request.meta.get(_SPARED, ("", 0))
    return int(count) if url == request.url else 0


def mark_spared(request: Request) -> None:
    """Remember that this attempt costs no retry because of a suspected outage."""
    request.meta[_SPARED] = (request.url, spared(request) + 1)
    request.meta[_JUST_SPARED] = True


def take_just_spared(request: Request) -> bool:
    """Return whether a request comes back because of a suspected outage, and forget it."""
    return bool(request.meta.pop(_JUST_SPARED, False))


def count_attempt(request: Request, new_id: Callable[[], str]) -> tuple[str, int]:
    """Count an attempt at a page; return what identifies the page, and which attempt it was, from 1.

    :param new_id: gives an identifier to a page that has none.
    """
    known, page, count = request.meta.get(_ATTEMPTS, ("", "", 0))
    asked = _what_is_asked(request)
    if known != asked:
        page, count = new_id(), 0
    request.meta[_ATTEMPTS] = (asked, page, count + 1)
    return page, count + 1


def uncount_attempt(request: Request) -> None:
    """Take back the last :func:`count_attempt`."""
    asked, page, count = request.meta[_ATTEMPTS]
    request.meta[_ATTEMPTS] = (asked, page, count - 1)


def _what_is_asked(request: Request) -> str:
    body = blake2b(request.body, digest_size=8).hexdigest() if request.body else ""
    return f"{request.method} {request.url} {body}"


def forget_credentials(request: Request) -> None:
    """Take a proxy's credentials off a request, before it is copied, kept, or written to disk."""
    if _AUTH_PROXY in request.meta:
        del request.meta[_AUTH_PROXY]
        _remove_basic(request)


def _remove_basic(request: Request) -> None:
    if (request.headers.get(_AUTHORIZATION) or b"").lower().startswith(_BASIC):
        del request.headers[_AUTHORIZATION]


def forget_choice(request: Request) -> None:
    """Take our choice of a proxy off a request, credentials included; the user's own stays."""
    if _CHOSEN in request.meta and not proxy_is_users(request):
        forget_credentials(request)
        for key in (PROXY, _CHOSEN, PROXY_NAME):
            request.meta.pop(key, None)


def resend(request: Request) -> Request:
    """Return a copy to be scheduled again as if this attempt had not been made."""
    copy = request.replace(dont_filter=True)
    forget_choice(copy)
    restore_timeout(copy)
    return copy
