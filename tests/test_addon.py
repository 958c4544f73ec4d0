"""The add-on fills in what is needed and overwrites nothing of the user's."""

from __future__ import annotations

from scrapy.settings import Settings

from scrapy_proxybalance import Addon, ProxyBalanceMiddleware, ProxyBalanceQueue


def test_it_adds_the_middleware_and_the_queue() -> None:
    settings = Settings()
    Addon().update_settings(settings)
    assert settings["DOWNLOADER_MIDDLEWARES"][ProxyBalanceMiddleware] == 740
    assert settings["SCHEDULER_PRIORITY_QUEUE"] is ProxyBalanceQueue


def test_it_leaves_the_users_queue_and_order_alone() -> None:
    path = "scrapy_proxybalance.ProxyBalanceMiddleware"
    settings = Settings(
        {
            "SCHEDULER_PRIORITY_QUEUE": "scrapy.pqueues.ScrapyPriorityQueue",
            "DOWNLOADER_MIDDLEWARES": {path: 731},
        }
    )
    Addon().update_settings(settings)
    assert settings["SCHEDULER_PRIORITY_QUEUE"] == "scrapy.pqueues.ScrapyPriorityQueue"
    assert dict(settings["DOWNLOADER_MIDDLEWARES"]) == {path: 731}


def test_it_does_nothing_where_the_plugin_is_disabled() -> None:
    settings = Settings({"PROXYBALANCE_ENABLED": "False"})
    before = settings.copy_to_dict()
    Addon().update_settings(settings)
    assert settings.copy_to_dict() == before
