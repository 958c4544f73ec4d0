"""The report on a crawl: made from attempts, of a request log or of a crawl that has just ended.

Knows no pool and no Scrapy: what it says has to come out the same a year later.
"""

from .figures import ProxyRow, Report
from .reading import ReportError, read_rows
from .suggesting import suggestions
from .table import CSV_COLUMNS, write_csv

__all__ = [
    "CSV_COLUMNS",
    "ProxyRow",
    "Report",
    "ReportError",
    "read_rows",
    "suggestions",
    "write_csv",
]
