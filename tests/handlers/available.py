"""The download handlers that this Scrapy, and what is installed beside it, have."""

from __future__ import annotations

from dataclasses import dataclass, field
from importlib.util import find_spec
from typing import Any

from scrapy import Request
from scrapy.settings import default_settings

#: Scrapy and its libraries say these of themselves, in some of the versions that are tested.
FILTERS = (
    "ignore:Passing method to twisted.internet.ssl.CertificateOptions:DeprecationWarning",
    "ignore:Make sure you are using https over https proxy",
    "ignore:.*BrowserLikeContextFactory:scrapy.exceptions.ScrapyDeprecationWarning",
)

_SCRAPY = "scrapy.core.downloader.handlers"


@dataclass(frozen=True)
class Handler:
    """One that can be crawled with."""

    name: str
    path: str | None = None
    meta: dict[str, Any] = field(default_factory=dict)
    verifies: dict[str, Any] = field(default_factory=dict)
    trusts: dict[str, Any] = field(default_factory=dict)

    def settings(self, **changes: Any) -> dict[str, Any]:
        handlers = {} if self.path is None else {"http": self.path, "https": self.path}
        return {"DOWNLOAD_HANDLERS": handlers, **changes}

    def request(self, url: str, *, verify: bool = False) -> Request:
        return Request(url, meta={**self.meta, **(self.verifies if verify else self.trusts)})


def _available() -> list[Handler]:
    handlers = [Handler("default")]
    if find_spec(f"{_SCRAPY}._aiohttp") and find_spec("aiohttp"):
        handlers.append(Handler("aiohttp", f"{_SCRAPY}._aiohttp.AiohttpDownloadHandler"))
    if find_spec(f"{_SCRAPY}._httpx") and (find_spec("httpx2") or find_spec("httpx")):
        handlers.append(Handler("httpx", f"{_SCRAPY}._httpx.HttpxDownloadHandler"))
    if find_spec("scrapy_impersonate"):
        handlers.append(
            Handler(
                "impersonate",
                "scrapy_impersonate.ImpersonateDownloadHandler",
                meta={"impersonate": "chrome"},
                trusts={
                    "impersonate_args": {"verify": False},
                    "impersonate_curl_options": {
                        "PROXY_SSL_VERIFYPEER": 0,
                        "PROXY_SSL_VERIFYHOST": 0,
                    },
                },
            )
        )
    if find_spec("scrapy_download_handlers_incubator"):
        handlers.append(
            Handler("curl", "scrapy_download_handlers_incubator.CurlCffiDownloadHandler")
        )
    return handlers


HANDLERS = {handler.name: handler for handler in _available()}


def verifying() -> dict[str, Any]:
    """Return the settings with which certificates are verified."""
    if hasattr(default_settings, "DOWNLOAD_VERIFY_CERTIFICATES"):
        return {"DOWNLOAD_VERIFY_CERTIFICATES": True}
    factory = "scrapy.core.downloader.contextfactory.BrowserLikeContextFactory"
    return {"DOWNLOADER_CLIENTCONTEXTFACTORY": factory}
