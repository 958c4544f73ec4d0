"""What stands in ``request.meta``: the user's keys, our marker, and what others leave there.

``meta`` is copied by retries, redirects and careless spiders, so nothing found here is trusted to
belong to the request that carries it: an attempt is never kept in it.
"""

from __future__ import annotations

from hashlib import blake2b
from typing import TYPE_CHECKING, Any

import attrs
from scrapy.utils.httpobj import urlparse_cached

from ..core import Want
from ..core.history import NO_HISTORY, History, OddAnswer
from ..http.hosts import host_with_port

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from scrapy import Request

    from ..core import Proxy

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
#: ``(url, ...)``: what earlier attempts at this URL have left behind, see :class:`History`.
_HISTORY = "_proxybalance_history"
#: ``(url, names, strictly)``: proxies that are not to be used for this URL; if ``strictly``, not even
#: where no other is free, and wherever it is redirected to.
_AVOID = "_proxybalance_avoid"
#: The name of the proxy to send a request through if that is free; for its next attempt only.
_PREFERRED = "_proxybalance_preferred"
#: ``(ours, theirs)``: the timeout that we wrote to ``download_timeout``, and what stood there before.
_TIMEOUTS = "_proxybalance_timeouts"
#: Whether it comes back because nothing seems to get through, and has to wait before it goes again.
_DELAYED = "_proxybalance_delayed"
#: How many idle connections to its proxy may stay open when a request is sent.
_IDLE = "_proxybalance_idle"
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
    return host_with_port(parts.scheme, parts.netloc)


def want_of(
    request: Request,
    target: str,
    session_key: str,
    *,
    timeout: float | None,
    retry: bool,
    overdue: bool,
) -> Want:
    """Return what a request asks the core for; one that prefers a proxy does so this time only.

    :param session_key: the meta key of the session.
    :param timeout: the request's own, in seconds, if a shorter one may end it.
    :param retry: whether it is one, see :func:`is_retry`.
    :param overdue: whether it goes even where retries are held back.
    """
    meta = request.meta
    avoid: tuple[str, ...] = ()
    strictly, cuts = False, 0
    if _HISTORY in meta or _AVOID in meta:
        avoid, strictly = avoided(request)
        cuts = history_of(request).cuts
    return Want(
        target=target,
        session=session_of(request, session_key),
        proxy_filter=meta.get(PROXY_FILTER),
        avoid=avoid,
        strictly=strictly,
        prefer=meta.pop(_PREFERRED, None),
        strategy=meta.get(STRATEGY),
        tunnel=tunnel_of(request),
        timeout=timeout,
        cuts=cuts,
        retry=retry,
        overdue=overdue,
    )


def tunnel_of(request: Request) -> str | None:
    """Return what a connection through a proxy can be used again for; ``None`` if that is anything.

    https is tunnelled: each site, by host and port, needs connections of its own.
    """
    if not request.url.startswith("https:"):
        return None
    site = host_of(request)
    address = request.meta.get("bindaddress")
    return f"{site} from {address}" if address else site


def session_of(request: Request, key: str) -> str | None:
    """Return a request's session, or ``None`` if it has none."""
    session = request.meta.get(key)
    return None if session is None else str(session)


def filter_of(request: Request) -> Any:
    """Return a request's proxy filter, or ``None`` if it has none."""
    return request.meta.get(PROXY_FILTER)


def history_of(request: Request) -> History:
    """Return what earlier attempts at a request's URL have left behind."""
    kept = request.meta.get(_HISTORY)
    if kept is None or kept[0] != request.url:
        return History()
    _, tried, refused_by, answers_before, odd, *counts = kept
    odd = None if odd is None else OddAnswer(*odd)
    return History(tuple(tried), tuple(refused_by), answers_before, odd, *counts)


def keep_history(request: Request, history: History) -> None:
    """Keep what the attempts at a request's URL have left behind, for those to come."""
    if history != NO_HISTORY:
        request.meta[_HISTORY] = (request.url, *attrs.astuple(history, recurse=False))
    elif _HISTORY in request.meta:
        del request.meta[_HISTORY]


def avoid(request: Request, names: Iterable[str], *, strictly: bool) -> None:
    """Have a request go through other proxies than these.

    :param strictly: even if no other is free, and wherever it is redirected to.
    """
    request.meta[_AVOID] = (request.url, tuple(names), strictly)


def avoided(request: Request) -> tuple[tuple[str, ...], bool]:
    """Return the proxies that a request is not to go through, and whether not even if no other is free.

    Those that have failed its URL are among them.
    """
    names: tuple[str, ...] = ()
    strictly = False
    if _AVOID in request.meta:
        url, given, strictly = request.meta[_AVOID]
        if strictly or url == request.url:
            names = tuple(given)
    if _HISTORY in request.meta:
        names += history_of(request).tried
    return names, strictly


def prefer(request: Request, proxy: str) -> None:
    """Have the next attempt at a request go through a proxy, by its name, if that is free."""
    request.meta[_PREFERRED] = proxy


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


def delay(request: Request) -> None:
    """Have a request wait before it goes again: nothing seems to get through."""
    request.meta[_DELAYED] = True


def take_delayed(request: Request) -> bool:
    """Return whether a request has to wait before it goes again, and forget it."""
    return bool(request.meta.pop(_DELAYED, False))


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
    # Scrapy's headers keep their names in this form; to ask in any form takes some microseconds.
    if not dict.__contains__(request.headers, _AUTHORIZATION):
        return
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
