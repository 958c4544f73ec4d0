#!/usr/bin/env bash
# A "/" in a proxy's password works with Scrapy's default download handler and with no other one of its own.
#
# Scrapy 2.19.0 with aiohttp 3.14.5 and httpx2 2.16.2. The streaming handlers put the credentials back into
# the proxy's URL with urllib.parse.quote(), which leaves "/" as it is, and the URL falls apart: aiohttp says
# that the URL is invalid, httpx that the port is ("Invalid port: 's3cr'", the password's beginning). Neither
# sends a byte to the proxy. The percent-encoded URL that the crawler's author wrote was right.
#
# For a crawler's author: who changes DOWNLOAD_HANDLERS sees every request fail through proxies whose password
# a provider has generated as base64 (one in two of 44 characters has a "/"), as a lost connection at that, and
# Scrapy retries it. Ask for a password without "/", or keep the default handler.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q --disable-pip-version-check --root-user-action=ignore \
    'scrapy==2.19.0' 'aiohttp==3.14.5' 'httpx2==2.16.2' 2>"$folder/pip.log" ||
    { cat "$folder/pip.log"; exit 1; }

cat >"$folder/crawl.py" <<'END'
import asyncio
import base64
import sys

import scrapy
from scrapy.crawler import AsyncCrawlerProcess

HANDLERS = "scrapy.core.downloader.handlers."
PATHS = {
    "default": None,
    "aiohttp": f"{HANDLERS}_aiohttp.AiohttpDownloadHandler",
    "httpx": f"{HANDLERS}_httpx.HttpxDownloadHandler",
}
seen = []


async def proxy(reader, writer):
    """Answer every request with a page, and remember the password."""
    head = (await reader.readuntil(b"\r\n\r\n")).decode()
    token = next((line.split()[-1] for line in head.splitlines() if line.lower().startswith("proxy-auth")), "")
    seen.append(base64.b64decode(token).decode())
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok")
    await writer.drain()
    writer.close()


class OneSpider(scrapy.Spider):
    name = "one"

    async def start(self):
        server = await asyncio.start_server(proxy, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        yield scrapy.Request(
            "http://shop.example/",
            meta={"proxy": f"http://alice:s3cr%2Fet@127.0.0.1:{port}"},
            errback=self.failed,
        )

    def parse(self, response):
        print(sys.argv[1], response.status, seen)

    def failed(self, failure):
        print(sys.argv[1], failure.type.__name__, seen)


path = PATHS[sys.argv[1]]
process = AsyncCrawlerProcess(
    {
        "LOG_ENABLED": False,
        "RETRY_ENABLED": False,
        "TELNETCONSOLE_ENABLED": False,
        "DOWNLOAD_HANDLERS": {} if path is None else {"http": path},
    }
)
process.crawl(OneSpider)
process.start()
END

for handler in default aiohttp httpx; do
    "$folder/venv/bin/python" "$folder/crawl.py" "$handler"
done | tee "$folder/seen"

diff "$folder/seen" - <<'END'
default 200 ['alice:s3cr/et']
aiohttp DownloadFailedError []
httpx InvalidURL []
END
