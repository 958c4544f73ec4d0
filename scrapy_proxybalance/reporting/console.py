"""What an operator finds as ``pool`` in Scrapy's telnet console."""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING, Any

from scrapy.extensions.telnet import update_telnet_vars

from ..util.wording import counted
from .pool_view import HEADINGS, PoolView, printable

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ..core import Budget, ProxySnapshot, Score
    from .figures import Figures
    from .observed import ObservedCrawl

# A table for people: so many proxies, and so many targets and gateways, have a line.
_ROWS = 20


class PoolConsole:
    """The pool of a crawl, for somebody who types: printed, it says how the pool is doing.

    ``core``: the :class:`Pool` itself, for everything that is not said here; ``clock``: gives the
    ``now`` that its methods ask for. To be used in the crawl's own thread, as the console does.

    :param context: whose pool.
    :param figures: what is counted of it.
    """

    def __init__(self, context: ObservedCrawl, figures: Figures) -> None:
        self.core = context.pool
        self.clock = context.clock
        self._context = context
        self._figures = figures
        context.crawler.signals.connect(self.enter, signal=update_telnet_vars)

    def enter(self, telnet_vars: dict[str, Any]) -> None:
        """Put it among the variables of a telnet console, as ``pool``."""
        telnet_vars["pool"] = self

    def explain(self, name: str) -> Score:
        """Return a proxy's score with what it is made of.

        :raises KeyError: if there is no such proxy.
        """
        return self.core.explain(name, self.clock())

    def explain_limit(self, target: str) -> Budget:
        """Return how many requests to a target may be in flight at once, and which limit says so."""
        return self.core.explain_limit(target, self.clock())

    def snapshot(self, *names: str) -> list[ProxySnapshot]:
        """Return proxies as they are: those of these names, or all.

        :raises KeyError: if there is no proxy of such a name.
        """
        return self.core.snapshot(self.clock(), names or None)

    def __repr__(self) -> str:
        return "\n".join(self._lines())

    def _lines(self) -> Iterator[str]:
        view = PoolView(self._context, self._figures)
        yield view.line(targets=False)
        yield view.requests_line()
        rows = [HEADINGS, *(row.cells for row in view.worst(_ROWS))]
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        for row in rows:
            cells = zip(row, widths, strict=True)
            yield "  ".join(f"{text:<{width}}" for text, width in cells).rstrip()
        if len(view) > _ROWS:
            yield f"... and {len(view) - _ROWS} more"
        yield from _bounded([str(target) for target in view.targets()], "target")
        yield from _bounded(
            [
                f"gateway {printable(limit.name)}: in flight {limit.in_flight} of {limit.limit:g}"
                for limit in self.core.gateway_limits()
            ],
            "gateway",
        )


def _bounded(lines: list[str], what: str) -> Iterator[str]:
    yield from islice(lines, _ROWS)
    if len(lines) > _ROWS:
        more = counted(len(lines) - _ROWS, f"more {what}")
        yield f"... and {more}"
