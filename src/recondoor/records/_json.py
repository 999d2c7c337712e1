"""JSON read strictly."""

import json
import math
from pathlib import Path
from typing import Any

from recondoor.io import gate

# A longer integer is beyond what a float can hold.
LONGEST_INTEGER = 300


def read(path: Path, *, inside: Path | None, most: int = gate.RECORD) -> Any:
    """What the JSON file at `path` holds; raises gate.Refused, with why, where it cannot be read.

    `inside` and `most` are those of `gate.opened`.
    """
    try:
        return parse(gate.read_text(path, most=most, inside=inside))
    except gate.Refused:
        raise
    except OSError as error:
        raise gate.Refused(f"cannot be read ({gate.why(error)})") from error
    except (ValueError, RecursionError) as error:
        raise gate.Refused(f"not valid JSON ({gate.why(error)})") from error


def parse(text: str) -> Any:
    """What a JSON text holds.

    Raises ValueError for NaN, infinities, numbers beyond floats and a key that is there twice, and
    RecursionError for what is nested too deep.
    """
    return json.loads(
        text,
        parse_constant=_constant,
        parse_float=_float,
        parse_int=_int,
        object_pairs_hook=_object,
    )


def _constant(name: str) -> float:
    raise ValueError(f"{name} is not JSON; an undefined number is written null")


def _float(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"{text[:20]} is too large for a number")
    return value


def _int(text: str) -> int:
    if len(text) > LONGEST_INTEGER:
        raise ValueError(f"an integer of {len(text)} digits")
    return int(text)


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        seen: set[str] = set()
        twice = next(key for key, _ in pairs if key in seen or seen.add(key))  # type: ignore[func-returns-value]
        raise ValueError(f"the key '{twice}' is there twice")
    return found
