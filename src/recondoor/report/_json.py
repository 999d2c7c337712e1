"""JSON of a run, a sweep or an audit, read strictly."""

import json
import math
from pathlib import Path
from typing import Any

from recondoor import gate
from recondoor.errors import ReportError

# A longer integer is beyond what a float can hold.
LONGEST_INTEGER = 300


def read_json(path: Path, remedy: str = "") -> Any:
    """What a file holds, without NaN, infinities and numbers beyond floats; raises ReportError."""
    try:
        return parse(gate.read_text(path, most=gate.RECORD, inside=path.parent))
    except gate.Refused as error:
        raise ReportError(f"{path}: {error}{remedy}") from error
    except OSError as error:
        raise ReportError(f"{path}: cannot be read ({error.strerror}){remedy}") from error
    except (ValueError, RecursionError) as error:
        raise ReportError(f"{path}: not valid JSON ({error}){remedy}") from error


def parse(text: str) -> Any:
    """What a text holds; raises ValueError or RecursionError."""
    return json.loads(text, parse_constant=_constant, parse_float=_float, parse_int=_int)


def _constant(name: str) -> float:
    raise ValueError(f"{name} is not JSON; an undefined number is written null")


def _float(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"{text} is too large for a number")
    return value


def _int(text: str) -> int:
    if len(text) > LONGEST_INTEGER:
        raise ValueError(f"an integer of {len(text)} digits")
    return int(text)
