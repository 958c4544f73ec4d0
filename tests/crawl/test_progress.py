"""The live view, in a real terminal: what is on the screen while a crawl runs, and what it leaves."""

from __future__ import annotations

import asyncio
import io
import json
import logging
import os
import re
import subprocess
import sys
from pathlib import Path
from random import Random
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
from loopback.forward_proxy import ForwardProxy
from loopback.origin import Origin, OriginRequest, OriginResponse
from rich.console import Console

from scrapy_proxybalance.core import ConfigurationError, Pool, PoolPolicy, Proxy
from scrapy_proxybalance.reporting import progress
from scrapy_proxybalance.reporting.figures import Figures
from scrapy_proxybalance.reporting.pool_view import PoolView

from . import progress_crawl
from .crawling import crawl, crawl_test
from .terminal import INTERRUPT, InTerminal

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

EXAMPLE = Path(__file__).resolve().parents[2] / "example_project"
ENVIRONMENT = {
    "PYTHONPATH": os.pathsep.join(filter(None, [str(EXAMPLE), os.environ.get("PYTHONPATH")])),
    "NO_COLOR": "1",
}
PASSWORD = "s3cret-w0rd"


def arguments(log: Path, crawls: Sequence[Sequence[str]], **settings: Any) -> list[str]:
    """Return the arguments of a Python that crawls."""
    settings = {"PROXYBALANCE_PROGRESS": True, **settings}
    return [
        progress_crawl.__file__,
        json.dumps({"crawls": crawls, "settings": settings, "log": str(log)}),
    ]


class Gate:
    """An origin's handler that keeps ``/last`` waiting until it is opened."""

    def __init__(self) -> None:
        self.opened = asyncio.Event()

    async def __call__(self, request: OriginRequest) -> OriginResponse:
        if request.path == "/last":
            await self.opened.wait()
        return OriginResponse(body=request.path.encode(), headers=[("Content-Type", "text/plain")])


def is_log(line: str) -> bool:
    return re.match(r"\d{4}-\d\d-\d\d ", line) is not None


def assert_left_as_it_was(terminal: InTerminal, log: Path) -> None:
    """Assert that what is left on the screen is what was logged and printed, and nothing else."""
    left = [line for line in terminal.screen.lines() if line]
    # Ctrl-C is echoed where the cursor is.
    left = [line.replace("^C", "") for line in left if not line.startswith("page ")]
    logged = [line.rstrip() for line in log.read_text().splitlines() if line.strip()]
    assert len(logged) > 10
    assert left[left.index(logged[0]) :] == logged
    assert terminal.screen.cursor_is_visible


@crawl_test
async def test_the_view_stands_below_the_log_while_the_crawl_runs_and_leaves_nothing(
    tmp_path: Path,
) -> None:
    gate, log = Gate(), tmp_path / "log.txt"
    async with (
        Origin(gate) as origin,
        Origin(lambda _: OriginResponse(429, [("Retry-After", "600")])) as refusing,
        ForwardProxy("one", credentials={"alice": PASSWORD}) as one,
        ForwardProxy("bad") as bad,
    ):
        await bad.close()
        site = f"http://127.0.0.1:{origin.port}"
        long = "/" + "x" * 300  # a line of the log that is wider than the terminal
        arguments_ = arguments(
            log,
            [
                [
                    *(f"{site}/{n}" for n in range(20)),
                    site + long,
                    f"http://127.0.0.1:{refusing.port}/",
                    f"{site}/last",
                ]
            ],
            PROXYBALANCE_PROXIES=[
                {"url": one.url("alice"), "name": "[red]one[/red]\x1b[2J\n\u202e"},
                {"url": bad.url(), "name": "bad"},
            ],
            PROXYBALANCE_STRATEGY="round_robin",
            PROXYBALANCE_FAILURE_THRESHOLD=1,
            PROXYBALANCE_COOLDOWN=500,
            PROXYBALANCE_IDLE_WHEN_PAUSED="close",
        )
        async with InTerminal(arguments_, **ENVIRONMENT) as terminal:
            await terminal.until_shown(
                "Proxies: 1 healthy, 1 cooling; in flight 1 of 8; held 1",
                "Requests: ",
                "[red]one[/red]\ufffd[2J\ufffd\ufffd",
                f"target 127.0.0.1:{refusing.port}: paused, ",
                "page /19",
            )
            assert not terminal.screen.cursor_is_visible
            shown = terminal.screen.lines()
            [name] = [line for line in shown if line.startswith("[red]one")]
            assert re.search(r" healthy +1/4 +2\d +100\.0% +\d+ ms$", name), name
            [name] = [line for line in shown if line.startswith("bad ")]
            assert re.search(r" cooling +0/4 +\d +0\.0% +- +[45]\d\d s$", name), name
            last = max(number for number, line in enumerate(shown) if is_log(line))
            assert shown.index(name) > last
            gate.opened.set()
            assert await terminal.end() == 0
        assert_left_as_it_was(terminal, log)
        assert PASSWORD not in terminal.screen.received
        printed = [line for line in terminal.screen.lines() if line.startswith("page ")]
        assert sorted(printed) == sorted(
            f"page {path}" for path in [*(f"/{n}" for n in range(20)), long, "/last"]
        )


@pytest.mark.parametrize("presses", [1, 2])
@crawl_test
async def test_after_ctrl_c_the_terminal_is_as_it_was(presses: int, tmp_path: Path) -> None:
    gate, log = Gate(), tmp_path / "log.txt"
    async with Origin(gate) as origin, ForwardProxy("one") as one:
        urls = [f"http://127.0.0.1:{origin.port}/{name}" for name in ("first", "last")]
        arguments_ = arguments(log, [urls], PROXYBALANCE_PROXIES=[one.url()])
        async with InTerminal(arguments_, **ENVIRONMENT) as terminal:
            await terminal.until_shown("Requests: 1, success 100.0%")
            assert not terminal.screen.cursor_is_visible
            terminal.press(INTERRUPT)
            await terminal.until_shown("Received SIGINT, shutting down gracefully")
            if presses == 1:
                gate.opened.set()
            else:
                terminal.press(INTERRUPT)
            assert await terminal.end() == 0
        gate.opened.set()
        assert_left_as_it_was(terminal, log)


@crawl_test
async def test_of_two_spiders_in_a_process_one_has_the_view(tmp_path: Path) -> None:
    gate, log = Gate(), tmp_path / "log.txt"
    async with Origin(gate) as origin, ForwardProxy("one") as one:
        site = f"http://127.0.0.1:{origin.port}"
        crawls = [[f"{site}/a", f"{site}/last"], [f"{site}/b", f"{site}/c", f"{site}/last"]]
        arguments_ = arguments(log, crawls, PROXYBALANCE_PROXIES=[one.url()])
        async with InTerminal(arguments_, **ENVIRONMENT) as terminal:
            await terminal.until_shown("Requests: ", "no live view, another spider has one")
            await terminal.until_shown("page /a", "page /b", "page /c", "Requests: 1, ")
            assert sum(line.startswith("Requests: ") for line in terminal.screen.lines()) == 1
            gate.opened.set()
            assert await terminal.end() == 0
        assert_left_as_it_was(terminal, log)


@crawl_test
async def test_what_is_printed_into_a_file_is_not_diverted_to_the_terminal(tmp_path: Path) -> None:
    gate, log = Gate(), tmp_path / "log.txt"
    async with Origin(gate) as origin, ForwardProxy("one") as one:
        urls = [f"http://127.0.0.1:{origin.port}/{name}" for name in ("first", "last")]
        arguments_ = arguments(log, [urls], PROXYBALANCE_PROXIES=[one.url()])
        with (tmp_path / "printed.txt").open("wb") as stdout:
            async with InTerminal(arguments_, stdout=stdout, **ENVIRONMENT) as terminal:
                await terminal.until_shown("Requests: 1, success 100.0%")
                gate.opened.set()
                assert await terminal.end() == 0
        assert_left_as_it_was(terminal, log)
    assert (tmp_path / "printed.txt").read_text() == "page /first\npage /last\n"
    assert "page /" not in terminal.screen.received


@pytest.mark.parametrize("environment", [{}, {"FORCE_COLOR": "1"}])
@crawl_test
async def test_where_there_is_no_terminal_there_is_no_view(
    environment: dict[str, str], tmp_path: Path
) -> None:
    async with (
        Origin(lambda _: OriginResponse(body=b"text")) as origin,
        ForwardProxy("one") as one,
    ):
        done = await asyncio.to_thread(
            subprocess.run,
            [
                sys.executable,
                *arguments(
                    tmp_path / "log.txt",
                    [[f"http://127.0.0.1:{origin.port}/"]],
                    PROXYBALANCE_PROXIES=[one.url()],
                ),
            ],
            env={**os.environ, **ENVIRONMENT, **environment},
            capture_output=True,
            text=True,
            timeout=60,
            check=True,
        )
    assert "no live view, stderr is not a terminal" in done.stderr
    assert "Proxies: " not in done.stderr
    assert "\x1b" not in done.stderr
    assert "downloader/response_status_count/200" in done.stderr


@crawl_test
async def test_a_view_that_fails_is_one_error_and_the_crawl_goes_on(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(*_: object) -> None:
        raise OSError("the terminal is gone")

    streams = [getattr(handler, "stream", None) for handler in logging.root.handlers]
    monkeypatch.setattr(progress.Terminal, "is_interactive", True)
    monkeypatch.setattr(progress, "PoolView", broken)
    async with (
        Origin(lambda _: OriginResponse(body=b"text")) as origin,
        ForwardProxy("one") as one,
    ):
        crawler = await crawl(
            [f"http://127.0.0.1:{origin.port}/"],
            {"PROXYBALANCE_PROXIES": [one.url()], "PROXYBALANCE_PROGRESS": True},
        )
    assert len(crawler.spider.responses) == 1
    [error] = [record for record in caplog.records if record.levelname == "ERROR"]
    assert error.getMessage() == "The live view has ended; the crawl goes on"
    assert [getattr(handler, "stream", None) for handler in logging.root.handlers] == streams


def test_every_handler_of_the_log_gets_the_stream_back_that_it_had(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    master, slave = os.openpty()
    with open(master, "rb"), open(slave, "w") as stderr:  # noqa: PTH123
        monkeypatch.setattr(sys, "stderr", stderr)
        elsewhere = io.StringIO()
        logger = logging.getLogger("a.spider.of.the.users")
        kept = [logging.StreamHandler(), logging.StreamHandler(elsewhere)]
        monkeypatch.setattr(logger, "handlers", kept)
        terminal = progress.Terminal()
        terminal.open()
        kept.append(logging.StreamHandler())  # as Scrapy makes one for each crawl that is begun
        during = [handler.stream for handler in kept]
        terminal.close()
        assert stderr not in during
        assert during[1] is elsewhere
        assert [handler.stream for handler in kept] == [stderr, elsewhere, stderr]
        assert sys.stderr is stderr


class Interrupted(io.StringIO):
    """A terminal that calls ``interrupt`` once, as a signal may, when it has just written something."""

    interrupt: Callable[[], object] | None = None

    def isatty(self) -> bool:
        return True

    def write(self, text: str) -> int:
        written = super().write(text)
        interrupt, self.interrupt = self.interrupt, None
        if interrupt is not None:
            interrupt()
        return written


@pytest.mark.parametrize("while_drawing", [False, True])
def test_what_a_signal_logs_in_the_midst_of_a_write_comes_after_it_and_once(
    while_drawing: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    stderr = Interrupted()
    monkeypatch.setattr(sys, "stderr", stderr)
    terminal = progress.Terminal()
    terminal.open()
    stderr.interrupt = lambda: print("from the signal", file=sys.stderr)
    if while_drawing:
        terminal.show("the view")
    else:
        print("the line", file=sys.stderr)
    assert stderr.interrupt is None
    written = stderr.getvalue()
    terminal.close()
    assert written.count("from the signal") == written.count("the line") + while_drawing == 1
    assert written.index("the ") < written.index("from the signal")


@crawl_test
async def test_without_rich_the_start_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("progress", "terminal"):
        monkeypatch.delitem(sys.modules, f"scrapy_proxybalance.reporting.{module}")
    monkeypatch.setitem(sys.modules, "rich.console", None)
    settings = {"PROXYBALANCE_PROXIES": ["http://127.0.0.1:1"]}
    with pytest.raises(
        ConfigurationError,
        match=r"PROXYBALANCE_PROGRESS = True: .*rich.*scrapy-proxybalance\[progress\]",
    ):
        await crawl([], {**settings, "PROXYBALANCE_PROGRESS": True})
    await crawl([], settings)  # and nobody who does not ask for it needs it


@pytest.mark.parametrize("height", [1, 5, 9, 10, 24, 200])
@pytest.mark.parametrize("width", [20, 100])
def test_the_view_leaves_a_third_of_the_terminal_to_the_log(width: int, height: int) -> None:
    proxies = [Proxy(host="gate.example", port=1, name=f"proxy-{n}") for n in range(100)]
    pool = Pool(
        [Proxy(host=f"h{n}.example", port=1, name=one.name) for n, one in enumerate(proxies)],
        PoolPolicy(),
        rng=Random(1),
    )
    context: Any = SimpleNamespace(pool=pool, clock=lambda: 2.0)
    figures = Figures(pool)
    for number in range(12):
        pool.targets.refused(f"{number}.example", started_at=1.0, now=1.0, reason="429", wait=50)
    shown = Console(file=io.StringIO(), width=width, height=height)
    shown.print(progress._drawn(PoolView(context, figures), height))
    lines = shown.file.getvalue().splitlines()  # type: ignore[attr-defined]
    least = 2 + 6  # how the pool is doing, and what is paused, come first
    assert len(lines) <= max(least, height * 2 // 3)
    assert all(len(line) <= width for line in lines)
    assert sum("proxy-" in line for line in lines) <= 20
    assert any("and 7 more targets" in line for line in lines)
