"""The add-on fills in what is needed and overwrites nothing of the user's."""

from __future__ import annotations

import logging
from typing import Any

import pytest
from scrapy.core.scheduler import Scheduler
from scrapy.downloadermiddlewares import robotstxt
from scrapy.pqueues import ScrapyPriorityQueue
from scrapy.settings import Settings
from scrapy.utils.misc import load_object

from scrapy_proxybalance import (
    Addon,
    ProxyBalanceMiddleware,
    ProxyBalanceQueue,
    RobotsTxtMiddleware,
)
from scrapy_proxybalance.plugin.handlers.download_handler import DownloadHandler

from .crawl.crawling import crawl, crawl_test

SCRAPYS = "scrapy.downloadermiddlewares.robotstxt.RobotsTxtMiddleware"


class OwnRobots(robotstxt.RobotsTxtMiddleware):
    """A user's own."""


def middlewares(settings: Settings) -> dict[Any, int]:
    """Return the order of every middleware that is enabled."""
    merged = settings.getwithbase("DOWNLOADER_MIDDLEWARES").items()
    return {load_object(one): order for one, order in merged if order is not None}


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
    assert settings["DOWNLOADER_MIDDLEWARES"][path] == 731
    assert ProxyBalanceMiddleware not in settings["DOWNLOADER_MIDDLEWARES"]


@pytest.mark.parametrize(
    ("own", "order"),
    [({}, 100), ({SCRAPYS: 130}, 130), ({robotstxt.RobotsTxtMiddleware: 130}, 130)],
)
def test_it_puts_its_robots_middleware_in_the_place_of_scrapys(
    own: dict[Any, Any], order: int
) -> None:
    settings = Settings({"DOWNLOADER_MIDDLEWARES": own})
    Addon().update_settings(settings)
    enabled = middlewares(settings)
    assert enabled[RobotsTxtMiddleware] == order
    assert robotstxt.RobotsTxtMiddleware not in enabled


@pytest.mark.parametrize(
    ("own", "enabled"),
    [
        ({SCRAPYS: None}, set()),
        ({SCRAPYS: None, OwnRobots: 100}, {OwnRobots}),
        (
            {"scrapy_proxybalance.RobotsTxtMiddleware": None},
            {robotstxt.RobotsTxtMiddleware},
        ),
        (
            {SCRAPYS: None, "scrapy_proxybalance.RobotsTxtMiddleware": 90},
            {RobotsTxtMiddleware},
        ),
    ],
)
def test_what_the_user_has_decided_about_robots_txt_stays(
    own: dict[Any, Any], enabled: set[type]
) -> None:
    settings = Settings({"DOWNLOADER_MIDDLEWARES": dict(own)})
    Addon().update_settings(settings)
    robots = {
        one
        for one in middlewares(settings)
        if isinstance(one, type) and issubclass(one, robotstxt.RobotsTxtMiddleware)
    }
    assert robots == enabled


SCRAPYS_HANDLER = "scrapy.core.downloader.handlers.http11.HTTP11DownloadHandler"


@pytest.mark.parametrize(
    ("own", "used"),
    [
        ({}, {"http": DownloadHandler, "https": DownloadHandler}),
        ({"DOWNLOAD_HANDLERS": {"ftp": None}}, {"http": DownloadHandler, "https": DownloadHandler}),
        (
            {"DOWNLOAD_HANDLERS": {"https": "users.Own"}},
            {"http": DownloadHandler, "https": "users.Own"},
        ),
        (
            {"DOWNLOAD_HANDLERS": '{"http": null, "https": "users.Own"}'},
            {"http": None, "https": "users.Own"},
        ),
        (
            {"DOWNLOAD_HANDLERS": dict.fromkeys(("http", "https"), SCRAPYS_HANDLER)},
            {"http": SCRAPYS_HANDLER, "https": SCRAPYS_HANDLER},
        ),
        (
            {"DOWNLOAD_HANDLERS_BASE": dict.fromkeys(("http", "https"), "builtins.dict")},
            {"http": "builtins.dict", "https": "builtins.dict"},
        ),
    ],
    ids=str,
)
@pytest.mark.parametrize("priority", ["project", "spider", "cmdline"])
def test_it_puts_its_download_handler_where_the_user_has_chosen_none(
    own: dict[str, Any], used: dict[str, Any], priority: str
) -> None:
    settings = Settings(own, priority=priority)
    Addon().update_settings(settings)
    handlers = settings.getwithbase("DOWNLOAD_HANDLERS")
    assert {scheme: handlers[scheme] for scheme in ("http", "https")} == used


def test_it_leaves_scrapys_choice_of_a_handler_without_a_reactor_alone() -> None:
    settings = Settings({"TWISTED_REACTOR_ENABLED": False})
    Addon().update_settings(settings)
    assert dict(settings["DOWNLOAD_HANDLERS"]) == {}


def test_it_does_nothing_where_the_plugin_is_disabled() -> None:
    settings = Settings({"PROXYBALANCE_ENABLED": "False"})
    before = settings.copy_to_dict()
    Addon().update_settings(settings)
    assert settings.copy_to_dict() == before


class OwnScheduler(Scheduler):
    """Somebody else's: it keeps its requests where it likes."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **{**kwargs, "pqclass": ScrapyPriorityQueue})


@crawl_test
async def test_a_scheduler_that_makes_no_use_of_the_queue_is_named(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with caplog.at_level(logging.WARNING, "scrapy_proxybalance"):
        await crawl([], {"PROXYBALANCE_PROXIES": ["http://127.0.0.1:9"], "SCHEDULER": OwnScheduler})
    [text] = [
        record.getMessage()
        for record in caplog.records
        if "wait in the middleware" in record.getMessage()
    ]
    assert f"SCHEDULER = '{__name__}.OwnScheduler' does not use ProxyBalanceQueue" in text
    assert "ADDONS" not in text
