"""Small helpers that know nothing of proxies or crawls: words, moments, files."""
