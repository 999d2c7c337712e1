"""An audit as the page shows it: what is suspicious, ranked, with pictures, scores and reasons."""

import csv
import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from recondoor import report
from recondoor.core.errors import ReportError
from recondoor.explore._pictures import Array, Json, Span, number, picture
from recondoor.io import gate
from recondoor.records import MOST_SHOWN

TITLES = {
    "z": "input z",
    "x": "image x",
    "back": "what the measurement says, A⁺y",
    "contradiction": "what of x it denies",
    "output": "reconstruction f(z)",
    "triggered": "f(z + trigger)",
}


def audit(folder: Path) -> Json:
    """Verdict, detectors, ranked pairs or inputs, and recovered patterns.

    Raises ReportError where a file is missing, damaged or of another audit.
    """
    record, arrays = report.read_audit(folder), report.read_evidence(folder)
    kind = record["kind"]
    read = report.model_reading if kind == "model" else report.reading
    made: Json = {
        "kind": kind,
        "name": record["name"],
        "verdict": record["verdict"],
        "headline": report.headline(record),
        "sight": report.sight(record),
        "truth": None if record["truth"] is None else report.truth(record),
        "notes": [*record["notes"], *record.get("doubts", ())],
        "detectors": [dict(read(each, record)) for each in record["detectors"]],
        "skipped": [dict(each) for each in record.get("skipped", ())],
    }
    try:
        if kind == "model":
            return made | {"ranked": [], "patterns": _recovered(arrays, record)}
        shape = tuple(record["pairs" if kind == "data" else "inputs"]["shape"])
        patterns = [
            _pattern(f"shared, by {name.removeprefix('pattern-')}", values, shape)
            for name, values in arrays.items()
            if name.startswith("pattern-")
        ]
        return made | {"ranked": _ranked(folder, record, arrays, shape), "patterns": patterns}
    except (KeyError, IndexError, ValueError, TypeError, AttributeError, csv.Error) as error:
        reason = f"lacks {error}" if isinstance(error, KeyError) else "not that of audit.json"
        files = f"{folder / 'evidence.npz'} or suspicious.csv beside it"
        raise ReportError(f"{files}: {reason}; audit again") from None


def _recovered(arrays: Mapping[str, Array], record: Mapping[str, Any]) -> list[Json]:
    """Trigger and artefact of each detector that recovered them, and the true ones."""
    shape = tuple(record["network"]["shape"])
    names = {
        f"{what}-{each['name']}": f"{what} recovered by {each['name']}"
        for each in record["detectors"]
        for what in ("trigger", "artefact")
    } | {"true_trigger": "the true trigger", "true_artefact": "the true artefact"}
    return [_pattern(words, arrays[key], shape) for key, words in names.items() if key in arrays]


def _pattern(words: str, values: Array, shape: tuple[int, ...]) -> Json:
    if values.shape != shape or not np.isfinite(values).all():
        raise ValueError
    return picture(words, values, Span.about_zero(values))


def _ranked(
    folder: Path, record: Mapping[str, Any], arrays: Mapping[str, Array], shape: tuple[int, ...]
) -> list[Json]:
    """Every pair or input, once, the most suspicious first."""
    truth = arrays.get("poisoned" if record["kind"] == "data" else "triggered")
    pictures = _pictures(arrays, shape)
    names = [each["name"] for each in record["detectors"]]
    count = record["pairs" if record["kind"] == "data" else "inputs"]["count"]
    found: dict[int, Json] = {}
    for rank, line in enumerate(_lines(folder), 1):
        index = int(line["index"])
        if not 0 <= index < count or index in found:
            raise ValueError
        found[index] = {
            "rank": rank,
            "index": index,
            "flagged": line["flagged_by"].split(),
            "reason": line["reason"],
            "scores": {name: number(float(line[name])) for name in names},
            "truth": None if truth is None else bool(truth[index]),
            "pictures": pictures.get(index, []),
        }
    return list(found.values())


def _lines(folder: Path) -> list[dict[str, str]]:
    """Rows of suspicious.csv, whose digest audit.json holds."""
    path = folder / "suspicious.csv"
    try:
        text = gate.read_text(path, most=gate.RECORD, inside=folder)
    except (OSError, ValueError) as error:
        raise ReportError(f"{path}: {gate.why(error)}; audit again") from None
    return list(csv.DictReader(io.StringIO(text)))


def _pictures(arrays: Mapping[str, Array], shape: tuple[int, ...]) -> dict[int, list[Json]]:
    """Pictures of each pair or input that has some, by its index."""
    index = arrays["index"]
    if index.ndim != 1 or index.dtype.kind not in "iu" or len(index) > MOST_SHOWN:
        raise ValueError
    stacks = {
        name: values
        for name, values in arrays.items()
        if (name in TITLES and values.dtype.kind == "f") or name.startswith("repaired-")
    }
    if any(v.shape != (len(index), *shape) or not np.isfinite(v).all() for v in stacks.values()):
        raise ValueError
    if not len(index):
        return {}
    spans = _spans(stacks)
    order = [*(name for name in TITLES if name in stacks), *sorted(stacks.keys() - TITLES.keys())]
    return {
        int(each): [picture(TITLES.get(n, _repaired(n)), stacks[n][place], spans[n]) for n in order]
        for place, each in enumerate(index)
    }


def _spans(stacks: Mapping[str, Array]) -> dict[str, Span]:
    """Scales by which images can be seen beside a trigger that is many times as bright."""
    image = Span.of(stacks["x" if "x" in stacks else "output"])
    most = image.high - image.low
    known = {"z": Span.of_most(stacks["z"]), "contradiction": Span(-most, most, signed=True)}
    return {name: known.get(name, image) for name in stacks}


def _repaired(name: str) -> str:
    return f"repaired by {name.removeprefix('repaired-')}"
