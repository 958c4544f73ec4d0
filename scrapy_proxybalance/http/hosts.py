"""What a request goes to: a URL's host, written in one way."""

from __future__ import annotations

from functools import lru_cache
from urllib.parse import urlsplit

_USUAL_PORTS = {"http": 80, "https": 443}


@lru_cache(maxsize=10_000)
def host_with_port(scheme: str, netloc: str) -> str:
    """Return the host of a URL, with the port where it is not the usual one.

    IPv6 addresses are in brackets; a port that is no number is left out.
    """
    parts = urlsplit(f"{scheme}://{netloc}")
    host = parts.hostname or ""
    if ":" in host:
        host = f"[{host}]"
    try:
        port = parts.port
    except ValueError:
        return host
    return host if port is None or port == _USUAL_PORTS.get(scheme) else f"{host}:{port}"
