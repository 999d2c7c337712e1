"""JSON of a run, a sweep or an audit, read strictly."""

from pathlib import Path
from typing import Any

from recondoor.core.errors import ReportError
from recondoor.io import gate
from recondoor.records import read


def read_json(path: Path, remedy: str = "", most: int = gate.RECORD) -> Any:
    """What a file holds, by the rules of `records.parse`; raises ReportError."""
    try:
        return read(path, inside=path.parent, most=most)
    except gate.Refused as error:
        raise ReportError(f"{path}: {error}{remedy}") from error
