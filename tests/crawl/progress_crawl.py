"""Crawls as ``scrapy crawl`` does, in a process of its own; ``test_progress`` runs it.

Takes as one JSON object: ``crawls``, the URLs of each spider; ``settings``; ``log``, a file that gets
what is logged besides. Each page is printed, too.
"""

from __future__ import annotations

import json
import logging
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from scrapy.crawler import CrawlerProcess

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from tests.crawl.crawling import BASE_SETTINGS, UrlsSpider

if TYPE_CHECKING:
    from scrapy.http import Response


class PrintingSpider(UrlsSpider):
    def keep(self, response: Response) -> None:
        super().keep(response)
        print(f"page {response.text}")


def main(crawls: list[list[str]], settings: dict[str, Any], log: str) -> None:
    settings = {**BASE_SETTINGS, "LOG_ENABLED": True, **settings}
    process = CrawlerProcess(settings)
    handler = logging.FileHandler(log)
    handler.setFormatter(
        logging.Formatter(process.settings["LOG_FORMAT"], process.settings["LOG_DATEFORMAT"])
    )
    logging.root.addHandler(handler)
    for urls in crawls:
        process.crawl(PrintingSpider, urls=urls)
    process.start()


if __name__ == "__main__":
    main(**json.loads(sys.argv[1]))
