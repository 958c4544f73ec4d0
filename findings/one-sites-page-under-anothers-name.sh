#!/usr/bin/env bash
# Scrapy 2.19.0 through pproxy 2.7.9 or proxy.py 2.4.10: pages of one http site come under the URL of
# another one, with status 200.
#
# Both proxies pass every request of a kept plain-http connection to the host of the first one. Scrapy
# keeps connections to a proxy by the proxy's address alone, and uses them for any http site. So a crawl
# of two sites stores pages of the wrong site, and nothing in the response says so. https is not
# concerned. For a crawler's author: through a forward proxy that you do not know, use a kept connection
# for one http host only, or compare something in the page with its URL.
#
# Exits with 1 if no page is wrong any more.
set -euo pipefail

here=$(mktemp -d)
trap 'kill $(jobs -p) 2>/dev/null || true; rm -rf "$here"' EXIT
python3 -m venv "$here/venv"
python="$here/venv/bin/python"
"$python" -m pip install --quiet --disable-pip-version-check \
    scrapy==2.19.0 pproxy==2.7.9 proxy.py==2.4.10 >/dev/null 2>&1

cat > "$here/crawl.py" <<'PYTHON'
import socket
import subprocess
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from scrapy import Request, Spider
from scrapy.crawler import CrawlerProcess


def site(name):
    class Page(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self):
            self.send_response(200)
            self.send_header("Content-Length", str(len(name)))
            self.end_headers()
            self.wfile.write(name.encode())

        def log_message(self, *args):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Page)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server.server_address[1]


name, *command = sys.argv[1:]
with socket.socket() as free:
    free.bind(("127.0.0.1", 0))
    port = free.getsockname()[1]
proxy = subprocess.Popen(
    [word.replace("PORT", str(port)) for word in command],
    stdout=subprocess.DEVNULL,
    stderr=subprocess.DEVNULL,
)
while True:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
        break
    except OSError:
        assert proxy.poll() is None, f"{name} has ended"
        time.sleep(0.05)

sites = {"one": site("one"), "two": site("two")}
pages = []


class Sites(Spider):
    name = "sites"

    async def start(self):
        for number in range(50):
            for which, site_port in sites.items():
                yield Request(
                    f"http://127.0.0.1:{site_port}/{number}",
                    meta={"proxy": f"http://127.0.0.1:{port}"},
                    cb_kwargs={"which": which},
                )

    def parse(self, response, which):
        pages.append((response.status, response.text == which))


process = CrawlerProcess({"LOG_LEVEL": "ERROR", "TELNETCONSOLE_ENABLED": False})
process.crawl(Sites)
process.start()
proxy.terminate()
proxy.wait()
wrong = sum(not right for _, right in pages)
print(f"{name}: {len(pages)} pages with status {sorted({s for s, _ in pages})}, {wrong} of the wrong site")
sys.exit(wrong == 0)
PYTHON

"$python" "$here/crawl.py" "pproxy 2.7.9" "$python" -m pproxy -l http://127.0.0.1:PORT
"$python" "$here/crawl.py" "proxy.py 2.4.10" "$python" -m proxy \
    --hostname 127.0.0.1 --port PORT --num-workers 1 --num-acceptors 1
