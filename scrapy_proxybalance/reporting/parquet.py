"""Rows as Parquet, the way Scrapy's exporters do it. Needs pyarrow, and is imported only for that."""

from __future__ import annotations

from typing import IO, Any

import pyarrow
from pyarrow import parquet
from scrapy.exporters import BaseItemExporter

# To write so many takes some hundredths of a second, in which the crawl stands still.
_ROWS_IN_A_GROUP = 5_000

_TYPES = {
    "timestamp": pyarrow.string(),
    "attempt": pyarrow.int32(),
    "status": pyarrow.int16(),
    "latency": pyarrow.float64(),
    "duration": pyarrow.float64(),
    "bytes": pyarrow.int64(),
    "waited": pyarrow.float64(),
    "target_paused": pyarrow.bool_(),
}


class ParquetItemExporter(BaseItemExporter):
    """Writes row groups of 5,000 rows; the file can be read once it is finished."""

    def __init__(self, file: IO[bytes], **kwargs: Any) -> None:
        super().__init__(**kwargs)
        names = self.fields_to_export or ()
        self._schema = pyarrow.schema(
            [(name, _TYPES.get(name, pyarrow.string())) for name in names]
        )
        self._writer = parquet.ParquetWriter(file, self._schema)
        self._rows: list[dict[str, Any]] = []

    def export_item(self, item: Any) -> None:
        """Take a row in."""
        self._rows.append(item)
        if len(self._rows) >= _ROWS_IN_A_GROUP:
            self._write()

    def finish_exporting(self) -> None:
        """Write the rest, and the footer without which nobody can read it."""
        self._write()
        self._writer.close()

    def _write(self) -> None:
        if self._rows:
            self._writer.write_table(pyarrow.Table.from_pylist(self._rows, schema=self._schema))
            self._rows = []
