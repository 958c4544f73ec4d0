"""A part of the terminal that is drawn again and again, below whatever is logged and printed.

Knows nothing of what is drawn.
"""

from __future__ import annotations

import atexit
import logging
import sys
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.live import Live
from rich.segment import Segment, SegmentLines

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rich.console import RenderableType


class Terminal:
    """The terminal that stderr is. Nothing is written before :meth:`open`.

    Only one may be open at a time.
    """

    def __init__(self) -> None:
        # Long lines of the log stay whole, and no text is taken for markup.
        self._console = Console(
            stderr=True, soft_wrap=True, markup=False, highlight=False, emoji=False
        )
        # Not refreshed by a thread of its own. What is printed goes to stderr with the log, but for a
        # stdout that leads to a file or a pipe.
        self._live = Live(
            console=self._console,
            auto_refresh=False,
            transient=True,
            redirect_stdout=_is_terminal(sys.stdout),
        )
        self._redirected: dict[logging.StreamHandler[Any], Any] = {}

    @property
    def is_interactive(self) -> bool:
        """Whether stderr is a terminal on which one can go back and draw something again."""
        return _is_terminal(sys.stderr) and self._console.is_interactive

    @property
    def height(self) -> int:
        """The lines that it has now."""
        return self._console.height

    def open(self) -> None:
        """Hide the cursor, and let everything that is logged or printed pass above what is shown."""
        atexit.register(self.close)  # a crawl may be broken off without a word
        self._stderr = sys.stderr
        self._live.start()
        self._proxy = sys.stderr  # now one that writes above
        for handler in _stream_handlers():
            # It has kept the stream that was there when it was made.
            if _is_terminal(handler.stream):
                self._redirected[handler] = handler.setStream(self._proxy)

    def show(self, what: RenderableType) -> None:
        """Draw this in place of what was shown before."""
        # Laid out once, and not anew for each line that is logged above it.
        lines = self._console.render_lines(what, pad=False)
        simple = [list(Segment.simplify(line)) for line in lines]
        self._live.update(SegmentLines(simple, new_lines=True), refresh=True)

    def close(self) -> None:
        """Take away what is shown, and leave everything as it was before :meth:`open`."""
        atexit.unregister(self.close)
        try:
            self._live.stop()
        finally:
            # One that was made in the meantime has never had another stream.
            for handler in _stream_handlers():
                if handler.stream is self._proxy:
                    handler.setStream(self._redirected.get(handler, self._stderr))
            self._redirected.clear()


def _is_terminal(stream: Any) -> bool:
    isatty = getattr(stream, "isatty", None)  # a stdout that leads to the log has none
    return isatty is not None and bool(isatty())


def _stream_handlers() -> Iterator[logging.StreamHandler[Any]]:
    for logger in (logging.root, *logging.root.manager.loggerDict.values()):
        for handler in getattr(logger, "handlers", ()):
            if isinstance(handler, logging.StreamHandler):
                yield handler
