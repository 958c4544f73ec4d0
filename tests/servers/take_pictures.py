"""Takes the pictures of the README anew: the live page and the report of the example crawl.

PYTHONPATH=example_project python -m tests.servers.take_pictures
"""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from .browser import browser
from .helpers import free_port

if TYPE_CHECKING:
    from .browser import Browser

ROOT = Path(__file__).resolve().parents[2]
PICTURES = ROOT / "docs" / "pictures"

# Requests after which the crawl has something to show, and is not over.
_INTO_THE_CRAWL = 1500


def _listens(port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port)):
        return True
    return False


def _requests(seen: Browser) -> int:
    tiles = dict(seen.rows("#summary > div"))
    return int(tiles.get("requests", "0").replace(",", ""))


def take() -> None:
    """Run the example crawl and take both."""
    port = free_port()
    PICTURES.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as directory, browser() as seen:
        report = Path(directory) / "report.html"
        crawl = subprocess.Popen(
            [
                *(sys.executable, "-m", "scrapy", "crawl", "books"),
                *("-a", "rounds=3"),  # or it is over before there is much to see
                *("-s", f"PROXYBALANCE_METRICS_PORT={port}"),
                *("-s", f"PROXYBALANCE_REPORT={report}"),
                *("-s", f"PROXYBALANCE_STATS_FILE={directory}/stats.json"),
                *("-O", f"{directory}/books.jsonl"),
            ],
            cwd=ROOT / "example_project",
            env={**os.environ, "PROXYBALANCE_CONTROL_TOKEN": ""},
        )
        seen.until(lambda: _listens(port))
        seen.driver.get(f"http://127.0.0.1:{port}/")
        seen.until(lambda: _requests(seen) >= _INTO_THE_CRAWL)
        seen.driver.set_window_size(1280, 960)
        assert seen.driver.save_screenshot(str(PICTURES / "live-page.png"))
        assert crawl.wait() == 0
        seen.driver.get(report.as_uri())
        seen.driver.set_window_size(1100, 1500)
        assert seen.driver.save_screenshot(str(PICTURES / "report.png"))


if __name__ == "__main__":
    take()
