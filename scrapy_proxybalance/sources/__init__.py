"""Where proxies come from: what users write, turned into :class:`~scrapy_proxybalance.core.Proxy`.

Every error says where the entry stands (the setting with its index, or the file with its line), shows
it without its credentials, and says how to correct it.
"""

from .entries import parse_entry, parse_url, redact
from .files import read_file

__all__ = ["parse_entry", "parse_url", "read_file", "redact"]
