"""A child process in a terminal: what it wrote is on a screen, and keys can be pressed."""

from __future__ import annotations

import asyncio
import codecs
import contextlib
import fcntl
import os
import pty
import re
import struct
import subprocess
import sys
import termios
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    # typing.Self requires Python 3.11
    from typing_extensions import Self

#: What is pressed for Ctrl-C.
INTERRUPT = b"\x03"
# The terminal has to be that of the process' session, or Ctrl-C would interrupt nobody.
_RUN = (
    "import fcntl, runpy, sys, termios; fcntl.ioctl(0, termios.TIOCSCTTY, 0); del sys.argv[0]; "
    "runpy.run_path(sys.argv[0], run_name='__main__')"
)
_SEQUENCE = re.compile(r"\x1b(?:\[([?\d;]*)([A-Za-z])|(.))|([\r\n])|([^\x1b\r\n]+)", re.DOTALL)


class Screen:
    """What a terminal shows of the bytes that it gets, with all that has scrolled out of it.

    Knows the sequences that rich's live display writes; anything else fails the test.
    """

    def __init__(self, width: int, height: int) -> None:
        self.width, self.height = width, height
        self.cursor_is_visible = True
        self.received = ""
        self._decoder = codecs.getincrementaldecoder("utf-8")()
        self._rest = ""
        self._rows: list[list[str]] = [[]]
        self._goes_on = [False]  # whether a row's text was too long for it
        self._row = self._column = 0

    def feed(self, data: bytes) -> None:
        """Take in what was written."""
        text = self._decoder.decode(data)
        self.received += text
        text, self._rest = self._rest + text, ""
        position = 0
        for match in _SEQUENCE.finditer(text):
            if match.start() != position:
                break
            position = match.end()
            parameters, command, other, move, plain = match.groups()
            assert other is None, f"unknown sequence {match[0]!r}"
            if plain is not None:
                self._write(plain)
            elif move == "\r":
                self._column = 0
            elif move == "\n":
                self._down()
            else:
                self._command(parameters, command)
        self._rest = text[position:]  # a sequence that is not whole yet

    def _write(self, text: str) -> None:
        for one in text:
            assert one.isprintable(), f"{one!r} was written to the terminal"
            if self._column == self.width:
                self._goes_on[self._row] = True
                self._down()
                self._column = 0
            row = self._rows[self._row]
            row.extend(" " * (self._column + 1 - len(row)))
            row[self._column] = one
            self._column += 1

    def _down(self) -> None:
        self._row += 1
        if self._row == len(self._rows):
            self._rows.append([])
            self._goes_on.append(False)

    def _command(self, parameters: str, command: str) -> None:
        if command == "A":
            top = max(0, len(self._rows) - self.height)
            self._row = max(top, self._row - int(parameters or 1))
        elif (parameters, command) == ("2", "K"):
            self._rows[self._row].clear()
            self._goes_on[self._row] = False
        elif parameters == "?25":
            self.cursor_is_visible = command == "h"
        else:
            assert command == "m", f"unknown command {parameters}{command}"

    def lines(self) -> list[str]:
        """Return all lines; one that took several rows is one line."""
        lines, line = [], ""
        for row, goes_on in zip(self._rows, self._goes_on, strict=True):
            line += "".join(row)
            if not goes_on:
                lines.append(line.rstrip())
                line = ""
        return lines


class InTerminal:
    """Runs a script in a terminal of its own.

    :param arguments: the script's path, and its arguments.
    :param stdout: where its stdout leads to, as for ``Popen``; ``None`` for the terminal.
    """

    def __init__(
        self,
        arguments: Sequence[str],
        *,
        width: int = 100,
        height: int = 30,
        stdout: Any = None,
        **environment: str,
    ) -> None:
        self.screen = Screen(width, height)
        self._changed = asyncio.Event()
        self._master, slave = pty.openpty()
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", height, width, 0, 0))
        modes = termios.tcgetattr(slave)
        modes[3] |= termios.NOFLSH  # or Ctrl-C throws away what has not been read of the output
        termios.tcsetattr(slave, termios.TCSANOW, modes)
        self.process = subprocess.Popen(
            [sys.executable, "-c", _RUN, *arguments],
            stdin=slave,
            stdout=slave if stdout is None else stdout,
            stderr=slave,
            env={**os.environ, "TERM": "xterm", **environment},
            start_new_session=True,
        )
        os.close(slave)
        self._at_end = False
        asyncio.get_running_loop().add_reader(self._master, self._read)

    def _read(self) -> None:
        try:
            data = os.read(self._master, 65536)
        except OSError:  # nobody has the other side open any more
            data = b""
        if data:
            self.screen.feed(data)
        else:
            self._at_end = True
            asyncio.get_running_loop().remove_reader(self._master)
        self._changed.set()

    def press(self, keys: bytes) -> None:
        """Press keys."""
        os.write(self._master, keys)

    async def until(self, holds: Callable[[], bool]) -> None:
        """Wait until something holds that can be seen on the screen."""
        with contextlib.suppress(asyncio.TimeoutError):
            await asyncio.wait_for(self._until(holds), 60)
        assert holds(), "\n".join(self.screen.lines())

    async def _until(self, holds: Callable[[], bool]) -> None:
        while not holds() and not self._at_end:
            self._changed.clear()
            await self._changed.wait()

    async def until_shown(self, *texts: str) -> None:
        """Wait until the screen has all of these texts at once, each within a line."""

        def shown() -> bool:
            lines = self.screen.lines()
            return all(any(text in line for line in lines) for text in texts)

        await self.until(shown)

    async def end(self) -> int:
        """Wait until it has ended; return its exit status."""
        await self.until(lambda: self._at_end)
        return self.process.wait(60)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        if not self._at_end:
            asyncio.get_running_loop().remove_reader(self._master)
        os.close(self._master)
