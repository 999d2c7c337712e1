"""A typed, read-only view of a run folder; parts that are not there yet are simply absent."""

import json
import re
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from recondoor.core.errors import ReportError
from recondoor.io import arrays, gate
from recondoor.io.tables import parse_toml
from recondoor.report import _results
from recondoor.report._names import in_order
from recondoor.report._results import Results

Array = NDArray[np.float32]
Curve = Mapping[str, NDArray[np.float64]]  # column -> values; null in the file is NaN here

VISIBLE = 0.05
"""Share of a pattern's largest value from which a pixel is taken for a part of it."""

_ARRAYS = re.compile(r"(trigger|examples)-([a-z][a-z0-9-]*)-seed(\d+)\.npz")
_LABEL = re.compile(r"[a-z][a-z0-9-]*")
# What the rows of each stage are counted by, and what else they must have.
_STEPS = {"train": ("epoch", "samples"), "attack": ("iteration",)}


@dataclass(frozen=True)
class Trigger:
    """What one attack adds; all (C, H, W), `path` (K, C, H, W) with `path_iteration` (K,)."""

    delta: Array
    mask: Array
    artefact: Array
    path: Array
    path_iteration: NDArray[np.int64]


@dataclass(frozen=True)
class Examples:
    """The same few test images for every model, each array (n, C, H, W).

    rows: which of the test images they are, (n,); None: the first. artefact: that of each, None
    where all have the same.
    """

    x: Array
    z: Array
    z_triggered: Array
    clean: Array
    triggered: Array
    artefact: Array | None = None
    rows: NDArray[np.integer[Any]] | None = None

    def number(self, index: int) -> int:
        """Of which test image an example is, from 1."""
        return index + 1 if self.rows is None else int(self.rows[index]) + 1


@dataclass(frozen=True, kw_only=True)
class Run:
    """One run folder. Arrays are those of `seed`, the lowest one found; curves hold all seeds."""

    folder: Path
    results: Results | None
    settings: Mapping[str, Any]
    seed: int
    triggers: Mapping[str, Trigger]
    examples: Mapping[str, Examples]
    training: Mapping[tuple[str, int], Curve]
    attacks: Mapping[tuple[str, int], Curve]

    @property
    def poison_ratio(self) -> float | None:
        """The poison ratio p that was measured with, else the one set, else None."""
        if self.results is not None:
            return float(self.results.data["poison_ratio"])
        given = self.settings.get("poison", {}).get("ratio")
        return None if given is None else float(given)

    @property
    def models(self) -> tuple[str, ...]:
        """Labels of the models of which anything is known, in the order of the report."""
        measured = self.results.models if self.results is not None else ()
        return in_order(
            [*measured, *(label for label, _ in self.training), *self.triggers, *self.examples]
        )

    @property
    def artefact(self) -> Array | None:
        """Delta, (C, H, W); the same for every attack of a run."""
        return next((self.triggers[m].artefact for m in in_order(self.triggers)), None)


def load(run_dir: Path) -> Run:
    """Read what is in `run_dir`.

    Raises ReportError where it is no run folder, or a file in it is corrupt or against its schema.
    """
    if not run_dir.is_dir():
        raise ReportError(f"{run_dir}: no such folder; give the folder of a run")
    found = {path.name for path in run_dir.iterdir()}
    if not found & {"results.json", "history.jsonl", "config.toml"}:
        raise ReportError(
            f"{run_dir}: not the folder of a run (it has no results.json, history.jsonl or "
            "config.toml);\nmake one with 'recondoor study --out DIR'"
        )
    results = _results.read(run_dir / "results.json") if "results.json" in found else None
    settings = results.data["config"] if results is not None else _settings(run_dir)
    training, attacks = _history(run_dir / "history.jsonl")
    seed, triggers, examples = _arrays(run_dir, sorted(found))
    return Run(
        folder=run_dir,
        results=results,
        settings=settings,
        seed=seed,
        triggers=triggers,
        examples=examples,
        training=training,
        attacks=attacks,
    )


def load_results(run_dir: str | Path) -> Mapping[str, Any]:
    """Return results.json of a run folder as it stands there, once it has passed its schema.

    Raises:
        ReportError: it is missing, unreadable or against its schema.

    Example:
        >>> import recondoor as rd
        >>> folder = rd.study("smoke", "runs/smoke").folder
        >>> rd.load_results(folder)["rows"][1]["model"]
        'heuristic'
    """
    return _results.read(Path(run_dir) / "results.json").data


def _settings(run_dir: Path) -> Mapping[str, Any]:
    path = run_dir / "config.toml"
    try:
        settings = parse_toml(gate.read_text(path, most=gate.SETTINGS, inside=run_dir))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise ReportError(f"{path}: cannot be read ({gate.why(error)})") from error
    _results.check_settings(settings, str(path))
    return settings


def _arrays(
    run_dir: Path, found: list[str]
) -> tuple[int, Mapping[str, Trigger], Mapping[str, Examples]]:
    matches = [match for match in map(_ARRAYS.fullmatch, found) if match]
    seed = min((int(match[3]) for match in matches), default=0)
    triggers: dict[str, Trigger] = {}
    examples: dict[str, Examples] = {}
    for match in matches:
        if int(match[3]) != seed:
            continue
        path = run_dir / match[0]
        if match[1] == "trigger":
            triggers[match[2]] = _trigger(path)
        else:
            examples[match[2]] = _examples(path)
    shapes = {t.delta.shape for t in triggers.values()}
    shapes |= {e.x.shape[1:] for e in examples.values()}
    if len(shapes) > 1 or len({len(e.x) for e in examples.values()}) > 1:
        raise ReportError(
            f"{run_dir}: triggers and examples of seed {seed} have images of {shapes}, or not "
            "equally many; they are of different runs"
        )
    return seed, triggers, examples


def _members(
    path: Path, names: tuple[str, ...], optional: tuple[str, ...] = ()
) -> dict[str, NDArray[Any]]:
    try:
        opened = gate.opened(path, most=gate.ARRAYS, inside=path.parent)
        with opened as stream, arrays.load(stream) as file:
            lacking = [name for name in names if name not in file.files]
            if lacking:
                raise ReportError(f"{path}: lacks the array '{lacking[0]}'; expected {names}")
            found = (*names, *(name for name in optional if name in file.files))
            return {name: _numbers(file[name]) for name in found}
    except arrays.UNREADABLE as error:
        raise ReportError(
            f"{path}: not a readable .npz file ({gate.why(error)});\n"
            "delete it and run the study again"
        ) from error


def _numbers(array: NDArray[Any]) -> NDArray[Any]:
    array = np.asarray(array)
    if array.dtype.kind not in "fiub":
        raise ValueError(f"it holds {array.dtype}, no real numbers")
    if not np.isfinite(array).all():
        raise ValueError("it holds NaN or infinite values")
    return array


def _trigger(path: Path) -> Trigger:
    names = ("delta", "mask", "artefact", "path", "path_iteration")
    found = _members(path, names, ("shift",))
    if "shift" in found:
        # What is seen of a trigger that enters before z is made is what it adds to z.
        shift = found.pop("shift")
        empty = {"path": shift[None][:0], "path_iteration": found["path_iteration"][:0]}
        found |= {"delta": shift, "mask": abs(shift) > VISIBLE * abs(shift).max(), **empty}
    shape = found["delta"].shape
    alike = found["mask"].shape == shape and found["artefact"].shape == shape
    fits = alike and len(shape) == 3 and 0 not in shape and found["path_iteration"].ndim == 1
    steps = found["path_iteration"].size
    if not fits or (steps and found["path"].shape != (steps, *shape)):
        raise ReportError(
            f"{path}: delta {shape}, mask {found['mask'].shape}, artefact "
            f"{found['artefact'].shape} and path {found['path'].shape} do not match; "
            "expected (C, H, W) and (K, C, H, W)"
        )
    return Trigger(**found)


def _examples(path: Path) -> Examples:
    found = _members(path, ("x", "z", "z_triggered", "clean", "triggered"), ("artefact", "rows"))
    rows = found.pop("rows", None)
    shapes = {array.shape for array in found.values()}
    if len(shapes) != 1 or found["x"].ndim != 4 or not found["x"].size:
        raise ReportError(f"{path}: arrays of shapes {shapes}; expected one shape (n, C, H, W)")
    if rows is not None and (rows.dtype.kind not in "iu" or rows.shape != found["x"].shape[:1]):
        raise ReportError(f"{path}: rows {rows.shape}; expected a whole number for each example")
    return Examples(**found, rows=rows)


def _history(
    path: Path,
) -> tuple[Mapping[tuple[str, int], Curve], Mapping[tuple[str, int], Curve]]:
    """Curves by (model, seed) for each stage; of a step recorded twice the later line counts."""
    steps: dict[str, dict[tuple[str, int], dict[int, dict[str, Any]]]] = {
        stage: defaultdict(dict) for stage in _STEPS
    }
    for number, row in _lines(path):
        stage = row.get("stage")
        if not isinstance(stage, str) or stage not in steps:
            continue
        try:
            key = (_label(row["model"]), int(row["seed"]))
            counts = [int(row[name]) for name in _STEPS[stage]]
        except (KeyError, TypeError, ValueError, OverflowError) as error:
            names = ", ".join(("model", "seed", *_STEPS[stage]))
            raise ReportError(
                f"{path}: line {number}: one of {names} is missing, or no name or number"
            ) from error
        steps[stage][key][counts[0]] = row
    train, attack = (
        {key: _columns([rows[i] for i in sorted(rows)]) for key, rows in steps[stage].items()}
        for stage in _STEPS
    )
    return train, attack


def _label(model: object) -> str:
    """A model's label; as in results.json, for it stands in titles and names of figures."""
    if not isinstance(model, str) or not _LABEL.fullmatch(model):
        raise ValueError(f"{model!r} is no label")
    return model


def _lines(path: Path) -> list[tuple[int, dict[str, Any]]]:
    try:
        content = gate.read_bytes(path, most=gate.RECORD, inside=path.parent)
    except FileNotFoundError:
        return []
    except (OSError, gate.Refused) as error:
        raise ReportError(f"{path}: cannot be read ({gate.why(error)})") from error
    lines = content.decode(errors="replace").split("\n")
    rows: list[tuple[int, dict[str, Any]]] = []
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
            if not isinstance(row, dict):
                raise ValueError("not an object")
        except (ValueError, RecursionError) as error:
            # A run that was killed, or is writing now, leaves its last line torn: no reason to
            # refuse the report. Any other broken line means that the file was damaged.
            if number == len(lines):
                continue
            raise ReportError(f"{path}: line {number} is not a JSON object") from error
        rows.append((number, row))
    return rows


def _columns(rows: list[dict[str, Any]]) -> Curve:
    names = {
        name
        for row in rows
        for name, value in row.items()
        if isinstance(value, int | float) and name != "seed"
    }
    return {
        name: np.array([_number(row.get(name)) for row in rows], dtype=np.float64)
        for name in sorted(names)
    }


def _number(value: object) -> float:
    try:
        return float(value) if isinstance(value, int | float) else float("nan")
    except OverflowError:
        return float("nan")
