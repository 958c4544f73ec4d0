"""``PROXYBALANCE_WARM_CONNECTIONS``: what is believed of which download handler."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from scrapy import Request
from scrapy.core.downloader.handlers.http11 import HTTP11DownloadHandler
from scrapy.settings import Settings as ScrapySettings

from scrapy_proxybalance.core import ConfigurationError, WarmPolicy
from scrapy_proxybalance.plugin.config.settings import Settings
from scrapy_proxybalance.plugin.request_meta import tunnel_of

if TYPE_CHECKING:
    from scrapy.http import Response

HANDLERS = "scrapy.core.downloader.handlers"


class OwnHandler(HTTP11DownloadHandler):
    """Someone's."""


def policy(**given: Any) -> WarmPolicy | None:
    settings = {"PROXYBALANCE_PROXIES": ["http://proxy.example:8080"], **given}
    return Settings.read(ScrapySettings(settings)).policy.warm


def test_the_default_handler_is_known_and_so_is_one_that_is_derived_from_it() -> None:
    assert policy() == WarmPolicy(idle_seconds=60.0, most_idle=8)
    assert policy(CONCURRENT_REQUESTS_PER_DOMAIN=3) == WarmPolicy(idle_seconds=60.0, most_idle=3)
    assert policy(DOWNLOAD_HANDLERS={"https": OwnHandler}) == policy()


class KeepsNone(HTTP11DownloadHandler):
    """As scrapy-impersonate's: derived from the default one, with connections of its own."""

    async def download_request(self, request: Request) -> Response:
        raise NotImplementedError(request)


def test_of_one_that_overrides_anything_of_it_nothing_is_believed() -> None:
    assert policy(DOWNLOAD_HANDLERS={"https": KeepsNone}) is None


@pytest.mark.parametrize(
    ("name", "idle_seconds", "most_idle"),
    [("_aiohttp.AiohttpDownloadHandler", 12.0, 3), ("_httpx.HttpxDownloadHandler", 4.0, 20)],
)
def test_the_others_of_scrapy_are_known(name: str, idle_seconds: float, most_idle: int) -> None:
    pytest.importorskip(f"{HANDLERS}.{name.partition('.')[0]}")
    assert policy(
        DOWNLOAD_HANDLERS={"https": f"{HANDLERS}.{name}"},
        CONCURRENT_REQUESTS=20,
        CONCURRENT_REQUESTS_PER_DOMAIN=3,
    ) == WarmPolicy(idle_seconds=idle_seconds, most_idle=most_idle)


@pytest.mark.parametrize(
    "handler", [object, f"{HANDLERS}.http2.H2DownloadHandler", None, "no.such"]
)
def test_of_any_other_nothing_is_believed(handler: Any) -> None:
    assert policy(DOWNLOAD_HANDLERS={"https": handler}) is None


def test_it_can_be_switched_off() -> None:
    assert policy(PROXYBALANCE_WARM_CONNECTIONS=False) is None


@pytest.mark.parametrize("value", ["yes", 1, None, []])
def test_whether_a_gateway_rotates_is_true_or_false(value: Any) -> None:
    given = {"proxy.example:8080": {"rotating": value}}
    if value is None:
        assert policy(PROXYBALANCE_GATEWAYS=given) == policy()
        return
    with pytest.raises(ConfigurationError, match=r"\['rotating'\] = .*: write True or False"):
        policy(PROXYBALANCE_GATEWAYS=given)


@pytest.mark.parametrize(
    ("url", "meta", "tunnel"),
    [
        ("https://www.example.com/a", {}, "www.example.com"),
        ("https://www.example.com:443/b", {}, "www.example.com"),
        ("https://user:pw@example.com:8443/", {}, "example.com:8443"),
        ("https://example.com/", {"bindaddress": "10.0.0.1"}, "example.com from 10.0.0.1"),
        ("http://example.com:443/", {}, None),
        ("ftp://example.com/", {}, None),
    ],
)
def test_a_connection_is_for_one_host_and_port_of_https(
    url: str, meta: dict[str, Any], tunnel: str | None
) -> None:
    assert tunnel_of(Request(url, meta=meta)) == tunnel
