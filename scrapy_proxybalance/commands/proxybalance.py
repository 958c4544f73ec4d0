"""``scrapy proxybalance report LOG``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from scrapy.commands import ScrapyCommand
from scrapy.exceptions import UsageError

from ..reporting.report import Report, ReportError, read_rows, suggestions, write_csv
from ..reporting.report.text import report_lines

if TYPE_CHECKING:
    import argparse


class Command(ScrapyCommand):
    """Reports on a crawl that is over, from its request log."""

    requires_project = False
    default_settings = {"LOG_ENABLED": False}  # noqa: RUF012

    def syntax(self) -> str:
        """Return what to write behind the command's name."""
        return "report [options] <log>"

    def short_desc(self) -> str:
        """Return what it does, in a line."""
        return "Report on a crawl's proxies, from its request log"

    def long_desc(self) -> str:
        """Return what it does."""
        return (
            "Says which proxy carried how much of a crawl, how well, and what that suggests. The log is "
            "what PROXYBALANCE_REQUEST_LOG has written: a .jsonl, .csv or .parquet file."
        )

    def add_options(self, parser: argparse.ArgumentParser) -> None:
        """Add our own options to Scrapy's."""
        super().add_options(parser)
        parser.add_argument("--html", metavar="FILE", help="write a page with charts to this file")
        parser.add_argument("--csv", metavar="FILE", help="write a row for each proxy to this file")

    def run(self, args: list[str], opts: argparse.Namespace) -> None:
        """Do it."""
        if len(args) != 2 or args[0] != "report":
            raise UsageError
        report = Report()
        try:
            for row in read_rows(Path(args[1])):
                report.add(row)
            suggested = suggestions(report)
            if opts.csv:
                write_csv(report, Path(opts.csv))
            if opts.html:
                _write_html(report, suggested, Path(opts.html))
        except ReportError as error:
            raise UsageError(str(error), print_help=False) from None
        for line in report_lines(report, suggested):
            print(line)


def _write_html(report: Report, suggested: list[str], path: Path) -> None:
    try:
        from ..reporting.report.page import write_html
    except ImportError as error:
        raise ReportError(
            f"--html needs a library that is not there ({error}); pip install "
            "'scrapy-proxybalance[report]'"
        ) from None
    write_html(report, suggested, path)
