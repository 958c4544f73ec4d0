"""The processes of a benchmark on real sockets: one of servers, and one for each crawl.

Both are told what to do by a line of JSON on standard input, and answer with lines of JSON. What the
servers serve and what the spider fetches belongs in the benchmark.
"""

from __future__ import annotations

import asyncio
import json
import resource
import subprocess
import sys
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, cast

from worlds import start_crawl

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    # typing.Self requires Python 3.11
    from typing_extensions import Self


class Servers:
    """A process that runs ``script serve``: it says what it serves, and then answers ``take``.

    :param told: what it is to serve.
    """

    def __init__(self, script: str, told: Mapping[str, Any]) -> None:
        self._process = subprocess.Popen(
            [sys.executable, script, "serve"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self._stdin = cast("IO[str]", self._process.stdin)
        self._stdout = cast("IO[str]", self._process.stdout)
        self.serving: dict[str, Any] = self._ask(dict(told))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._stdin.close()
        self._process.wait(timeout=30)

    def take(self) -> dict[str, Any]:
        """Return what was seen since this was last asked."""
        return cast("dict[str, Any]", self._ask("take"))

    def _ask(self, question: object) -> Any:
        print(json.dumps(question), file=self._stdin, flush=True)
        line = self._stdout.readline()
        if not line:
            raise SystemExit("the servers failed")
        return json.loads(line)


def read_told() -> dict[str, Any]:
    """Return, in the process of the servers, what it is to serve."""
    told: dict[str, Any] = json.loads(sys.stdin.readline())
    return told


async def answer_until_end(
    serving: Mapping[str, Any], seen: Callable[[], Mapping[str, Any]]
) -> None:
    """Say in the process of the servers what it serves, and answer ``take`` until standard input ends.

    :param seen: returns what was seen since it was last called.
    """
    print(json.dumps(serving), flush=True)
    while await asyncio.to_thread(sys.stdin.readline):
        print(json.dumps(seen()), flush=True)


def run_until_report(script: str, settings: Mapping[str, Any], **arguments: Any) -> dict[str, Any]:
    """Run a crawl in a process of its own until it prints its report; then end the process.

    So a crawl that is only measured for a while need not be drained.

    :raises SystemExit: if it ends without a report.
    """
    process = start_crawl(script, settings, **arguments)
    with cast("IO[str]", process.stdout) as stdout:
        for line in stdout:
            if line.startswith("{"):
                process.kill()
                process.wait()
                report: dict[str, Any] = json.loads(line)
                return report
    raise SystemExit(f"a crawl ended without a report, with status {process.wait()}")


def cpu_seconds() -> float:
    """Return the CPU seconds of this process so far, user and system."""
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def kept_waiting_seconds() -> float:
    """Return the seconds that this process could have run so far and had no CPU; 0.0 if unknown.

    Linux says so of the main thread, which is where all the work is.
    """
    try:
        _, waited, _ = Path("/proc/self/schedstat").read_text().split()
    except (OSError, ValueError):
        return 0.0
    return int(waited) / 1e9


def allow_many_sockets() -> None:
    """Raise the limit of open files of this process as far as it goes."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
