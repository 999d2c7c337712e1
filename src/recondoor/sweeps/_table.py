"""What a sweep leaves behind: sweep.parquet, all numbers, and sweep.json, how they were made."""

import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from importlib.metadata import version
from io import BytesIO
from pathlib import Path
from typing import Any

from recondoor import rundir
from recondoor.config import identity, leaves, recorded_key, settings_table, to_dict
from recondoor.core import provenance
from recondoor.records import SWEEP
from recondoor.sweeps._spec import Point, Sweep

SECONDS_BETWEEN_WRITES = 5.0
# Nor is more than this share of the time spent on writing.
SHARE_OF_TIME = 0.05

Row = dict[str, Any]


@dataclass
class SweepFolder:
    """Rows and failures so far, by the place of their point, and the two files."""

    out: Path
    sweep: Sweep
    command: str
    rows: dict[str, list[Row]] = field(default_factory=dict)
    failures: dict[str, str] = field(default_factory=dict)
    _started: str = field(default_factory=provenance.now)
    _due: float = 0.0
    _made: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Take down what stays as it is, as finding it out takes time."""
        self._made = {
            "versions": provenance.versions() | _versions(),
            "hardware": provenance.hardware(),
            "git": provenance.git_state(),
            "command": self.command,
            "started": self._started,
        }
        self._identities = {point.place: identity(point.config) for point in self.sweep.points}
        self._lines_of: dict[str, list[Row]] = {}

    @property
    def table(self) -> Path:
        """File of all numbers."""
        return self.out / "sweep.parquet"

    def write(self, *, now: bool = False) -> None:
        """Write both files anew, now or if the last time is a while ago."""
        begun = time.monotonic()
        if not now and begun < self._due:
            return
        rundir.write_atomically(self.table, parquet(self._lines()))
        rundir.write_json(self.out / "sweep.json", self._record())
        ended = time.monotonic()
        self._due = ended + max(SECONDS_BETWEEN_WRITES, (ended - begun) / SHARE_OF_TIME)

    def _lines(self) -> Iterable[Row]:
        for point in self.sweep.points:
            rows = self.rows.get(point.place, [])
            if len(self._lines_of.get(point.place, ())) != len(rows):
                self._lines_of[point.place] = [line(point, row) for row in rows]
            yield from self._lines_of.get(point.place, ())

    def _record(self) -> dict[str, Any]:
        return {
            "schema": SWEEP,
            "spec": self.sweep.spec,
            "provenance": self._made | {"written": provenance.now()},
            "points": [self._entry(point) for point in self.sweep.points],
            "failures": [
                {"point": point.name, "seed": point.seed, "reason": self.failures[point.place]}
                for point in self.sweep.points
                if point.place in self.failures
            ],
        }

    def _entry(self, point: Point) -> dict[str, Any]:
        state = "failed" if point.place in self.failures else "waiting"
        return {
            "point": point.name,
            "seed": point.seed,
            "folder": point.place,
            "identity": self._identities[point.place],
            "state": "finished" if point.place in self.rows else state,
        }


def _versions() -> dict[str, str]:
    return {name: version(name) for name in ("dask", "distributed", "pyarrow")}


def line(point: Point, row: Row) -> Row:
    """One line of the table: point, model, seed, every setting, every single number of the row."""
    settings = {key: value for key, value in _settings(point).items() if key not in row}
    scalars = {key: value for key, value in row.items() if not isinstance(value, (list, dict))}
    first = {"point": point.name, "model": row["model"], "seed": row["seed"]}
    return first | settings | scalars


def _settings(point: Point) -> Row:
    """Every setting under its dotted key; a list of names as one text."""
    flat: Row = {key: value for key, value in leaves(to_dict(point.config)) if "." in key}
    names = flat["attack.names"]
    return flat | {"attack.names": ",".join(names)}


def parquet(lines: Iterable[Row]) -> bytes:
    """Return lines as a Parquet file; a value that a line does not have is null."""
    import pyarrow as pa
    from pyarrow import parquet as pq

    lines = list(lines)
    names = list(dict.fromkeys(name for line in lines for name in line))
    columns = {name: pa.array([line.get(name) for line in lines]) for name in names}
    texts = {
        recorded_key(line.key)
        for line in settings_table()
        if line.allowed.startswith(("path", "text"))
    }
    for name, column in columns.items():
        if pa.types.is_null(column.type):
            # A column of nulls has a type nevertheless: the one that it has in other sweeps.
            columns[name] = column.cast(pa.string() if name in texts else pa.float64())
    buffer = BytesIO()
    pq.write_table(pa.table(columns), buffer)
    return buffer.getvalue()
