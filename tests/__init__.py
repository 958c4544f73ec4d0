"""The tests: ``pool`` in virtual time, ``crawl`` through real proxies, ``servers`` through squid."""
