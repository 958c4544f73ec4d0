"""Scrapy and Twisted, and only here: what joins a crawl to the core."""
