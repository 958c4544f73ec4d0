"""Real crawls through real local proxies; what the proxy and the origin saw is what counts."""
