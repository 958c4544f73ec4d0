"""Starting and stopping a real proxy server, and what the tests of all of them share."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from loopback.origin import Origin, OriginRequest, OriginResponse
from scrapy import Request

from scrapy_proxybalance import ProxyBalanceMiddleware

from ..crawl.crawling import crawl

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable, Iterator

    from scrapy.crawler import Crawler

    from scrapy_proxybalance.core import HealthState

#: What Scrapy 2.14 passes to Twisted for a TLS connection.
of_tls_with_old_scrapy = pytest.mark.filterwarnings(
    "ignore:Passing method to twisted.internet.ssl.CertificateOptions:DeprecationWarning"
)

#: No test comes near it: a server that does not start, a crawl that hangs.
_HANGING = 120

_ATTEMPTS = 5


def find_program(name: str, package: str) -> str:
    """Return the path of a server's program.

    Without it the test fails where CI is true, and is skipped elsewhere.
    """
    path = shutil.which(name, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin")
    if path is None:
        message = f"{name} is not installed: apt-get install {package}"
        if os.environ.get("CI", "").lower() in ("true", "1"):
            pytest.fail(message)
        pytest.skip(message)
    return path


@dataclass
class Server:
    """A proxy server that is running."""

    port: int
    directory: Path
    process: subprocess.Popen[bytes]

    def url(self, username: str | None = None, password: str = "") -> str:
        """Return the proxy URL for a client."""
        userinfo = "" if username is None else f"{username}:{password}@"
        return f"http://{userinfo}127.0.0.1:{self.port}"

    def stop(self) -> None:
        """End it, and all that it has started."""
        if self.process.poll() is None:
            self.process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(_HANGING)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait(_HANGING)


@contextlib.contextmanager
def running(
    command: list[str], configure: Callable[[int, Path], str], user: str | None = None
) -> Iterator[Server]:
    """Run a server on a free port.

    :param command: the program with its arguments; the configuration's path is added.
    :param configure: gets the port and a directory of the server's own, returns the configuration.
    :param user: whom the server becomes when it is started by root.
    """
    # Not within tmp_path: that is closed to everybody else, and the server may become somebody else.
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        if user is not None and os.geteuid() == 0:
            shutil.chown(directory, user)
        for _ in range(_ATTEMPTS):
            server = _start(command, configure, directory)
            if server is not None:
                break
        else:
            pytest.fail(f"{command[0]} does not start:\n{_output(directory)}")
        try:
            yield server
        finally:
            server.stop()


def _start(
    command: list[str], configure: Callable[[int, Path], str], directory: Path
) -> Server | None:
    """Start a server; return ``None`` if it ends at once, as when its port has just been taken."""
    port = free_port()
    configuration = directory / "server.conf"
    configuration.write_text(configure(port, directory))
    with (directory / "output").open("wb") as output:
        process = subprocess.Popen(
            [*command, str(configuration)],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    server = Server(port, directory, process)
    give_up = time.monotonic() + _HANGING
    while process.poll() is None and time.monotonic() < give_up:
        with contextlib.suppress(OSError):
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
            return server
        time.sleep(0.01)
    server.stop()
    return None


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


def _output(directory: Path) -> str:
    return "\n".join(
        f"{path.name}:\n{path.read_text(errors='replace')}"
        for path in sorted(directory.iterdir())
        if path.is_file()
    )


async def until(condition: Callable[[], object]) -> None:
    """Wait for a condition to hold; fail if that takes impossibly long."""
    give_up = time.monotonic() + _HANGING
    while not condition():
        assert time.monotonic() < give_up, "waited in vain"
        await asyncio.sleep(0.01)


# What to crawl


def page(request: OriginRequest) -> OriginResponse:
    return OriginResponse(body=request.path.encode())


def origin(scheme: str, server_context: ssl.SSLContext) -> Origin:
    """Return an origin that is to be reached by a scheme."""
    return Origin(page, ssl_context=server_context if scheme == "https" else None)


def requests(scheme: str, port: int, count: int) -> list[Request]:
    return [Request(f"{scheme}://127.0.0.1:{port}/{number}") for number in range(count)]


def states(crawler: Crawler) -> dict[str, HealthState]:
    """Return how each proxy is when the crawl is over."""
    middleware = crawler.get_downloader_middleware(ProxyBalanceMiddleware)
    assert middleware is not None
    context = middleware.context
    return {one.proxy.name: one.state for one in context.pool.snapshot(context.clock())}


def settings(*proxies: dict[str, Any], **changes: Any) -> dict[str, Any]:
    return {"PROXYBALANCE_PROXIES": list(proxies), "CLOSESPIDER_TIMEOUT": _HANGING, **changes}


@contextlib.contextmanager
def dead_port() -> Iterator[int]:
    """Give a port that nobody else gets, and on which connections are refused."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        yield int(sock.getsockname()[1])


# Two sites in turns


def site(name: str) -> Origin:
    """Return an origin whose every page names it."""
    return Origin(lambda request: OriginResponse(body=f"{name}{request.path}".encode()))


async def crawl_in_turns(proxy: Server, count: int, **changes: Any) -> tuple[list[str], list[str]]:
    """Crawl http pages of two sites in turns through a proxy; return what came, and what should have."""
    async with site("one") as one, site("two") as two:
        sites = {"one": one.port, "two": two.port}
        asked = [
            (f"http://127.0.0.1:{port}/{number}", f"{name}/{number}")
            for number in range(count // 2)
            for name, port in sites.items()
        ]
        pool = settings({"url": proxy.url(), "name": "proxy"}, **changes)
        crawler = await crawl([Request(url) for url, _ in asked], pool)
    right = dict(asked)
    assert crawler.spider.failures == []
    pages = crawler.spider.responses
    return [response.text for response in pages], [right[response.url] for response in pages]
