"""One gateway that several proxies share: its learned limit, and the breaker that says when it is down.

It knows proxies and targets by name only.
"""
