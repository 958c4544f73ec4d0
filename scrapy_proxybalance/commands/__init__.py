"""``scrapy proxybalance ...``: what is asked for on the command line. Each does its work elsewhere."""
