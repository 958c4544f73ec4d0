"""Asks for one robots.txt, through one proxy after another, until something is known of it.

Through which proxies, how many at a time, for how long each, and what the answers come to. What
follows from that for the host's requests, and for its target, is for ``robots.py`` to say.
"""

from __future__ import annotations

import logging
import re
from collections import deque
from enum import Enum, auto
from typing import TYPE_CHECKING, Any

import attrs
from scrapy import Request
from scrapy.exceptions import IgnoreRequest
from scrapy.http.request import NO_CALLBACK
from scrapy.utils.asyncio import call_later
from scrapy.utils.defer import deferred_from_coro, maybe_deferred_to_future
from scrapy.utils.httpobj import urlparse_cached
from twisted.internet.defer import Deferred

from ...core import (
    ConfigurationError,
    NoProxyAvailableError,
    NoProxyMatchesError,
    Outcome,
    TargetState,
    Want,
)
from ...core.outcome import CLOSED, TIMEOUT
from ...core.verdict import in_words
from .. import request_meta
from ..errors import TargetHeldError
from ..requests.adaptive_timeout import crawls_timeout

if TYPE_CHECKING:
    from collections.abc import Iterable

    from scrapy.http import Response

    from ...core.verdict import Verdict
    from ..context import CrawlContext
    from ..judge import Judge

logger = logging.getLogger("scrapy_proxybalance")

# So often one question is sent at most; and so many are under way at once, while nothing is known of
# the proxies that carry them. With one that is known to work, it is more likely the site that is slow.
_MOST = 20
_MOST_AT_ONCE = 8
_MOST_AT_ONCE_KNOWN = 2
# How often to look whether a question has left its download slot, and whether the spider closes.
_LOOK_SECONDS = 0.1
_LOOK_RARELY_SECONDS = 0.5

_USER_AGENT = re.compile(rb"^[ \t]*user-?agent[ \t]*:", re.IGNORECASE | re.MULTILINE)


@attrs.frozen
class Answer:
    """What was answered. ``proxies``: the names of those that carried it, empty if it went direct."""

    asked: Request
    response: Response
    proxies: frozenset[str]

    @property
    def answered(self) -> Request:
        """The request that was answered: what was asked, or what that was redirected to."""
        return self.response.request or self.asked

    @property
    def rules(self) -> bytes:
        """The rules: empty where there is no file (RFC 9309, sections 2.3.1.2 and 2.3.1.3)."""
        return self.response.body if 200 <= self.response.status < 300 else b""

    @property
    def has_rules(self) -> bool:
        """Whether it says which robots it is for, and is no page."""
        rules = self.rules
        return not _is_page(rules) and _USER_AGENT.search(rules) is not None

    @property
    def is_certain(self) -> bool:
        """Whether nobody but the site can have answered so, as far as can be seen.

        Where it says that there are no rules, or comes from another site, it may be a proxy that has
        answered in the site's place.
        """
        if not self.proxies:
            return True
        asked, came_from = urlparse_cached(self.asked), urlparse_cached(self.response)
        return self.has_rules and _same_site(asked.hostname or "", came_from.hostname or "")


class Kind(Enum):
    """How a question ended."""

    RULES = auto()
    """There is an answer, and if it was doubtful, a second proxy has confirmed it."""
    UNCONFIRMED = auto()
    """There is a doubtful answer, and no other proxy to ask."""
    NOT_ASKED = auto()
    """The target must not be sent to now, or no proxy was free; or the spider closes."""
    NO_PROXY = auto()
    """No proxy got as far as the target, and nobody else gets an answer through the pool either; or
    no other one than the proxy whose answer is doubtful."""
    UNREACHABLE = auto()
    """It could not be fetched, and that may be up to the target."""


@attrs.frozen(kw_only=True)
class Finding:
    """How a question ended. ``wait``: seconds, where something says how long to wait."""

    kind: Kind
    answer: Answer | None = None
    reason: str = ""
    timed_out: bool = False
    wait: float | None = None


class Question:
    """A question for the robots.txt of one host.

    :param context: whose pool is asked, and whose engine sends it.
    :param judge: judges what comes back.
    :param request: the request that needs the rules.
    :param doubted: an answer that is to be confirmed.
    :param seconds: after how long each proxy is cut off, but for the crawl's own timeout.
    :param hedge_after: after how many seconds without an answer another proxy is asked in addition.

    ``target``: which one it is put to. ``is_over``: whether nobody waits for it any more.
    """

    def __init__(
        self,
        context: CrawlContext,
        judge: Judge,
        request: Request,
        *,
        doubted: Answer | None,
        seconds: float,
        hedge_after: float,
    ) -> None:
        self.is_over = False
        self._context = context
        self._judge = judge
        self._crawler = crawler = context.crawler
        self._for = request
        self.target = context.target_of(request)
        self._doubted = doubted
        own = crawls_timeout(crawler)
        self._seconds = min(seconds, own) if own else seconds
        self._hedge_after = hedge_after
        self._began_at = context.clock()
        self._open = context.pool.targets.state(self.target) in (
            TargetState.OPEN,
            TargetState.RAMPING,
        )
        settings = crawler.settings
        self._retries = settings.getint("RETRY_TIMES") if settings.getbool("RETRY_ENABLED") else 0
        self._sent = 0
        self._starved = False
        self._failures = 0  # that may be up to the target
        self._given_up = False
        self._asked: set[str] = set(doubted.proxies if doubted is not None else ())
        self._unreachable: Finding | None = None
        self._no_proxy: Finding | None = None
        # Each with the moment since when it has been on the wire.
        self._under_way: dict[Request, float | None] = {}
        self._ended: deque[tuple[Request, Response | Exception]] = deque()
        self._waiter: Deferred[None] | None = None

    @property
    def doubted(self) -> Answer | None:
        """An answer that has not been confirmed."""
        return self._doubted

    async def put(self) -> Finding:
        """Ask until something is known, and return it.

        :raises NoProxyMatchesError: if no proxy of the pool will do for the request.
        :raises ConfigurationError: if what the request says of its proxy makes no sense.
        """
        try:
            while (finding := self._look()) is None:
                await self._wait()
            return finding
        finally:
            self.is_over = True

    def _look(self) -> Finding | None:
        """Look at what has come back, and ask once more if it is time."""
        while self._ended:
            finding = self._take(*self._ended.popleft())
            if finding is not None:
                return finding
        if self._context.closing:
            return Finding(kind=Kind.NOT_ASKED)
        if self._under_way:
            if self._waits_in_vain():
                return self._conclude()
            if self._is_late() and self._may_ask():
                self._send()
        elif self._may_ask():
            self._send()
        else:
            return self._conclude()
        return None

    def _conclude(self) -> Finding:
        if self._unreachable is not None and self._doubted is None:
            return self._unreachable
        if self._starved:
            return Finding(kind=Kind.NOT_ASKED)
        if self._doubted is not None:
            self._asked = set(self._doubted.proxies)
            if self._sent and self._has_other():
                return Finding(kind=Kind.NO_PROXY, reason="nobody confirms what one of them says")
            return Finding(kind=Kind.UNCONFIRMED, answer=self._doubted)
        if self._no_proxy is None:
            return Finding(kind=Kind.NOT_ASKED)
        if self._context.dispatcher.answered_at >= self._began_at:
            return attrs.evolve(self._no_proxy, kind=Kind.UNREACHABLE)
        return self._no_proxy

    # Asking

    def _may_ask(self) -> bool:
        if self._sent >= _MOST or self._starved or self._given_up:
            return False
        if self._failures > self._retries:
            return False
        if self._has_other():
            return True
        # Nobody else: the same one again, as for any page, if it may have been the target.
        again = self._failures > 0 and not self._under_way
        return self._doubted is None and (not self._sent or again)

    def _waits_in_vain(self) -> bool:
        """Return whether a second opinion waits for a proxy, and there is none any more."""
        waits = self._doubted is not None and not _carriers(self._under_way)
        return waits and not self._has_other()

    def _has_other(self) -> bool:
        """Return whether there is a proxy that has not been asked."""
        return self._context.pool.has_other(
            Want(target=self.target, proxy_filter=request_meta.filter_of(self._for)),
            self._context.clock(),
            self._asked | _carriers(self._under_way),
        )

    def _is_late(self) -> bool:
        """Whether another proxy is to be asked in addition, as there has been no answer for so long."""
        now, slots = self._context.clock(), self._context.slots
        for request, since in self._under_way.items():
            if since is None and slots.is_transferring(request):
                self._under_way[request] = now
        started_at = list(self._under_way.values())
        if None in started_at:
            return False
        known = any(map(self._is_known, _carriers(self._under_way)))
        if len(started_at) >= (_MOST_AT_ONCE_KNOWN if known else _MOST_AT_ONCE):
            return False
        latest = max(moment for moment in started_at if moment is not None)
        seconds = self._hedge_after
        if self._doubted is not None:
            seconds /= 4  # one has answered, so the site is not the cause
        elif len(started_at) > 1:
            seconds /= 2
        return now - latest >= seconds

    def _is_known(self, proxy: str) -> bool:
        """Whether a proxy is known to have answered anything."""
        pool = self._context.pool
        if proxy not in pool:
            return False
        return pool.snapshot(self._context.clock(), [proxy])[0].duration is not None

    def _send(self) -> None:
        asked = self._asked | _carriers(self._under_way)
        request = self._request()
        request_meta.avoid(request, asked, strictly=self._has_other())
        if self._sent and self._doubted is None:
            request.meta["retry_times"] = self._sent  # the budget of all retries holds for it
        self._sent += 1
        self._under_way[request] = None
        deferred_from_coro(self._ask(request))

    async def _ask(self, request: Request) -> None:
        result: Response | Exception
        self._crawler.stats.inc_value("robotstxt/request_count")
        try:
            result = await self._crawler.engine.download_async(request)
        except Exception as error:
            result = error
        self._under_way.pop(request, None)
        self._ended.append((request, result))
        self._wake()

    def _request(self) -> Request:
        url = urlparse_cached(self._for)
        # That a host may be crawled has been decided by the request that is asked for.
        meta: dict[str, Any] = {
            "dont_obey_robotstxt": True,
            "allow_offsite": True,
            request_meta.ROBOTS: self,
        }
        meta["dont_cache"] = True  # a refusal in Scrapy's cache would be taken for the rules
        meta["dont_retry"] = True  # whom to ask next is decided here
        meta[request_meta.TIMEOUT] = self._seconds
        if request_meta.filter_of(self._for) is not None:
            meta[request_meta.PROXY_FILTER] = request_meta.filter_of(self._for)
        if url.scheme == "ftp":
            meta[request_meta.PROXY] = None
        return Request(
            f"{url.scheme}://{url.netloc}/robots.txt",
            priority=1000,
            meta=meta,
            callback=NO_CALLBACK,
        )

    async def _wait(self) -> None:
        """Wait until something has come back, or may have to be asked for once more."""
        if self._ended:
            return
        on_the_wire = [since for since in self._under_way.values() if since is not None]
        unsent = len(on_the_wire) < len(self._under_way)
        seconds = _LOOK_SECONDS if unsent or self._hedge_after < 2 else _LOOK_RARELY_SECONDS
        self._waiter = Deferred()
        call = call_later(seconds, self._wake)
        await maybe_deferred_to_future(self._waiter)
        call.cancel()

    def _wake(self) -> None:
        waiter, self._waiter = self._waiter, None
        if waiter is not None:
            waiter.callback(None)

    # What came back

    def _take(self, request: Request, result: Response | Exception) -> Finding | None:
        """Take note of what came back; return what is known, if that is enough."""
        carriers = _carriers([request])
        if isinstance(result, Exception):
            self._asked |= carriers
            return self._take_error(request, result, carriers)
        if result.request is not None:
            carriers |= _carriers([result.request])  # it may have been redirected
        self._asked |= carriers
        stats = self._crawler.stats
        stats.inc_value("robotstxt/response_count")
        stats.inc_value(f"robotstxt/response_status_count/{result.status}")
        verdict = self._judge.verdict(request, result)
        if result.status >= 500 or verdict.outcome not in (Outcome.SUCCESS, Outcome.IGNORED):
            # Of a target that was paused, one question is enough.
            last = not self._open or verdict.outcome is Outcome.TARGET_SIGNAL
            self._failed(verdict, in_words(verdict, result.status), carriers, last=last)
            return None
        return self._weigh(Answer(request, result, frozenset(carriers)))

    def _weigh(self, answer: Answer) -> Finding | None:
        """Return what an answer means; nothing if another proxy has to be asked about it."""
        doubted = self._doubted
        if answer.is_certain:
            return Finding(kind=Kind.RULES, answer=answer)
        if doubted is None:
            self._doubted = answer
            return None
        if answer.proxies <= doubted.proxies:
            return None  # it is the same one's word
        # Rules that come from elsewhere are better obeyed than no rules.
        return Finding(kind=Kind.RULES, answer=doubted if doubted.has_rules else answer)

    def _take_error(self, request: Request, error: Exception, carriers: set[str]) -> Finding | None:
        if isinstance(error, (NoProxyMatchesError, ConfigurationError)):
            raise error  # it is the same with the request itself
        if isinstance(error, TargetHeldError):
            if error.target == self.target:
                return Finding(kind=Kind.NOT_ASKED)
        elif isinstance(error, NoProxyAvailableError):
            self._starved = True
            return None
        if not isinstance(error, IgnoreRequest):
            self._crawler.stats.inc_value(f"robotstxt/exception_count/{type(error)}")
            logger.debug("%s could not be fetched", request, exc_info=error)
        verdict = self._judge.verdict(request, error)
        reason = verdict.failure or type(error).__name__
        # What waits for another target must not be asked for meanwhile.
        last = isinstance(error, TargetHeldError)
        self._failed(verdict, reason, carriers, last=last, wait=self._seconds_left(error))
        return None

    def _failed(
        self,
        verdict: Verdict,
        reason: str,
        carriers: set[str],
        *,
        last: bool,
        wait: float | None = None,
    ) -> None:
        """Take note that one did not get it; with ``last``, that nobody else is to be asked."""
        self._given_up = self._given_up or last
        timed_out = verdict.failure == TIMEOUT
        found = Finding(kind=Kind.UNREACHABLE, reason=reason, timed_out=timed_out, wait=wait)
        known = any(map(self._is_known, carriers))
        # A proxy that has never answered anything says little about the target by closing.
        if verdict.outcome is Outcome.PROXY_FAULT or (verdict.failure in CLOSED and not known):
            self._no_proxy = attrs.evolve(found, kind=Kind.NO_PROXY)
            return
        self._unreachable = found
        # Nor by not answering.
        proxys = verdict.outcome is Outcome.GATEWAY_FAULT or (timed_out and not known)
        if not (proxys and self._open):
            self._failures += 1

    def _seconds_left(self, error: Exception) -> float | None:
        """Return how long to wait where robots.txt redirects to a target that is paused."""
        retry_at, now = getattr(error, "retry_at", None), self._context.clock()
        return retry_at - now if retry_at is not None and now < retry_at < float("inf") else None


def _carriers(requests: Iterable[Request]) -> set[str]:
    """Return the names of the proxies that carry some requests, as far as they have one yet."""
    names = (request.meta.get(request_meta.PROXY_NAME) for request in requests)
    return {name for name in names if name is not None}


def _is_page(body: bytes) -> bool:
    return body.removeprefix(b"\xef\xbb\xbf").lstrip().startswith(b"<")


def _same_site(one: str, other: str) -> bool:
    """Whether two hosts are one site's, as far as their names say: equal, or one within the other."""
    one, other = one.removeprefix("www."), other.removeprefix("www.")
    return one == other or one.endswith(f".{other}") or other.endswith(f".{one}")
