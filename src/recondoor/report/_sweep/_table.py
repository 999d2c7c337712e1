"""sweep.parquet of whoever wrote it: what it claims is checked before memory is taken.

A text that stands in every row is stored once and fills gigabytes when each row gets a copy of its
own. So columns are read as dictionaries, and rows share what they have in common.
"""

import math
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from recondoor.core.errors import ReportError
from recondoor.io import gate

if TYPE_CHECKING:
    from pyarrow import ChunkedArray, DataType
    from pyarrow.parquet import FileMetaData, ParquetFile

Cell = str | float | int | bool | None

MOST_CELLS = 10_000_000
"""Rows times columns that are read; a compressed table of some KiB may claim any number."""
MOST_COLUMNS = 1_000
LONGEST_LIST = 10_000_000
"""Entries of any list in the file's own description."""
LONGEST_TEXT = 5_000
"""Characters of a cell; a path has up to 4,096."""
LARGEST_FILE = 64 * gate.MIB
LARGEST_TABLE = 512 * gate.MIB
"""Bytes of all columns, as the file claims them."""
# Those that a sweep writes. Snappy expands 21 times at the most, others by thousands.
CODECS = {"UNCOMPRESSED", "SNAPPY"}
# In it a text takes a few bits if it is like the one before.
EXPANDING = {"DELTA_BYTE_ARRAY"}


def read_table(path: Path, remedy: str) -> list[dict[str, Cell]]:
    """Rows of the table at `path`, in their order; NaN and infinities are None.

    Raises ReportError where there is none, or it is not one that a sweep writes.
    """
    import pyarrow as pa

    try:
        content = gate.read_bytes(path, most=LARGEST_FILE, inside=path.parent)
        return _rows(content)
    except FileNotFoundError:
        raise ReportError(f"{path}: there is no such file; {remedy}") from None
    except gate.Refused as error:
        raise ReportError(f"{path}: {error}; {remedy}") from None
    except (OSError, ValueError, OverflowError, pa.ArrowException) as error:
        text = str(error).partition("\n")[0]
        raise ReportError(f"{path}: not a readable Parquet file ({text}); {remedy}") from error


def _rows(content: bytes) -> list[dict[str, Cell]]:
    about = _opened(content)
    _require_small(about.metadata)
    schema = about.schema_arrow
    if len(set(schema.names)) < len(schema.names):
        raise gate.Refused("two columns have one name")
    for field in schema:
        if not _is_plain(field.type):
            raise gate.Refused(f"{field.name} is neither text nor a number")
    texts = [field.name for field in schema if _is_text(field.type)]
    table = _opened(content, texts).read()
    columns = [list(_cells(name, table.column(name))) for name in schema.names]
    return [dict(zip(schema.names, cells, strict=True)) for cells in zip(*columns, strict=True)]


def _opened(content: bytes, texts: list[str] | None = None) -> "ParquetFile":
    import pyarrow as pa
    from pyarrow import parquet

    return parquet.ParquetFile(
        pa.BufferReader(content),
        read_dictionary=texts,
        thrift_string_size_limit=LARGEST_FILE,
        thrift_container_size_limit=LONGEST_LIST,
    )


def _require_small(about: "FileMetaData") -> None:
    if about.num_columns > MOST_COLUMNS:
        raise gate.Refused(f"{about.num_columns:,} columns; at most {MOST_COLUMNS:,} are read")
    if about.num_rows * about.num_columns > MOST_CELLS or about.num_row_groups > about.num_rows + 1:
        raise gate.Refused(
            f"{about.num_rows:,} rows are more than are read, {MOST_CELLS:,} cells at most"
        )
    size = 0
    for group in map(about.row_group, range(about.num_row_groups)):
        for column in map(group.column, range(about.num_columns)):
            size += max(column.total_uncompressed_size, 0)
            if column.compression not in CODECS or EXPANDING & set(column.encodings):
                raise gate.Refused(
                    f"{column.path_in_schema} is packed as {column.compression} "
                    f"{', '.join(column.encodings)}, in which no sweep writes"
                )
    if size > LARGEST_TABLE:
        raise gate.Refused(f"{size:,} bytes of columns; at most {LARGEST_TABLE:,} are read")


def _is_text(kind: "DataType") -> bool:
    from pyarrow import types

    return bool(types.is_string(kind) or types.is_large_string(kind))


def _is_plain(kind: "DataType") -> bool:
    from pyarrow import types

    number = types.is_integer(kind) or types.is_floating(kind) or types.is_boolean(kind)
    return _is_text(kind) or bool(number or types.is_null(kind))


def _cells(name: str, column: "ChunkedArray") -> Iterator[Cell]:
    """Cells of a column; those that are the same are one object."""
    from pyarrow import compute, types

    if not types.is_dictionary(column.type):
        column = column.dictionary_encode()
    for chunk in column.chunks:
        words = chunk.dictionary
        if _is_text(words.type) and len(words):
            longest = compute.max(compute.utf8_length(words)).as_py() or 0
            if longest > LONGEST_TEXT:
                raise gate.Refused(
                    f"{name} has a text of {longest:,} characters; at most {LONGEST_TEXT:,}"
                )
        values = [_value(value) for value in words.to_pylist()]
        for place in chunk.indices.to_pylist():
            yield None if place is None else values[place]


def _value(value: Any) -> Any:
    """A cell; a number that is none is null here as it is in results.json."""
    return None if isinstance(value, float) and not math.isfinite(value) else value
