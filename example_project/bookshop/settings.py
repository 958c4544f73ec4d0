"""Settings of the example: the crawl goes through the proxies that ``LocalWorld`` starts."""

from pathlib import Path

BOT_NAME = "bookshop"
SPIDER_MODULES = ["bookshop.spiders"]

ADDONS = {"scrapy_proxybalance.Addon": 500}
EXTENSIONS = {"loopback.extension.LocalWorld": 0}

# Name a file of your own here to crawl through other proxies; LocalWorld then starts nothing.
LOCAL_WORLD_DIRECTORY = Path(__file__).resolve().parent.parent / ".local-world"
PROXYBALANCE_PROXIES_FILE = str(LOCAL_WORLD_DIRECTORY / "proxies.txt")
PROXYBALANCE_STATS_FILE = "stats-%(name)s.json"
PROXYBALANCE_MAX_IN_FLIGHT = 4

CONCURRENT_REQUESTS = 32
CONCURRENT_REQUESTS_PER_DOMAIN = 32
DOWNLOAD_TIMEOUT = 5
RETRY_TIMES = 5
ROBOTSTXT_OBEY = True

FEEDS = {"books.jsonl": {"format": "jsonlines", "overwrite": True}}
LOG_LEVEL = "INFO"
TELNETCONSOLE_ENABLED = False
