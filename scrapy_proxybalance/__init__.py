"""A score-weighted proxy pool for Scrapy."""

__version__ = "0.1.0"
