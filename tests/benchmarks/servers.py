"""The servers of the example project, and the certificates of the tests, as benchmarks import them.

Puts both on the path: a script has nothing but its own directory there.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "example_project"))
from loopback.forward_proxy import Behaviour, ForwardProxy
from loopback.origin import Origin, OriginRequest, OriginResponse

from tests.crawl.certificates import server_context

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = [
    "PAGE",
    "PAGE_RESPONSE",
    "Behaviour",
    "ForwardProxy",
    "Origin",
    "OriginRequest",
    "OriginResponse",
    "named",
    "server_context",
]

PAGE = b"<html><body>" + b"<p>A page like any other.</p>" * 20 + b"</body></html>"
PAGE_RESPONSE = OriginResponse(200, [("Content-Type", "text/html; charset=utf-8")], PAGE)


def named(proxies: Iterable[ForwardProxy]) -> list[dict[str, str]]:
    """Return the ``PROXYBALANCE_PROXIES`` that have the proxies by their names."""
    return [{"url": proxy.url(), "name": proxy.name} for proxy in proxies]
