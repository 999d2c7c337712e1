"""history.jsonl: one line is appended for each epoch; a torn last line is that of a killed run."""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from recondoor import records
from recondoor.core.errors import RunError
from recondoor.io import gate
from recondoor.rundir._files import RESTORE, explain, read_text, refused, write_atomically

Row = dict[str, Any]


def read_history(folder: Path, seal: records.Seal | None, *, sealed: bool) -> list[Row]:
    """Rows of history.jsonl, oldest first, less their digests.

    A last line that was torn by a kill is left out. Raises RunError for any other line that is not
    what a study writes, was changed, or is of another run; if `sealed`, also without a digest.
    """
    return _read(folder, seal, sealed)[0]


def _read(folder: Path, seal: records.Seal | None, sealed: bool) -> tuple[list[Row], bool]:
    """The rows, and whether the file ends as it should."""
    path = folder / "history.jsonl"
    if not path.exists() and not path.is_symlink():
        return [], True
    *lines, last = read_text(path, inside=folder).split("\n")
    # A line is one object, so that a part of one is none.
    lines += [last] if _is_json(last) else []
    rows = [
        _row(line, f"{path}: line {number}", seal, sealed) for number, line in enumerate(lines, 1)
    ]
    return rows, last == ""


def _is_json(line: str) -> bool:
    try:
        records.parse(line)
    except (ValueError, RecursionError):
        return False
    return True


def _row(line: str, where: str, seal: records.Seal | None, sealed: bool) -> Row:
    try:
        row = records.parse(line)
    except (ValueError, RecursionError) as error:
        raise RunError(f"{where} is damaged: {error}; {RESTORE}") from None
    records.require_line(row, where)
    digest = row.pop("digest", None)
    if seal is not None and (digest or sealed) and digest != seal.digest_of_line(row):
        raise RunError(f"{where} was changed or is of another run; {RESTORE}")
    return dict(row)


@dataclass
class History:
    """The lines of one stage of one model, as they grow.

    Args:
        folder: of the run, which this process holds alone.
        seal: of the run, None if its lines carry no digest.
        sealed: whether lines without a digest are refused.
        key: stage, model and seed, which begin every line.
    """

    folder: Path
    seal: records.Seal | None
    sealed: bool
    key: Row
    _known: int | None = field(default=None, init=False)

    def record(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """Append what `rows`, all of the stage so far, have beyond the lines that are there.

        The first call takes out what does not agree: lines of steps that a killed run made after
        its last checkpoint, and will make again.
        """
        if self._known is None:
            self._known = self._agreed([self._line(row) for row in rows])
        added = [self._line(row) for row in rows[self._known :]]
        if added:
            path, content = self.folder / "history.jsonl", self._lines(added)
            try:
                gate.append(path, content, inside=self.folder)
            except gate.Refused as error:
                raise refused(path, error, RESTORE) from None
            except OSError as error:
                raise explain(error, path) from error
        self._known = len(rows)

    def _line(self, row: Mapping[str, Any]) -> Row:
        return {**self.key, **finite(row)}

    def _agreed(self, wanted: list[Row]) -> int:
        """How many of `wanted` are there; the stage's other lines are taken out."""
        found, whole = _read(self.folder, self.seal, self.sealed)
        mine = [row for row in found if row.items() >= self.key.items()]
        agreed = 0
        while agreed < min(len(mine), len(wanted)) and mine[agreed] == wanted[agreed]:
            agreed += 1
        if agreed < len(mine) or not whole:
            others = [row for row in found if not row.items() >= self.key.items()]
            kept = self._lines(found if agreed == len(mine) else others + mine[:agreed])
            write_atomically(self.folder / "history.jsonl", kept, inside=self.folder)
        return agreed

    def _lines(self, rows: list[Row]) -> bytes:
        return b"".join(json.dumps(self._sealed(row)).encode() + b"\n" for row in rows)

    def _sealed(self, row: Row) -> Row:
        return row if self.seal is None else {**row, "digest": self.seal.digest_of_line(row)}


def finite(row: Mapping[str, Any]) -> Row:
    """The row with None for what JSON cannot hold: NaN and infinities."""
    return {
        key: None if isinstance(value, float) and not math.isfinite(value) else value
        for key, value in row.items()
    }
