"""The world of the example as a process: the shop, twenty proxies, and the list of them.

``python -m loopback.world --directory DIR`` writes ``DIR/proxies.txt``, prints ``ready``
and runs until its standard input is closed, so that it never outlives the process that started it.
The cast of proxies is decided here.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import signal
import socket
import tempfile
import threading
from itertools import cycle
from pathlib import Path

from .forward_proxy import Behaviour, ForwardProxy
from .origin import Origin
from .shop import Shop

SHOP_HOST = "books.example"
PROXIES_FILE = "proxies.txt"

_COUNTRIES = ("de", "fr", "nl", "us")


async def run(directory: Path, shop: Shop) -> None:
    """Run the shop and the proxies until the process is to end."""
    async with contextlib.AsyncExitStack() as stack:
        origin = await stack.enter_async_context(Origin(shop))
        resolve = {SHOP_HOST: (origin.host, origin.port)}
        urls: dict[str, str] = {}
        for proxy in _solo_proxies():
            proxy.resolve = resolve
            await stack.enter_async_context(proxy)
            urls[proxy.name] = proxy.url()
        gateway = ForwardProxy(
            "gateway",
            resolve=resolve,
            latency=0.01,
            credentials={"alice": "wonderland", "bob": "builder"},
        )
        await stack.enter_async_context(gateway)
        urls["fast-7"] = gateway.url("alice")
        urls["fast-8"] = gateway.url("bob")
        # Bound, so that nobody else gets the port, but not listening: connections are refused.
        closed = stack.enter_context(socket.socket())
        closed.bind(("127.0.0.1", 0))
        urls["dead-2"] = f"http://127.0.0.1:{closed.getsockname()[1]}"

        _write_proxies(directory, urls)
        stop = _stop_event()
        print("ready", flush=True)
        await stop.wait()


def _solo_proxies() -> list[ForwardProxy]:
    """Make the proxies that have an address of their own and are listening there."""
    return [
        *(ForwardProxy(f"fast-{n}", latency=0.0025 + 0.0025 * n) for n in range(1, 7)),
        *(ForwardProxy(f"medium-{n}", latency=0.034 + 0.016 * n) for n in range(1, 5)),
        *(ForwardProxy(f"slow-{n}", latency=0.15 + 0.15 * n) for n in range(1, 4)),
        ForwardProxy("flaky-1", latency=0.02, behaviour=Behaviour.FLAKY, fail_rate=0.3),
        ForwardProxy("dead-1", behaviour=Behaviour.REFUSE),
        ForwardProxy("hanging-1", behaviour=Behaviour.HANG),
        ForwardProxy("locked-1", behaviour=Behaviour.UNAUTHORIZED),
    ]


def _write_proxies(directory: Path, urls: dict[str, str]) -> None:
    """Replace the proxies file at once, so that a reader never sees half of it."""
    directory.mkdir(parents=True, exist_ok=True)
    countries = cycle(_COUNTRIES)
    with tempfile.NamedTemporaryFile("w", dir=directory, delete=False) as file:
        for name, url in sorted(urls.items()):
            file.write(f"{url} name={name} country={next(countries)}\n")
    Path(file.name).replace(directory / PROXIES_FILE)


def _stop_event() -> asyncio.Event:
    """Make an event that is set when standard input is closed or the process is told to end."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for signum in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(signum, stop.set)

    def wait_for_eof() -> None:
        # Not sys.stdin: its lock would be held by this thread when the interpreter exits.
        while os.read(0, 4096):
            pass
        with contextlib.suppress(RuntimeError):  # the loop is closed already
            loop.call_soon_threadsafe(stop.set)

    threading.Thread(target=wait_for_eof, name="wait-for-eof", daemon=True).start()
    return stop


def main() -> None:
    """Run the world as the command line says."""
    parser = argparse.ArgumentParser(prog="loopback.world", description=__doc__)
    parser.add_argument("--directory", type=Path, required=True, help="where to write proxies.txt")
    parser.add_argument("--rate", type=float, default=120.0, help="requests/s the shop allows")
    parser.add_argument("--burst", type=int, default=200, help="requests it allows at once")
    arguments = parser.parse_args()
    asyncio.run(run(arguments.directory, Shop(rate=arguments.rate, burst=arguments.burst)))


if __name__ == "__main__":
    main()
