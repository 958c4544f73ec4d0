#!/usr/bin/env bash
# Scrapy 2.19.0 with Twisted 26.10.0: a proxy that closes the connection instead of answering CONNECT is
# not noticed.
#
# Each https request waits for the whole DOWNLOAD_TIMEOUT, 180 s by default, although the connection
# ended at once, and then fails with a timeout. And where the proxy keeps silent, a tunnel whose time is
# up is not closed: its socket stays open for as long as the proxy likes. For a crawler's author:
# overloaded proxies (nginx' limit_conn, HAProxy in TCP mode, a balancer without backends) close like
# that, so a small outage looks like a hanging crawl, and its sockets run out; lower DOWNLOAD_TIMEOUT.
#
# Exits with 1 if either has changed.
set -euo pipefail

here=$(mktemp -d)
trap 'rm -rf "$here"' EXIT
python3 -m venv "$here/venv"
python="$here/venv/bin/python"
"$python" -m pip install --quiet --disable-pip-version-check scrapy==2.19.0 twisted==26.10.0 >/dev/null 2>&1

cat > "$here/crawl.py" <<'PYTHON'
import socket
import sys
import threading
import time

from scrapy import Request, Spider
from scrapy.crawler import CrawlerProcess

TIMEOUT = 3
accepted = []


def proxy(closes):
    listener = socket.create_server(("127.0.0.1", 0))

    def serve():
        while True:
            connection, _ = listener.accept()
            connection.recv(65536)  # CONNECT
            if closes:
                connection.close()
            else:
                accepted.append(connection)

    threading.Thread(target=serve, daemon=True).start()
    return listener.getsockname()[1]


def still_open():
    """Count the connections that the client has not closed."""
    for connection in accepted:
        connection.setblocking(False)
    count = 0
    for connection in accepted:
        try:
            count += connection.recv(1) != b""
        except BlockingIOError:
            count += 1
        except OSError:
            pass
    return count


closing, silent = proxy(True), proxy(False)
began = time.monotonic()
seconds, opened = [], []


class Pages(Spider):
    name = "pages"

    async def start(self):
        for number in range(9):
            port = closing if number == 0 else silent
            yield Request(
                f"https://site.example/{number}",
                meta={"proxy": f"http://127.0.0.1:{port}", "dont_retry": True},
                errback=self.failed,
            )

    def failed(self, failure):
        if failure.request.url.endswith("/0"):
            seconds.append(time.monotonic() - began)
            print(f"CONNECT answered by a close: after {seconds[0]:.1f} s, {failure.value!r}")
        if len(opened) < 9:
            opened.append(still_open())


process = CrawlerProcess(
    {"LOG_LEVEL": "CRITICAL", "TELNETCONSOLE_ENABLED": False, "DOWNLOAD_TIMEOUT": TIMEOUT,
     "CONCURRENT_REQUESTS_PER_DOMAIN": 16}
)
process.crawl(Pages)
process.start()
print(f"8 hung CONNECTs whose time was up: {opened[-1]} sockets still open")
sys.exit(not (seconds[0] >= TIMEOUT and opened[-1] == 8))
PYTHON

"$python" "$here/crawl.py"
