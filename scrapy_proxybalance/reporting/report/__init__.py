"""The report on a crawl: made from attempts, of a request log or of a crawl that has just ended.

Knows no pool and no Scrapy: what it says has to come out the same a year later.
"""

from .figures import CrawlPart, ProxyRow, Report
from .reading import ReportError, Row, read_rows
from .suggesting import suggestions
from .table import CSV_COLUMNS, write_csv

__all__ = [
    "CSV_COLUMNS",
    "CrawlPart",
    "ProxyRow",
    "Report",
    "ReportError",
    "Row",
    "read_rows",
    "suggestions",
    "write_csv",
]
