"""What wrong verdicts would cost: pages, proxies and time, in crawls through proxies that mislead.

    python -m tests.benchmarks.verdicts

Each row is a crawl, or two whose times are compared; with its bar and whether it is met. The tests in
``tests/crawl/test_answers.py``, ``test_refused_credentials.py`` and ``test_connect.py`` prove the same
behaviour without a clock. Exits with 1 if a bar is missed.
"""

from __future__ import annotations

import asyncio
import sys
import tempfile
import time
from contextlib import AsyncExitStack
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any

from scrapy.utils.reactor import install_reactor

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from loopback.origin import OriginRequest, OriginResponse

install_reactor("twisted.internet.asyncioreactor.AsyncioSelectorReactor")
sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "example_project"))

from twisted.internet import defer, task  # noqa: E402

from scrapy_proxybalance.reporting.standing import standing  # noqa: E402
from tests.crawl.certificates import server_context  # noqa: E402
from tests.crawl.judged import World, forwards, page, pages  # noqa: E402
from tests.crawl.scripted_proxy import answer  # noqa: E402
from tests.crawl.test_answers import OWN_ANSWERS  # noqa: E402

REFUSED = answer(407, "no", Proxy_Authenticate='Basic realm="pool"')
GOOD, FORBIDDEN = "shop.example", "forbidden.example"
PAIRS = 7

Row = tuple[str, str, bool]


async def answers() -> AsyncIterator[Row]:
    """4 good proxies, and 1 that answers everything itself at once; 500 pages."""
    for name, own in OWN_ANSWERS.items():
        async with AsyncExitStack() as stack:
            world = World(stack)
            scripts: list[Any] = [forwards, forwards, forwards, forwards]
            await world.start([lambda *_, own=own: own, *scripts], latency=0.05)
            judged = await world.crawl(f"http://{GOOD}/{number}" for number in range(500))
            attempts = judged.crawler.stats.get_value("downloader/request_count")
            share = max(0, len(world.proxies[0].requests) - 20) / attempts
            lost = sum((pages(range(500)) - judged.pages).values())
            state = standing(judged.proxies["p0"]).value
        yield (
            f"1 of 5 answers {name} itself: attempts after its first 20; lost; state",
            f"{share:.1%}; {lost}; {state}",
            share <= 0.05 and not lost and state != "healthy",
        )


async def credentials() -> AsyncIterator[Row]:
    """20 proxies that refuse their credentials: for one page, now and then, and all for 10 s."""
    began = 0.0
    numbers = count(1)

    def one_page(_: str, url: str) -> bytes | None:
        return REFUSED if url.endswith("/special") else None

    def now_and_then(_method: str, _url: str) -> bytes | None:
        return REFUSED if next(numbers) % 200 == 0 else None

    def for_a_while(_method: str, _url: str) -> bytes | None:
        return REFUSED if began + 2 <= time.monotonic() < began + 12 else None

    def at_first(_method: str, _url: str) -> bytes | None:
        return REFUSED if time.monotonic() < began + 10 else None

    cases: list[tuple[str, Callable[[str, str], bytes | None], int, float]] = [
        ("one page of 401", one_page, 400, 0.005),
        ("one answer of 200", now_and_then, 2000, 0.005),
        ("all, from 2 s to 12 s", for_a_while, 800, 0.1),
        ("all, for the first 10 s", at_first, 800, 0.005),
    ]
    for name, script, number, latency in cases:
        async with AsyncExitStack() as stack:
            world = World(stack)
            await world.start([script] * 20, users=True, latency=latency)
            urls = [f"http://{GOOD}/{page}" for page in range(number)]
            if script is one_page:
                urls.insert(200, f"http://{GOOD}/special")
            began = time.monotonic()
            judged = await world.crawl(urls)
            got = sum((judged.pages & pages(range(number))).values())
            out = sum(one.state.value == "out" for one in judged.proxies.values())
        yield (
            f"407 from all of 20: {name}: pages; out",
            f"{got} of {number}; {out}",
            (got == number and (not out or script is at_first)),
        )


async def slowly(request: OriginRequest) -> OriginResponse:
    """Return a page after so long that the crawl's time is not that of the CPU."""
    await asyncio.sleep(0.1)
    return page(request)


async def forbidden_host() -> AsyncIterator[Row]:
    """100 of 500 URLs at a host to which all of 10 proxies refuse CONNECT: the time of the others."""
    ratios, cooldowns, got = [], 0, 0
    with tempfile.TemporaryDirectory() as directory:
        context = server_context(Path(directory), GOOD)
        for _ in range(PAIRS):
            seconds = {}
            for refuses in (False, True):
                async with AsyncExitStack() as stack:
                    world = World(stack)
                    await world.start(
                        [lambda _, url: answer(403) if url.startswith(FORBIDDEN) else None] * 10,
                        hosts=(GOOD, FORBIDDEN),
                        context=context,
                        handler=slowly,
                    )
                    urls = [
                        f"https://{FORBIDDEN if number % 5 == 0 else GOOD}/{number}"
                        for number in range(500)
                        if refuses or number % 5
                    ]
                    began = time.monotonic()
                    judged = await world.crawl(urls)
                    seconds[refuses] = time.monotonic() - began
                    if refuses:
                        cooldowns += sum(judged.cooldowns.values())
                        got = sum(judged.pages.values())
            ratios.append(seconds[True] / seconds[False])
    ratio = sorted(ratios)[PAIRS // 2]
    yield (
        "20 % of the URLs refused in CONNECT: time of the others; cooldowns; pages",
        f"{ratio:.2f}x; {cooldowns}; {got} of 400",
        ratio <= 1.2 and not cooldowns and got == 400,
    )


async def main() -> int:
    """Run them all, and print a row for each."""
    missed = 0
    for part in (answers, credentials, forbidden_host):
        async for what, figure, met in part():
            print(f"{'met   ' if met else 'MISSED'}  {what}: {figure}", flush=True)
            missed += not met
    return 1 if missed else 0


if __name__ == "__main__":

    def run(_reactor: object) -> defer.Deferred[None]:
        return defer.Deferred.fromFuture(asyncio.ensure_future(main())).addCallback(sys.exit)

    task.react(run)
