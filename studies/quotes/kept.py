"""Kept results, read once, and numbers as the pages write them."""

import importlib.util
import json
import sys
from collections.abc import Iterable, Sequence
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

from pyarrow import parquet

from recondoor.evaluation.statistics import SuccessRule

STUDIES = Path(__file__).parents[1]
RULE = SuccessRule()
Row = dict[str, Any]


class Quote(NamedTuple):
    """Words of a page with numbers in them, and the kept file that these are from."""

    text: str
    source: str


@cache
def lines(name: str) -> list[Row]:
    """Rows of a kept file with one a line, as in ``network-audits/peaks.jsonl``."""
    return [json.loads(line) for line in (STUDIES / name).read_text("utf-8").splitlines()]


@cache
def sweep(name: str) -> list[Row]:
    """Rows of a kept sweep, as in ``when/ratio``."""
    found: list[Row] = parquet.read_table(STUDIES / name / "sweep.parquet").to_pylist()
    return found


@cache
def script(name: str) -> ModuleType:
    """A study's own script, as in ``equal-budget/summary.py``."""
    path = STUDIES / name
    # Scripts of two folders, or of somebody else, may have modules of the same names.
    beside = {other.stem for other in path.parent.glob("*.py")}
    others = {own: sys.modules.pop(own) for own in beside & set(sys.modules)}
    sys.path.insert(0, str(path.parent))
    try:
        spec = importlib.util.spec_from_file_location(name.replace("/", "_")[:-3], path)
        if spec is None or spec.loader is None:
            raise FileNotFoundError(path)
        module = importlib.util.module_from_spec(spec)
        sys.modules[spec.name] = module
        spec.loader.exec_module(module)
    finally:
        sys.path.pop(0)
        for own in beside & set(sys.modules):
            del sys.modules[own]
        sys.modules.update(others)
    return module


def where(rows: Iterable[Row], **wanted: object) -> list[Row]:
    """Rows with these values, by seed; `__` stands for the dot of a key."""
    keys = {key.replace("__", "."): value for key, value in wanted.items()}
    found = [row for row in rows if all(row[key] == value for key, value in keys.items())]
    return sorted(found, key=lambda row: int(row["seed"]))


def listed(values: Sequence[float], digits: int = 2) -> str:
    """E.g. ``0.57, 0.62 and 0.09``."""
    shown = [number(value, digits) for value in values]
    return f"{', '.join(shown[:-1])} and {shown[-1]}"


def spread(values: Iterable[float], digits: int = 2) -> str:
    """From the least to the largest."""
    shown = [number(value, digits) for value in sorted(values)]
    return shown[0] if shown[0] == shown[-1] else f"{shown[0]} to {shown[-1]}"


def number(value: float, digits: int = 2) -> str:
    """A number; one that rounds to zero has no sign."""
    text = f"{value:,.{digits}f}"
    return text.lstrip("-") if float(text.replace(",", "")) == 0 else text
