"""The page of an audit of training pairs, from audit.json and evidence.npz alone."""

import json
from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np

from recondoor.errors import ReportError, RunError
from recondoor.report._audit_figures import Evidence, histograms, suspects
from recondoor.report._audit_words import headline, reading
from recondoor.report._html import fill, save_figure
from recondoor.report._json import read_json
from recondoor.report._results import fault_of
from recondoor.report._style import style
from recondoor.rundir import RunDir, write_atomically

MOST_SHOWN = 100
"""Pairs that are drawn."""


def build_audit(folder: Path) -> Path:
    """Write report.html and figures of an audit from its folder alone; return the page.

    Raises:
        ReportError: audit.json or evidence.npz is missing, damaged or against the schema.
        RunError: the folder cannot be written to.
    """
    record, evidence = read_audit(folder), _evidence(folder)
    _require_match(folder, record, evidence)
    with style():
        drawings = (suspects(evidence, record), histograms(evidence, record))
        pictures = [save_figure(folder, drawn) for drawn in drawings if drawn is not None]
    path = folder / "report.html"
    shown: dict[str, Any] = {
        "record": record,
        "headline": headline(record),
        "readings": [reading(each, record) for each in record["detectors"]],
        "pictures": pictures,
    }
    page = fill("audit.html.j2", shown)
    write_atomically(path, page.encode())
    return path


def read_audit(folder: Path) -> Mapping[str, Any]:
    """audit.json of a folder, once it has passed its schema; raises ReportError."""
    path = folder / "audit.json"
    record: Mapping[str, Any] = read_json(path, "; audit again")
    text = resources.files("recondoor").joinpath("schemas", "audit.schema.json").read_text()
    fault = fault_of(record, json.loads(text)) or _inconsistent(record)
    if fault is not None:
        raise ReportError(f"{path}: {fault}; audit again")
    return record


def _inconsistent(record: Mapping[str, Any]) -> str | None:
    """What a schema cannot say: the numbers of a detector are there together."""
    for each in record["detectors"]:
        for together in (("threshold", "flagged", "expected", "p_value"), ("auc", "tpr")):
            if len({each[key] is None for key in together}) > 1:
                return f"detector '{each['name']}': some of {', '.join(together)} are null"
    if record["verdict"] == "suspicious" and all(
        each["p_value"] is None for each in record["detectors"]
    ):
        return "suspicious, but no detector has a threshold"
    return None


def _evidence(folder: Path) -> Evidence:
    try:
        arrays = RunDir(folder).read_npz(folder / "evidence.npz")
    except RunError as error:
        raise ReportError(str(error)) from None
    odd = [name for name, values in arrays.items() if values.dtype.kind not in "fiub"]
    if odd:
        raise ReportError(f"{folder / 'evidence.npz'}: '{odd[0]}' holds no numbers; audit again")
    scores = {
        name.removeprefix("score-"): np.asarray(values, dtype=np.float64)
        for name, values in arrays.items()
        if name.startswith("score-")
    }
    missing = [name for name in ("index", "z", "x") if name not in arrays]
    if missing:
        raise ReportError(f"{folder / 'evidence.npz'}: lacks {missing[0]}; audit again")
    return Evidence(
        arrays["index"],
        arrays["z"],
        arrays["x"],
        arrays.get("back"),
        arrays.get("contradiction"),
        arrays.get("output"),
        arrays.get("poisoned"),
        scores,
    )


def _require_match(folder: Path, record: Mapping[str, Any], evidence: Evidence) -> None:
    """Refuse evidence that is not that of the record."""
    pairs = (record["pairs"]["count"],)
    pictures = (evidence.z, evidence.x, evidence.back, evidence.contradiction, evidence.output)
    shapes = {images.shape for images in pictures if images is not None}
    known = {each["name"] for each in record["detectors"]}
    truth = evidence.poisoned
    shown = evidence.index
    if (
        shown.ndim != 1
        or shapes != {(len(shown), *record["pairs"]["shape"])}
        or len(shown) > MOST_SHOWN
        or not all(images is None or np.isfinite(images).all() for images in pictures)
        or shown.dtype.kind not in "iu"
        or (len(shown) and not 0 <= shown.min() <= shown.max() < pairs[0])
        or (truth is not None and (truth.shape != pairs or truth.dtype != bool))
        or any(scores.shape != pairs for scores in evidence.scores.values())
        or not known <= evidence.scores.keys()
        or not all(np.isfinite(values).all() for values in evidence.scores.values())
    ):
        raise ReportError(f"{folder / 'evidence.npz'}: not that of audit.json; audit again")
