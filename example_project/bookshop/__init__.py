"""An example Scrapy project: a crawl of a local bookshop through twenty local proxies."""
