"""Bad certificates: the target's, unless other proxies get a good one.

A target with a bad certificate costs no proxy anything, and its pages are not tried through proxy after
proxy. A proxy that puts a certificate of its own in the way fails where others do not.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs

from ...core import Outcome
from ...core.structures.bounded_dict import BoundedDict
from ...core.verdict import CERTIFICATE, Verdict

if TYPE_CHECKING:
    from scrapy import Request
    from scrapy.http import Response

    from ...core import Attempt, History

# The certificate of a target is bad when so many proxies, or so many attempts, say so.
_PROXIES = 2
_ATTEMPTS = 3
# The most targets that are remembered.
_TARGETS = 10_000


class Certificates:
    """Remembers which targets have shown a good certificate, and through whom they have not."""

    def __init__(self) -> None:
        self._good: BoundedDict[str, None] = BoundedDict(_TARGETS)
        self._bad: BoundedDict[str, list[str]] = BoundedDict(_TARGETS)

    def answered(self, request: Request, response: Response, target: str) -> None:
        """Take note that a target has answered a request."""
        if target in self._good or "cached" in response.flags:
            return
        if request.url.startswith("https:"):
            self._good[target] = None
            self._bad.pop(target, None)

    def judge(
        self, request: Request, verdict: Verdict, attempt: Attempt, history: History
    ) -> Verdict:
        """Return the verdict on a failed attempt, with what is known of its target's certificate.

        A request whose target is to blame is not tried again.
        """
        if verdict.failure != CERTIFICATE:
            return verdict
        history.tried += (attempt.proxy.name,)
        target = attempt.target
        if target in self._good:
            return attrs.evolve(verdict, outcome=Outcome.AMBIGUOUS)
        if target not in self._bad:
            self._bad[target] = []
        through = self._bad[target]
        if len(through) < _ATTEMPTS:
            through.append(attempt.proxy.name)
        if len(set(through)) >= _PROXIES or len(through) >= _ATTEMPTS:
            request.meta["dont_retry"] = True
        return verdict
