"""What a request's own ``meta["proxy"]`` means: no proxy, one of the user's, or one of the pool's."""

from __future__ import annotations

from typing import TYPE_CHECKING

from scrapy.exceptions import IgnoreRequest

from .. import request_meta

if TYPE_CHECKING:
    from collections.abc import Iterable

    from scrapy import Request

    from ...core import Proxy


class UsersProxy:
    """Reads what users have written.

    :param proxies: the pool's, which may be called by their URLs, with or without credentials.
    """

    def __init__(self, proxies: Iterable[Proxy]) -> None:
        self._names: dict[str, tuple[str, ...]] = {}
        for proxy in proxies:
            for url in {proxy.url, proxy.endpoint}:
                self._names[url] = (*self._names.get(url, ()), proxy.name)

    def is_chosen(self, request: Request) -> bool:
        """Return whether a request is the user's to route: through no proxy, or one that is not ours.

        A request that names a proxy of the pool by its URL asks the pool for it from here on.

        :raises IgnoreRequest: for an empty text, or anything else that is false and not ``None``: Scrapy
            would send that request directly.
        """
        if request_meta.PROXY not in request.meta or not request_meta.proxy_is_users(request):
            return False
        proxy = request.meta[request_meta.PROXY]
        if proxy is None:
            return True
        if not proxy:
            raise IgnoreRequest(
                f"meta['proxy'] = {proxy!r} names no proxy; leave it out for one of the pool, or set it "
                "to None for a direct request"
            )
        names = self._names.get(str(proxy).strip().rstrip("/"))
        if names is None:
            return True
        named = request.meta.get(request_meta.PROXY_NAME)
        request.meta[request_meta.PROXY_FILTER] = {
            "name": [named] if named in names else list(names)
        }
        del request.meta[request_meta.PROXY]
        return False
