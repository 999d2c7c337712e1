"""sweep.parquet and sweep.json, checked and read by name."""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from recondoor.config import Evaluate
from recondoor.core.errors import ReportError
from recondoor.evaluation import yardsticks
from recondoor.evaluation.statistics import SuccessRule
from recondoor.evaluation.yardsticks import Yardstick
from recondoor.io import gate
from recondoor.records import SWEEP, schema
from recondoor.report._json import read_json
from recondoor.report._names import Measured
from recondoor.report._results import fault_of
from recondoor.report._sweep._table import read_table

Row = Mapping[str, Any]

TABLE, RECORD = "sweep.parquet", "sweep.json"
STATES = ("finished", "waiting", "failed")
_THRESHOLDS = ("tau", "transition", "success_asr", "success_benign")
# An original model is that of every row that agrees with it in these and in the seed.
_OF_ORIGINAL = ("data.", "operator.", "input.", "model.", "train.")
# Settings that are read as numbers, where a table has them.
_NUMBERS = (
    "poison.ratio",
    "artefact.amplitude",
    *(f"evaluate.{key}" for key in _THRESHOLDS),
)
LARGEST_RECORD = 32 * gate.MIB
MOST_ENTRIES = 50_000
"""Points, and failures, of a record."""
DEEPEST = 20
"""Levels of a record; a sweep's has 6."""
_REMEDY = "the command that made the sweep, given again, writes it anew"


@dataclass(frozen=True)
class SweepData:
    """A sweep as it stands: rows of the table, points and failures of the record."""

    folder: Path
    rows: tuple[Row, ...]
    record: Mapping[str, Any]

    @cached_property
    def attacked(self) -> tuple[Row, ...]:
        """Rows of poisoned networks."""
        return tuple(row for row in self.rows if row["model"] != "original")

    @property
    def seeds(self) -> tuple[int, ...]:
        """Seeds that have rows, increasing."""
        return tuple(sorted({row["seed"] for row in self.rows}))

    @property
    def states(self) -> Mapping[str, int]:
        """Number of points with their seeds in each state."""
        return Counter(point["state"] for point in self.record["points"])

    @cached_property
    def measured(self) -> Measured:
        """How the yardsticks were measured; tables from before a choice say nothing of units."""
        default = Evaluate()
        return Measured.of(
            {
                (
                    float(_given(row, "evaluate.tau", default.tau)),
                    str(_given(row, "evaluate.tau_unit", "absolute")),
                    artefact_rms(row),
                )
                for row in self.rows
            },
            {float(_given(row, "data_range", 1.0)) for row in self.rows},
            {int(_given(row, "ssim_window", 11)) for row in self.rows},
        )

    @property
    def transition(self) -> float:
        """Recovery above which a backdoor counts as learnt."""
        return self.rule.transition

    @cached_property
    def rule(self) -> SuccessRule:
        """The thresholds of the first row; the defaults where the table is older than they are."""
        return _rule(self.rows[0]) if self.rows else SuccessRule()

    @cached_property
    def _originals(self) -> Mapping[tuple[object, ...], float]:
        return {_scene(row): row["benign_rmse"] for row in self.rows if row["model"] == "original"}

    def strong(self, row: Row) -> bool | None:
        """Whether the row has learnt the backdoor and its ASR reaches its own rule's threshold."""
        return _rule(row).drawn(row["artefact_recovery"], row["asr"])

    def success(self, row: Row) -> bool | None:
        """Whether the row is a success; None where no original model tells."""
        original = self._originals.get(_scene(row))
        return _rule(row)(row["artefact_recovery"], row["asr"], row["benign_rmse"], original)

    @cached_property
    def judged(self) -> bool:
        """Whether the rule decides every poisoned network."""
        return all(self.success(row) is not None for row in self.attacked)


def _given(row: Row, key: str, default: Any) -> Any:
    value = row.get(key)
    return default if value is None else value


def _rule(row: Row) -> SuccessRule:
    return SuccessRule.of({key: row.get(f"evaluate.{key}") for key in _THRESHOLDS})


def artefact_rms(row: Row) -> float | None:
    """Root mean square of the artefact on its support, where the row or its settings tell it."""
    if row.get("artefact_rms") is not None:
        return float(row["artefact_rms"])
    drawn = row.get("artefact.file") is None and row.get("artefact.space") in (None, "image")
    amplitude = row.get("artefact.amplitude")
    return abs(float(amplitude)) if drawn and amplitude is not None else None


def _scene(row: Row) -> tuple[object, ...]:
    return (row["seed"], *(row[key] for key in sorted(row) if key.startswith(_OF_ORIGINAL)))


def is_sweep(folder: Path) -> bool:
    """Whether a folder holds a sweep, or a part of one."""
    return (folder / TABLE).exists() or (folder / RECORD).exists()


def load_sweep(folder: Path) -> SweepData:
    """Read the two files of a sweep; raises ReportError where one is missing or damaged."""
    rows = tuple(read_table(folder / TABLE, _REMEDY))
    _check(rows, folder / TABLE)
    return SweepData(folder, rows, _record(folder / RECORD))


def _parsed(path: Path) -> Any:
    record = read_json(path, f"; {_REMEDY}", LARGEST_RECORD)
    level = [record]
    for _ in range(DEEPEST):
        level = [inner for outer in level for inner in _members(outer)]
    if level:
        raise ReportError(f"{path}: more than {DEEPEST} levels inside each other; {_REMEDY}")
    return record


def _members(value: object) -> Iterable[object]:
    return value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()


def _record(path: Path) -> dict[str, Any]:
    record = _parsed(path)
    found = record.get("schema") if isinstance(record, dict) else None
    if found != SWEEP or not isinstance(record, dict):
        raise ReportError(f"{path}: schema '{found}' is not '{SWEEP}'; {_REMEDY}")
    for member in ("points", "failures"):
        entries = record.get(member)
        if isinstance(entries, list) and len(entries) > MOST_ENTRIES:
            raise ReportError(
                f"{path}: {len(entries):,} {member}; at most {MOST_ENTRIES:,} are read"
            )
    fault = fault_of(record, schema("sweep"))
    if fault is not None:
        raise ReportError(f"{path}: {fault}; {_REMEDY}")
    return {"spec": {}, "provenance": {}} | record


def _is_number(value: object) -> bool:
    """A number of a size that can be drawn, or none."""
    if value is None:
        return True
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 1e100


def columns() -> list[Yardstick]:
    """Yardsticks that a sweep's page has a column of."""
    return [each for each in yardsticks.YARDSTICKS if each.in_sweeps]


def _check(rows: tuple[Row, ...], path: Path) -> None:
    needed = ("point", "model", "seed", *(each.key for each in columns() if each.required))
    missing = [key for key in needed if rows and key not in rows[0]]
    if missing:
        raise ReportError(f"{path}: there is no column {missing[0]}; {_REMEDY}")
    known = [each.key for each in yardsticks.YARDSTICKS]
    seen = set()
    for number, row in enumerate(rows, 1):
        where = f"{path}: row {number}"
        wrong = [key for key in (*known, *_NUMBERS) if not _is_number(row.get(key))]
        if wrong:
            raise ReportError(f"{where}: {wrong[0]} is {row[wrong[0]]!r}, no number; {_REMEDY}")
        if row["benign_rmse"] is None or not isinstance(row["seed"], int):
            raise ReportError(f"{where}: benign_rmse or seed is missing; {_REMEDY}")
        key = (row["point"], row["model"], row["seed"])
        if None in key or key in seen:
            raise ReportError(f"{where}: {key} is incomplete or there twice; {_REMEDY}")
        if not isinstance(row["point"], str) or not isinstance(row["model"], str):
            raise ReportError(f"{where}: point and model must be texts; {_REMEDY}")
        seen.add(key)
