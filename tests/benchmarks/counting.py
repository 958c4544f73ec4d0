"""Instructions of a process, counted by valgrind: noise and the speed of the machine do not change them.

The tool is cachegrind without its caches: more than twice as fast as callgrind, and the total is the
same. What is counted is the whole process, its start included: a benchmark counts twice, and the
difference is what is done in the second count and not in the first.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

_PREFIX = "instructions."


def count(arguments: Sequence[str], told: str) -> tuple[str, dict[int, int]]:
    """Run Python with these arguments under valgrind.

    :param told: what it reads from standard input.
    :return: what it prints; and the instructions of the process by its ID, and of each of its forks.
    :raises SystemExit: if there is no valgrind, or the process fails.
    """
    with tempfile.TemporaryDirectory() as directory:
        command = [
            "valgrind",
            "--quiet",
            "--tool=cachegrind",
            "--cache-sim=no",
            f"--cachegrind-out-file={directory}/{_PREFIX}%p",
            f"--log-file={directory}/log.%p",  # it warns of the size of the caches
            sys.executable,
            *arguments,
        ]
        try:
            done = subprocess.run(
                command,
                input=told,
                stdout=subprocess.PIPE,
                text=True,
                # The order of a set of strings, and so the path through the code, depends on it.
                env={**os.environ, "PYTHONHASHSEED": "0"},
            )
        except FileNotFoundError:
            raise SystemExit("valgrind is needed: the package of that name") from None
        if done.returncode:
            raise SystemExit(f"{' '.join(arguments)} failed with status {done.returncode}")
        return done.stdout, {
            int(path.name.removeprefix(_PREFIX)): _total(path)
            for path in Path(directory).glob(f"{_PREFIX}*")
        }


def in_a_fork(work: Callable[[], object]) -> int:
    """Do something in a fork of this process, and wait for it; return its process ID.

    So what is expensive to build is built once, and each count begins from the same state.

    :raises SystemExit: if it fails.
    """
    process = os.fork()
    if process == 0:
        status = 1
        try:
            work()
            status = 0
        finally:
            os._exit(status)
    _, ended = os.waitpid(process, 0)
    if ended:
        raise SystemExit("a fork failed")
    return process


def _total(path: Path) -> int:
    """Return the total that cachegrind has written: its last line is ``summary: 123``."""
    summary = path.read_text().rstrip().rpartition("\n")[2]
    return int(summary.removeprefix("summary:"))
