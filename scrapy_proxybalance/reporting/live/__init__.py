"""A crawl on a port while it runs: metrics for Prometheus, a live page, and JSON beside it.

``port`` opens it with the spider; ``server`` takes connections and ``routes`` answers them, in threads
of their own; ``metrics``, ``view`` and ``actions`` are what they ask a crawl for, in the crawl's thread.
``page`` holds the page. Nothing here is imported unless the port is open.
"""
