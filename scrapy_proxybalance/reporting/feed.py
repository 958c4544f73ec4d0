"""A feed of rows: through Scrapy's own exporters and feed storages, in batches, and never in the way.

Knows nothing of what the rows say.
"""

from __future__ import annotations

import logging
import sys
from contextlib import suppress
from typing import IO, TYPE_CHECKING, Any

from scrapy.utils.defer import ensure_awaitable
from scrapy.utils.misc import build_from_crawler, load_object

from ..core import ConfigurationError
from ..util.wording import counted
from .placeholders import fill_in

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from scrapy import Spider
    from scrapy.crawler import Crawler
    from scrapy.exporters import BaseItemExporter
    from scrapy.extensions.feedexport import FeedStorageProtocol

    from .feed_place import Feed

logger = logging.getLogger("scrapy_proxybalance")

#: Formats that a file can be continued in; a file in another one is replaced.
_APPENDABLE = ("csv", "jl", "jsonl", "jsonlines")
#: Our own exporters, of formats that Scrapy has none for.
_EXPORTERS = {"parquet": "scrapy_proxybalance.reporting.parquet.ParquetItemExporter"}


class FeedWriter:
    """Writes rows where a setting says. What goes wrong is logged once, and ends it.

    :param setting: the setting's name, for errors.
    :param columns: of every row, in their order.
    :raises ConfigurationError: for a format or a storage that Scrapy does not have here.
    """

    def __init__(self, crawler: Crawler, setting: str, feed: Feed, columns: Sequence[str]) -> None:
        self._crawler = crawler
        self._setting = setting
        self._feed = feed
        self._columns = columns
        self._exporter_class = self._load_exporter()
        self._storage_class = self._load_storage()
        self._storage: FeedStorageProtocol | None = None
        self._file: IO[bytes] | None = None
        self._exporter: BaseItemExporter | None = None
        self._where = ""
        self._count = 0

    def _load_exporter(self) -> Any:
        known = {**_EXPORTERS, **self._crawler.settings.getwithbase("FEED_EXPORTERS")}
        path = known.get(self._feed.format)
        if path is None:
            formats = ", ".join(sorted(name for name, exporter in known.items() if exporter))
            raise ConfigurationError(
                f"{self._setting}: there is no format {self._feed.format!r}; use one of {formats}, as "
                "the ending of the file or as 'format'"
            )
        try:
            return load_object(path)
        except ImportError as error:
            raise ConfigurationError(
                f"{self._setting}: the format {self._feed.format!r} needs a library that is not there "
                f"({error}); pip install 'scrapy-proxybalance[{self._feed.format}]'"
            ) from None

    def _load_storage(self) -> Any:
        known = self._crawler.settings.getwithbase("FEED_STORAGES")
        scheme = self._feed.scheme
        path = known.get(scheme)
        if path is None:
            raise ConfigurationError(
                f"{self._setting}: FEED_STORAGES has no storage for {scheme}://; write a path, or a URI "
                f"with one of {', '.join(sorted(filter(None, known)))}"
            )
        return load_object(path)

    def open(self, spider: Spider) -> None:
        """Open it, or log why that cannot be done."""
        feed = self._feed
        options: dict[str, Any] = {"format": feed.format}
        if feed.overwrite is not None:
            options["overwrite"] = feed.overwrite
        elif feed.scheme in ("", "file"):
            options["overwrite"] = feed.format not in _APPENDABLE
        self._where = feed.shown
        try:
            uri = fill_in(feed.uri, spider)
            self._storage = build_from_crawler(
                self._storage_class, self._crawler, uri, feed_options=options
            )
            self._file = self._storage.open(spider)
            self._exporter = build_from_crawler(
                self._exporter_class,
                self._crawler,
                self._file,
                fields_to_export=list(self._columns),
                encoding="utf-8",
                **self._format_options(self._file),
            )
            self._exporter.start_exporting()
        except Exception as error:  # a storage or an exporter may raise anything
            self._give_up("opened", error)

    def _format_options(self, file: IO[bytes]) -> dict[str, Any]:
        if self._feed.format != "csv":
            return {}
        return {"include_headers_line": not (file.seekable() and file.tell())}

    def write(self, rows: Iterable[dict[str, Any]]) -> None:
        """Write rows, or log why that cannot be done."""
        if self._exporter is None or self._file is None:
            return
        count = 0
        try:
            for row in rows:
                self._exporter.export_item(row)
                count += 1
            if count:
                self._file.flush()
        except Exception as error:  # an exporter may raise anything, and is not to harm the crawl
            self._give_up("written", error)
        else:
            self._count += count

    async def close(self) -> None:
        """Finish it and hand it to its storage, or log why that cannot be done."""
        exporter, file, storage = self._exporter, self._file, self._storage
        if exporter is None or file is None or storage is None:
            return
        self._exporter = None
        try:
            exporter.finish_exporting()
            await ensure_awaitable(storage.store(file))
        except Exception as error:  # a storage may raise anything, and the crawl is over
            self._give_up("stored", error)
        else:
            logger.info(
                "%s: wrote %s to %s", self._setting, counted(self._count, "row"), self._where
            )

    def _give_up(self, what: str, error: Exception) -> None:
        if isinstance(error, OSError) and error.strerror:
            reason = error.strerror
        elif self._feed.has_credentials:
            reason = type(error).__name__  # its text may have the URI in it
        else:
            reason = f"{type(error).__name__}: {error}"
        logger.error(
            "%s: %s cannot be %s (%s); after %s nothing more is written there. The crawl goes on.",
            self._setting,
            self._where,
            what,
            reason,
            counted(self._count, "row"),
        )
        exporter, file = self._exporter, self._file
        self._exporter = self._file = None
        with suppress(Exception):
            if exporter is not None:
                exporter.finish_exporting()
        with suppress(Exception):  # what is left in its buffer cannot be written either
            if file is not None and file is not sys.stdout.buffer:
                file.close()
