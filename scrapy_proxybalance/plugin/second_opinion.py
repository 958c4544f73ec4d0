"""Second opinions: what may be a proxy's own answer is compared, and its page fetched elsewhere.

Says of each response what a comparison with the answers of others makes of its verdict, and returns
the request that asks again. A refusal of a site's is never asked again elsewhere: it is not compared
for that. Knows requests, responses and the pool; ends no attempt.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import attrs
from scrapy.downloadermiddlewares.retry import get_retry_request

from ..core import Outcome
from ..core.attribution.answers import Suspicion
from ..core.outcome import HOST_REFUSED, PROXY_AUTH, PROXY_PAGE, TOO_MANY, TRAFFIC_USED_UP
from ..core.proxies.health import MOSTLY
from ..core.verdict import FORBIDDEN, SUCCESS, Verdict
from ..http.marks import signature, via
from ..http.oddities import SAME_PAGE, looks, oddity
from ..http.responses import of_response
from .requests import meta as request_meta

if TYPE_CHECKING:
    from scrapy import Request
    from scrapy.http import Response

    from ..core import Attempt
    from .context import CrawlContext, Flight

logger = logging.getLogger(__name__)

FAILED = (Outcome.PROXY_FAULT, Outcome.GATEWAY_FAULT, Outcome.AMBIGUOUS)
# A proxy that got so many answers in a row that say so has no traffic left.
_USED_UP = 2
# A site may not take these twice (RFC 9110, section 9.2.1).
_SAFE_METHODS = ("GET", "HEAD", "OPTIONS")


class SecondOpinion:
    """Compares the answers of one crawl.

    :param context: whose pool and settings hold.
    """

    def __init__(self, context: CrawlContext) -> None:
        self._context = context
        self._comparison = context.pool.comparison
        self._told_of: set[str] = set()  # gateways, in the log
        settings = context.crawler.settings
        self._retries = settings.getbool("RETRY_ENABLED")
        self._retry_times = settings.getint("RETRY_TIMES")
        self._retried_anyway = {int(code) for code in settings.getlist("RETRY_HTTP_CODES")}

    def compare(
        self, request: Request, attempt: Attempt, verdict: Verdict, response: Response
    ) -> Verdict:
        """Return a verdict as it is after a comparison with the answers that others got.

        :param verdict: the plugin's own; one of the user's classifier stands as it is.
        """
        if verdict.outcome is Outcome.IGNORED:
            return verdict
        if verdict.outcome is Outcome.TARGET_SIGNAL:
            return self._of_refusal(attempt, verdict, response)
        if verdict.failure == PROXY_AUTH and attempt.node.answered and _without(request, attempt):
            # Nobody has sent credentials, and other pages needed none: it is about the page.
            verdict = of_response(
                request, response, marks=None, wall_now=self._context.wall_clock()
            )
        if verdict.outcome is Outcome.SUCCESS:
            if request.url.startswith("http:"):
                self._comparison.passed_on(attempt, via(response))
            kind = oddity(request, response, stopped="download_stopped" in response.flags)
            if kind is None:
                return self._of_page(request, attempt, verdict, looks(request, response))
        elif verdict.certain:
            return self._of_certain(request, attempt, verdict, response)
        elif attempt.tunnel is not None and verdict.outcome is Outcome.AMBIGUOUS:
            return attrs.evolve(verdict, part=0.0)  # the proxy has carried what the target said
        elif verdict.outcome is not Outcome.GATEWAY_FAULT and verdict.failure is not None:
            kind = verdict.failure
        else:
            return verdict  # whose part it is is told by how often each fails elsewhere
        return self._of_odd(request, attempt, verdict, kind)

    def _of_page(
        self, request: Request, attempt: Attempt, verdict: Verdict, all_looks: tuple[str, ...]
    ) -> Verdict:
        """Return whose a page is: the site's, unless one proxy gives it for different URLs."""
        comparison, who = self._comparison, self._comparison.who(attempt)
        # Several hosts of one target may well have the same page under the same path.
        path = request.url.split("/", 3)[-1]
        same = comparison.page(attempt, all_looks, path)
        earlier = request_meta.odd_answer(request)
        if earlier is not None and earlier.kind in all_looks and earlier.who != who:
            if comparison.gives_others(attempt):
                self._acquit(earlier)
                return verdict
            return attrs.evolve(verdict, part=0.0, unsure=True)
        if same is None:
            return verdict
        request_meta.mark_odd(
            request,
            request_meta.OddAnswer(
                same.look,
                who,
                attempt.proxy.name,
                same.part,
                attempt.started_at,
                attempt.generation,
            ),
        )
        if not same.compared and self._context.pool.in_service < 2:
            return verdict  # there is nobody to ask
        if not same.compared or same.part < MOSTLY:
            return attrs.evolve(verdict, part=same.part, unsure=not same.compared)
        return attrs.evolve(verdict, outcome=Outcome.PROXY_FAULT, failure=SAME_PAGE, part=same.part)

    def _of_refusal(self, attempt: Attempt, verdict: Verdict, response: Response) -> Verdict:
        """Return whose a refusal is: the target's, unless another target sends the same one."""
        now = self._context.clock()
        targets = self._comparison.refused(attempt, signature(response), now)
        if not targets:
            if self._comparison.refused_alone(attempt, now, of_all=verdict.failure != FORBIDDEN):
                self._context.pool.keep_apart(attempt, now)
            return verdict
        for target in targets:
            if self._context.pool.targets.withdraw(target, now):
                self._context.target_changed(target)
        gateway = attempt.proxy.gateway
        logger.log(
            logging.DEBUG if gateway in self._told_of else logging.WARNING,
            "%s say the same through %s (response %d), which no site can do: it is taken for that "
            "proxy's, or its gateway's, and less is sent through it",
            " and ".join(targets),
            attempt.proxy.name,
            response.status,
        )
        self._told_of.add(gateway)
        if verdict.failure == FORBIDDEN:
            return Verdict(outcome=Outcome.PROXY_FAULT, failure=PROXY_PAGE, certain=True)
        return Verdict(outcome=Outcome.GATEWAY_FAULT, failure=TOO_MANY, certain=True)

    def _of_certain(
        self, request: Request, attempt: Attempt, verdict: Verdict, response: Response
    ) -> Verdict:
        """Let a mark decide, unless others get the same page from the target: then it is the site's.

        That the proxy names itself on all pages but this one shows that it has made it.
        """
        if verdict.failure in (PROXY_AUTH, TOO_MANY):
            return verdict  # that many are refused has a meaning of its own
        if self._comparison.is_its_own(attempt, via(response)) or (
            verdict.failure == HOST_REFUSED
            and self._comparison.may_be_too_many(attempt, self._context.clock())
        ):
            return verdict
        page = signature(response)
        others = self._comparison.through_others(attempt, page)
        self._comparison.confirmed(attempt, page)
        if not others:
            return verdict
        sites = of_response(request, response, marks=None, wall_now=self._context.wall_clock())
        return attrs.evolve(sites, part=0.0) if sites.outcome is Outcome.SUCCESS else sites

    def _of_odd(self, request: Request, attempt: Attempt, verdict: Verdict, kind: str) -> Verdict:
        comparison, who = self._comparison, self._comparison.who(attempt)
        now = self._context.clock()
        # An account that is used up is so for every proxy and page. That it is the site which wants to
        # be paid takes more than two proxies: an answer of the site since, or that it was so before.
        account = kind == TRAFFIC_USED_UP and not comparison.is_confirmed(attempt, kind)
        # What may be a whole gateway's doing is told to whoever watches for outages, as what it is.
        targets = verdict if verdict.outcome is Outcome.AMBIGUOUS else SUCCESS
        earlier = request_meta.odd_answer(request)
        if (
            earlier is not None
            and earlier.kind == kind
            and earlier.who != who
            and comparison.convinces(attempt, kind)
            and (not account or comparison.answered_since(attempt, earlier.at))
        ):
            # The same answer for the same page through two proxies: it is the target's.
            comparison.confirmed(attempt, kind)
            self._acquit(earlier)
            return attrs.evolve(targets, part=0.0)
        suspicion = comparison.odd(attempt, kind, now)
        if account and comparison.in_a_row(attempt, kind) >= _USED_UP:
            suspicion = Suspicion(1.0, compared=True)
        request_meta.mark_odd(
            request,
            request_meta.OddAnswer(
                kind, who, attempt.proxy.name, suspicion.part, now, attempt.generation
            ),
        )
        if suspicion.part >= MOSTLY or account:
            return attrs.evolve(
                verdict, outcome=Outcome.PROXY_FAULT, failure=kind, part=suspicion.part
            )
        return attrs.evolve(targets, part=suspicion.part, unsure=not suspicion.compared)

    def _acquit(self, odd: request_meta.OddAnswer) -> None:
        context = self._context
        context.pool.acquit(odd.proxy, odd.part, odd.generation, context.clock())

    def again(
        self, request: Request, flight: Flight, verdict: Verdict, response: Response
    ) -> Request | None:
        """Return the request that asks for a page elsewhere, if the verdict calls for that.

        As often as ``RETRY_TIMES`` allows, and only while there is another proxy to ask. What
        ``RetryMiddleware`` retries by itself is left to it.
        """
        attempt = flight.attempt
        if attempt is None or not (verdict.outcome in FAILED or verdict.unsure):
            return None
        if not self._retries or request.meta.get("dont_retry"):
            return None
        if response.status in self._retried_anyway or request.method not in _SAFE_METHODS:
            return None
        if attempt.session is not None or len(self._context.pool) <= len(
            request_meta.tried(request)
        ):
            return None
        spider = self._context.crawler.spider
        if spider is None:
            return None
        most = request.meta.get("max_retry_times", self._retry_times)
        if request.meta.get("retry_times", 0) >= most:
            return None
        return get_retry_request(
            request,
            spider=spider,
            reason=f"{verdict.failure or response.status} (of a proxy's?)",
            max_retry_times=most,
        )


def _without(request: Request, attempt: Attempt) -> bool:
    """Whether a request had no credentials for its proxy."""
    return attempt.proxy.username is None and b"Proxy-Authorization" not in request.headers
