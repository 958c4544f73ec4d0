"""The pool in Scrapy's consoles: what somebody sees who looks into a running crawl."""

from __future__ import annotations

import asyncio
import json
import re
from random import Random
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import aiohttp
from loopback.forward_proxy import ForwardProxy
from loopback.origin import Origin, OriginRequest, OriginResponse
from scrapy import Request
from scrapy.settings import default_settings

from scrapy_proxybalance.core import Pool, PoolPolicy, Proxy
from scrapy_proxybalance.reporting.console import PoolConsole
from scrapy_proxybalance.reporting.figures import Figures

from .crawling import crawl, crawl_test

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

    import pytest

PASSWORD = "s3cret-w0rd"
_CONTROL = re.compile(rb"\x1b\[[^A-Za-z]*[A-Za-z]|\x1b.|\r", re.DOTALL)
_NEGOTIATION = re.compile(rb"\xff([\xfb-\xfe])(.)", re.DOTALL)
#: What a client that lets the server echo, and can do nothing else, says to WILL, WONT, DO and DONT.
_REPLIES = {0xFB: 0xFD, 0xFC: 0xFE, 0xFD: 0xFC, 0xFE: 0xFC}


class TelnetClient:
    """A connection to a telnet console."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer
        self._received = b""

    async def until(self, prompt: bytes) -> str:
        """Return what comes before a prompt."""
        while prompt not in self._received:
            data = await asyncio.wait_for(self._reader.read(65536), 30)
            assert data, self._received
            self._received = _CONTROL.sub(
                b"", _NEGOTIATION.sub(self._negotiate, self._received + data)
            )
        text, _, self._received = self._received.partition(prompt)
        return text.decode()

    def _negotiate(self, match: re.Match[bytes]) -> bytes:
        self._writer.write(bytes([0xFF, _REPLIES[match[1][0]], match[2][0]]))
        return b""

    async def type(self, line: str, prompt: bytes) -> str:
        """Type a line; return what comes before the next prompt, but for the line itself."""
        self._writer.write(f"{line}\r\n".encode())
        return (await self.until(prompt)).partition("\n")[2]


async def typed(port: int, *lines: str) -> list[str]:
    """Log in to a telnet console and type lines; return what it answers to each."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        client = TelnetClient(reader, writer)
        await client.until(b"Username: ")
        await client.type("operator", b"Password: ")
        await client.type("open sesame", b">>> ")
        return [await client.type(line, b">>> ") for line in lines]
    finally:
        writer.close()
        await writer.wait_closed()


async def looked_into(
    look: Callable[[], Awaitable[None]], tmp_path: Path, **settings: object
) -> None:
    """Crawl through a proxy that works and one that does not; call ``look`` before the last page."""
    errors: list[Exception] = []

    async def page(request: OriginRequest) -> OriginResponse:
        if request.path == "/last":
            try:
                await look()
            except Exception as error:
                errors.append(error)
        return OriginResponse(body=request.path.encode())

    async with (
        Origin(page) as origin,
        ForwardProxy("one", credentials={"alice": PASSWORD}) as one,
        ForwardProxy("bad") as bad,
    ):
        await bad.close()
        crawler = await crawl(
            [
                Request(f"http://127.0.0.1:{origin.port}/{path}", priority=-number)
                for number, path in enumerate(("1", "2", "last"))
            ],
            {
                "CONCURRENT_REQUESTS": 1,
                "DOWNLOAD_TIMEOUT": 60,
                "PROXYBALANCE_PROXIES": [
                    {"url": one.url("alice"), "name": "one"},
                    {"url": bad.url(), "name": "bad"},
                ],
                "PROXYBALANCE_STRATEGY": "round_robin",
                "PROXYBALANCE_FAILURE_THRESHOLD": 1,
                "PROXYBALANCE_COOLDOWN": 500,
                "RETRY_PRIORITY_ADJUST": 0,
                "REMOTE_CONTROL_JOBS_DIR": str(tmp_path),
                **settings,
            },
        )
    assert not errors, errors
    assert len(crawler.spider.responses) == 3


OVERVIEW = re.compile(
    r"Proxies: 1 healthy, 1 cooling; in flight 1 of 8\n"
    r"Requests: 3, success 66\.7%\n"
    r"proxy  state    in flight  requests  success  p95 +cooldown left\n"
    r"bad    cooling  0/4        1         0\.0%     - +[45]\d\d s\n"
    r"one    healthy  1/4        2         100\.0%   \d+ ms\n"
)


@crawl_test
async def test_pool_in_a_telnet_console_says_how_it_is_doing(
    caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    caplog.set_level("INFO")
    answers: list[str] = []

    async def look() -> None:
        found = re.search(r"Telnet console listening on \S+:(\d+)", caplog.text)
        assert found is not None
        answers.extend(
            await typed(
                int(found[1]),
                "pool",
                "pool.explain('bad').recovery",
                "pool.explain_limit('shop.example').binds.limit",
                "pool.snapshot('one')",
                "pool.core.in_flight",
            )
        )

    await looked_into(
        look,
        tmp_path,
        TELNETCONSOLE_ENABLED=True,
        TELNETCONSOLE_PORT=[0],
        TELNETCONSOLE_USERNAME="operator",
        TELNETCONSOLE_PASSWORD="open sesame",
    )
    overview, recovery, limit, snapshot, in_flight = answers
    assert OVERVIEW.fullmatch(overview), overview
    assert (recovery, limit, in_flight) == ("0.0\n", "4\n", "1\n")
    assert snapshot.startswith("[ProxySnapshot(proxy=<Proxy one http://127.0.0.1:")
    assert PASSWORD not in "".join(answers)
    assert "alice" not in "".join(answers)


# Scrapy has a remote control from 2.19 on. Defined and not skipped: where it has, this has to run.
if hasattr(default_settings, "REMOTE_CONTROL_ENABLED"):

    @crawl_test
    async def test_code_sent_by_remote_control_finds_the_same(tmp_path: Path) -> None:
        outputs: list[str] = []

        async def look() -> None:
            [job] = [json.loads(path.read_text()) for path in tmp_path.rglob("*.json")]
            code = (
                "from scrapy_proxybalance import ProxyBalanceMiddleware\n"
                "pool = crawler.get_downloader_middleware(ProxyBalanceMiddleware).console\n"
                "print(pool)"
            )
            async with (
                aiohttp.ClientSession() as session,
                session.post(
                    f"http://127.0.0.1:{job['port']}/execute",
                    json={"code": code},
                    headers={"Authorization": f"Bearer {job['token']}"},
                ) as response,
            ):
                answer = await response.json()
            assert answer["traceback"] is None
            outputs.append(answer["output"])

        await looked_into(look, tmp_path, REMOTE_CONTROL_ENABLED=True)
        assert OVERVIEW.fullmatch(outputs[0]), outputs[0]


def test_the_overview_of_a_large_pool_has_an_end() -> None:
    pool = Pool(
        [Proxy(host="gate.example", port=1, username=f"u{n}", name=f"p{n}") for n in range(50)],
        PoolPolicy(),
        rng=Random(1),
    )
    crawler = SimpleNamespace(signals=SimpleNamespace(connect=lambda *_, **__: None))
    context: Any = SimpleNamespace(pool=pool, clock=lambda: 3.0, crawler=crawler)
    console = PoolConsole(context, Figures(pool))
    for number in range(25):
        pool.targets.refused(f"{number}.example", started_at=1.0, now=2.0, reason="429", wait=60)
    pool.targets.suspend("0.example", 2.0, "that is enough")
    lines = repr(console).splitlines()
    assert len(lines[3:23]) == 20
    assert lines[23] == "... and 30 more"
    assert lines[24] == "target 0.example: suspended, held 0"
    assert re.fullmatch(r"target 1\.example: paused, \d+ s left, held 0", lines[25])
    assert lines[44:] == ["... and 5 more targets", "gateway gate.example:1: in flight 0 of 20"]
