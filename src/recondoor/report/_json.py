"""JSON of a run, a sweep or an audit, read strictly."""

from pathlib import Path
from typing import Any

from recondoor import gate
from recondoor.errors import ReportError
from recondoor.records import parse


def read_json(path: Path, remedy: str = "") -> Any:
    """What a file holds, by the rules of `records.parse`; raises ReportError."""
    try:
        return parse(gate.read_text(path, most=gate.RECORD, inside=path.parent))
    except gate.Refused as error:
        raise ReportError(f"{path}: {error}{remedy}") from error
    except OSError as error:
        raise ReportError(f"{path}: cannot be read ({error.strerror}){remedy}") from error
    except (ValueError, RecursionError) as error:
        raise ReportError(f"{path}: not valid JSON ({error}){remedy}") from error
