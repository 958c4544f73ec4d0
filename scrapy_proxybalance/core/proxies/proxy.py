"""A proxy: who it is and what is said about it. Nothing here changes while a crawl runs.

What a proxy is *doing* (in flight, health, cooldown) lives elsewhere. No password leaves this module
other than through :attr:`Proxy.url`, which exists to be handed to the download handler.
"""

from __future__ import annotations

from functools import cached_property
from hashlib import blake2s
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import attrs

from ..errors import ConfigurationError

if TYPE_CHECKING:
    from ..limits.rate import Rate

SCHEMES = ("http", "https", "socks4", "socks5", "socks5h")

#: The attributes that a proxy can be filtered on.
ATTRIBUTES = ("name", "pool", "country", "region", "city", "provider", "tags", "tier")


def _tags(value: Any) -> frozenset[str]:
    return frozenset((value,)) if isinstance(value, str) else frozenset(value)


@attrs.frozen(kw_only=True, repr=False)
class Proxy:
    """One entry of the pool: an endpoint and its credentials.

    Two entries on one host and port with different usernames are two proxies.

    :param scheme: one of ``http``, ``https``, ``socks4``, ``socks5``, ``socks5h``.
    :param host: host name or IP address; an IPv6 address without brackets.
    :param port: 1 to 65535.
    :param username: sent to the proxy; ``None`` when it asks for none.
    :param password: sent to the proxy; shown nowhere.
    :param name: how logs and stats call it. Derived from host, port and username if empty, the same
        in every run.
    :param weight: its share relative to the others while nothing else is known; above 0.
    :param max_in_flight: requests at once; ``None`` takes the pool's.
    :param rate: requests over time; ``None`` takes the pool's.
    :raises ConfigurationError: for a value that cannot work.
    """

    scheme: str = "http"
    host: str
    port: int
    username: str | None = None
    password: str | None = None
    name: str = ""
    weight: float = 1.0
    max_in_flight: int | None = None
    rate: Rate | None = None
    pool: str | None = None
    country: str | None = None
    region: str | None = None
    city: str | None = None
    provider: str | None = None
    tags: frozenset[str] = attrs.field(default=frozenset(), converter=_tags)
    tier: int | None = None

    def __attrs_post_init__(self) -> None:
        if self.scheme not in SCHEMES:
            raise ConfigurationError(
                f"proxy {self.host}:{self.port}: unknown scheme {self.scheme!r}; "
                f"use one of {', '.join(SCHEMES)}"
            )
        if not 1 <= self.port <= 65535:
            raise ConfigurationError(f"proxy {self.host}: port {self.port} is not in 1..65535")
        if not self.name:
            object.__setattr__(self, "name", self._derived_name())
        if not 0 < self.weight < float("inf"):
            raise ConfigurationError(
                f"proxy {self.name}: weight {self.weight!r} is not a number above 0"
            )
        if self.max_in_flight is not None and self.max_in_flight < 1:
            raise ConfigurationError(
                f"proxy {self.name}: max_in_flight {self.max_in_flight!r} is below 1; "
                "leave the proxy out if it is to carry nothing"
            )

    def _derived_name(self) -> str:
        # A username often holds a customer number or a session id, so only its digest is shown.
        if self.username is None:
            return self.gateway
        digest = blake2s(self.username.encode(), digest_size=4).hexdigest()
        return f"{self.gateway}#{digest}"

    @cached_property
    def gateway(self) -> str:
        """The ``host:port`` that this proxy may share with others."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}"

    @cached_property
    def endpoint(self) -> str:
        """The URL without credentials."""
        return f"{self.scheme}://{self.gateway}"

    @cached_property
    def url(self) -> str:
        """The URL with credentials: a secret, to be handed to the download handler and nowhere else."""
        if self.username is None:
            return self.endpoint
        # Always with the colon: HttpProxyMiddleware cannot read a username without one.
        userinfo = f"{quote(self.username, safe='')}:{quote(self.password or '', safe='')}"
        return f"{self.scheme}://{userinfo}@{self.gateway}"

    @property
    def identity(self) -> tuple[str, str, int, str | None, str | None]:
        """What makes it this proxy and no other: endpoint and credentials."""
        return (self.scheme, self.host, self.port, self.username, self.password)

    def __repr__(self) -> str:
        return f"<Proxy {self.name} {self.endpoint}>"
