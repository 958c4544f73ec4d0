"""The live view in the terminal: how the pool is doing, once per second, below the log."""

from __future__ import annotations

import contextlib
import logging
from typing import TYPE_CHECKING, ClassVar

from rich.console import Group
from rich.table import Table
from rich.text import Text

from ..util.wording import counted
from .pool_view import HEADINGS, PoolView
from .scrapy_hooks import PeriodicCall, on_closed, on_opened
from .standing import Standing
from .terminal import Terminal

if TYPE_CHECKING:
    from .figures import Figures
    from .observed import ObservedCrawl
    from .scrapy_hooks import Spider

logger = logging.getLogger("scrapy_proxybalance")

_SECONDS = 1.0
# So many proxies and targets are shown in a terminal that has room for them.
_PROXIES = 20
_TARGETS = 5
_STYLES = {
    Standing.COOLING: "yellow",
    Standing.DRAINED: "yellow",
    Standing.PROBING: "cyan",
    Standing.RECOVERING: "cyan",
    Standing.UNREACHABLE: "red",
    Standing.OUT: "red",
}


class Progress:
    """Shows the view while the spider is open, if stderr is a terminal.

    A terminal has one view: a spider that is opened while another one in the process has it gets none.
    """

    _shown: ClassVar[Progress | None] = None

    def __init__(self, context: ObservedCrawl, figures: Figures) -> None:
        self._context = context
        self._figures = figures
        self._terminal = Terminal()
        self._loop = PeriodicCall()
        on_opened(context, self.start)
        on_closed(context, self.stop)

    def start(self, spider: Spider) -> None:
        """Begin to show it, or log at level ``DEBUG`` why not."""
        if Progress._shown is not None or not self._terminal.is_interactive:
            why = "another spider has one" if Progress._shown else "stderr is not a terminal"
            logger.debug("PROXYBALANCE_PROGRESS: no live view, %s", why, extra={"spider": spider})
            return
        Progress._shown = self
        self._terminal.open()
        self._loop.start(_SECONDS, self.refresh, now=True)

    def refresh(self) -> None:
        """Show how the pool is doing now."""
        try:
            view = PoolView(self._context, self._figures)
            self._terminal.show(_drawn(view, self._terminal.height))
        except Exception:  # such as a terminal that is gone
            with contextlib.suppress(OSError):
                self.stop()
            logger.exception("The live view has ended; the crawl goes on")

    def stop(self) -> None:
        """Take it away, for good."""
        if Progress._shown is not self:
            return
        Progress._shown = None
        self._loop.stop()
        self._terminal.close()


def _drawn(view: PoolView, height: int) -> Group:
    """Return what a terminal of so many lines shows: two thirds of them at most, for the log's sake."""
    lines = [view.line(targets=False), view.requests_line()]
    targets = [str(target) for target in view.targets()]
    if len(targets) > _TARGETS:
        more = counted(len(targets) - _TARGETS, "more target")
        targets[_TARGETS:] = [f"and {more}"]
    room = height * 2 // 3 - len(lines) - len(targets) - 2  # the headings; how many more there are
    proxies: list[Table | Text] = []
    if room > 0:
        rows = view.busiest(min(room, _PROXIES))
        table = Table(box=None, pad_edge=False, header_style="bold")
        for number, heading in enumerate(HEADINGS):  # texts, and then figures
            table.add_column(
                heading,
                justify="left" if number < 2 else "right",
                no_wrap=True,
                overflow="ellipsis",
            )
        for row in rows:
            table.add_row(*(Text(cell, style=_STYLES.get(row.state, "")) for cell in row.cells))
        proxies.append(table)
        if len(view) > len(rows):
            proxies.append(_line(f"and {len(view) - len(rows)} more"))
    return Group(*map(_line, lines), *proxies, *map(_line, targets))


def _line(text: str) -> Text:
    return Text(text, no_wrap=True, overflow="ellipsis")
