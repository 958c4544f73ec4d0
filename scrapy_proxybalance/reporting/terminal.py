"""A part of the terminal that is drawn again and again, below whatever is logged and printed.

Knows nothing of what is drawn.
"""

from __future__ import annotations

import atexit
import logging
import sys
from collections import deque
from functools import partial
from threading import Lock
from typing import TYPE_CHECKING, Any, TextIO, cast

from rich.console import Console
from rich.file_proxy import FileProxy
from rich.live import Live
from rich.segment import Segment, SegmentLines

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

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
        # Not refreshed by a thread of its own. What it would do about stdout and stderr is not enough.
        self._live = Live(
            console=self._console,
            auto_refresh=False,
            transient=True,
            redirect_stdout=False,
            redirect_stderr=False,
        )
        self._turns = _Turns()

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
        self._turns.take(self._live.start)
        for handler in _stream_handlers():
            # It has kept the stream that was there when it was made.
            if _is_terminal(handler.stream):
                handler.setStream(self._above(handler.stream))
        if _is_terminal(sys.stdout):  # and not a file or a pipe
            sys.stdout = self._above(sys.stdout)
        sys.stderr = self._above(sys.stderr)

    def _above(self, stream: TextIO) -> TextIO:
        return cast("TextIO", _Above(self._console, stream, self._turns))

    def show(self, what: RenderableType) -> None:
        """Draw this in place of what was shown before."""
        # Laid out once, and not again for each line that is logged above it.
        lines = self._console.render_lines(what, pad=False)
        simple = [list(Segment.simplify(line)) for line in lines]
        drawn = SegmentLines(simple, new_lines=True)
        self._turns.take(partial(self._live.update, drawn, refresh=True))

    def close(self) -> None:
        """Take away what is shown, and leave everything as it was before :meth:`open`."""
        atexit.unregister(self.close)
        try:
            self._turns.take(self._live.stop)
        finally:
            sys.stdout, sys.stderr = _below(sys.stdout), _below(sys.stderr)
            for handler in _stream_handlers():  # one that was made in the meantime, too
                handler.setStream(_below(handler.stream))


class _Turns:
    """Lets nobody begin to write before the one before has ended: rich would write something twice.

    The handler of a signal logs in the midst of whatever goes on, in the same thread: it cannot wait.
    """

    def __init__(self) -> None:
        self._due: deque[Callable[[], object]] = deque()
        self._lock = Lock()

    def take(self, write: Callable[[], object]) -> None:
        """Write; or, where somebody is at it, leave it to them to do so next."""
        self._due.append(write)
        while self._due and self._lock.acquire(blocking=False):
            try:
                while self._due:
                    self._due.popleft()()
            finally:
                self._lock.release()


class _Above(FileProxy):
    """What is written to this appears above what is shown."""

    def __init__(self, console: Console, stream: TextIO, turns: _Turns) -> None:
        super().__init__(console, stream)
        self._turns = turns

    def write(self, text: str) -> int:
        self._turns.take(partial(super().write, text))
        return len(text)

    def flush(self) -> None:
        self._turns.take(super().flush)


def _below(stream: Any) -> Any:
    return stream.rich_proxied_file if isinstance(stream, _Above) else stream


def _is_terminal(stream: Any) -> bool:
    isatty = getattr(stream, "isatty", None)  # a stdout that leads to the log has none
    return isatty is not None and bool(isatty())


def _stream_handlers() -> Iterator[logging.StreamHandler[Any]]:
    for logger in (logging.root, *logging.root.manager.loggerDict.values()):
        for handler in getattr(logger, "handlers", ()):
            if isinstance(handler, logging.StreamHandler):
                yield handler
