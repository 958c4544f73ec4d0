"""``LocalWorld``: runs the servers of the example for as long as the crawl.

Only the subprocess is managed here; what runs in it belongs in ``world.py``.
"""

from __future__ import annotations

import atexit
import subprocess
import sys
import threading
from pathlib import Path
from typing import IO, TYPE_CHECKING, cast

from scrapy import signals
from scrapy.exceptions import NotConfigured

from loopback.world import PROXIES_FILE

if TYPE_CHECKING:
    from scrapy.crawler import Crawler

_PROJECT_DIRECTORY = Path(__file__).resolve().parent.parent
_START_TIMEOUT = 15.0
_STOP_TIMEOUT = 5.0


class LocalWorld:
    """Starts the world before the crawler builds its downloader, and stops it with the engine.

    It stays out of the way when ``PROXYBALANCE_PROXIES_FILE`` is not the file the world writes.
    """

    def __init__(self, directory: Path) -> None:
        # A session of its own keeps Ctrl-C from the servers while Scrapy finishes its requests.
        self._process = subprocess.Popen(
            [sys.executable, "-m", "loopback.world", "--directory", str(directory)],
            cwd=_PROJECT_DIRECTORY,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            start_new_session=True,
        )
        atexit.register(self.stop)
        self._wait_until_ready()

    @classmethod
    def from_crawler(cls, crawler: Crawler) -> LocalWorld:
        """Start the world, unless the crawl uses other proxies."""
        settings = crawler.settings
        default = _PROJECT_DIRECTORY / ".local-world"
        directory = Path(settings.get("LOCAL_WORLD_DIRECTORY", default)).resolve()
        proxies_file = Path(settings.get("PROXYBALANCE_PROXIES_FILE") or "").resolve()
        if proxies_file != directory / PROXIES_FILE:
            raise NotConfigured("the proxies are not those of the local world")
        world = cls(directory)
        crawler.signals.connect(world.stop, signal=signals.engine_stopped)
        return world

    def stop(self) -> None:
        """Close the pipe that keeps the world running; harmless when it is stopped already."""
        atexit.unregister(self.stop)
        try:
            self._process.communicate(timeout=_STOP_TIMEOUT)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.communicate()

    def _wait_until_ready(self) -> None:
        stdout = cast("IO[bytes]", self._process.stdout)
        timer = threading.Timer(_START_TIMEOUT, self._process.kill)
        timer.start()
        try:
            line = stdout.readline()
        finally:
            timer.cancel()
        if line.strip() != b"ready":
            self.stop()
            raise RuntimeError(
                "The local world did not start: it has to print 'ready' within "
                f"{_START_TIMEOUT:.0f} s, but ended with status {self._process.returncode}. "
                "Its own error message, if any, is above."
            )
