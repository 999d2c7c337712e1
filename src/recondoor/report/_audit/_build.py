"""The page of an audit of training pairs, from audit.json and evidence.npz alone."""

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from recondoor.core import caller
from recondoor.core.errors import ReportError, RunError
from recondoor.io import gate
from recondoor.io.seal import fault as broken_seal
from recondoor.records import MOST_SHOWN, schema
from recondoor.report._audit._figures import (
    Evidence,
    histograms,
    patterns_of,
    scores_of,
    shared,
    suspects,
)
from recondoor.report._audit._input import draw_input
from recondoor.report._audit._model import draw_model
from recondoor.report._audit._sentences import (
    headline,
    left_out,
    model_reading,
    reading,
    sight,
    truth,
)
from recondoor.report._html import fill, put, save_figure
from recondoor.report._json import read_json
from recondoor.report._results import fault_of
from recondoor.report._style import Drawing, style
from recondoor.rundir import Arrays, RunDir

Scores = NDArray[np.float64]


@caller.as_found()
def build_audit(folder: Path, out: Path | None = None) -> Path:
    """Write report.html and figures of an audit from its folder alone; return the page.

    They go to the folder `out`, which is `folder` where none is given.

    Raises:
        ReportError: audit.json or evidence.npz is missing, damaged or against the schema.
        RunError: `out` cannot be written to.
    """
    record, evidence = read_audit(folder), read_evidence(folder)
    kind = record["kind"]
    draw = {"data": _of_pairs, "model": draw_model, "input": draw_input}[kind]
    with style():
        try:
            drawings = draw(evidence, record)
        except (KeyError, IndexError, ValueError, TypeError) as error:
            reason = f"lacks {error}" if isinstance(error, KeyError) else "not that of audit.json"
            raise ReportError(f"{folder / 'evidence.npz'}: {reason}; audit again") from None
        pictures = [save_figure(out or folder, drawn) for drawn in drawings]
    read = model_reading if kind == "model" else reading
    shown: dict[str, Any] = {
        "record": record,
        "headline": _without_verdict(headline(record)),
        "sight": sight(record),
        "left_out": left_out(record),
        "truth": None if record["truth"] is None else truth(record),
        "readings": [read(each, record) for each in record["detectors"]],
        "pictures": pictures,
    }
    template = "audit.html.j2" if kind == "data" else f"audit_{kind}.html.j2"
    return put(out or folder, "report.html", fill(template, shown).encode())


def _without_verdict(sentence: str) -> str:
    """A headline without the word that begins it, which the page sets apart."""
    text = sentence.partition(": ")[2]
    return f"{text[:1].upper()}{text[1:]}"


def _of_pairs(arrays: Arrays, record: Mapping[str, Any]) -> list[Drawing]:
    evidence = Evidence(
        arrays["index"],
        arrays["z"],
        arrays["x"],
        arrays.get("back"),
        arrays.get("contradiction"),
        arrays.get("output"),
        arrays.get("poisoned"),
    )
    scores = scores_of(arrays)
    _require_match(record, evidence, scores)
    patterns = patterns_of(arrays, tuple(record["pairs"]["shape"]))
    drawn = (
        shared(patterns),
        suspects(evidence),
        histograms(scores, evidence.poisoned, record["detectors"]),
    )
    return [each for each in drawn if each is not None]


def read_audit(folder: Path) -> Mapping[str, Any]:
    """audit.json of a folder, once it has passed its schema; raises ReportError."""
    path = folder / "audit.json"
    record: Mapping[str, Any] = read_json(path, "; audit again")
    kind = record.get("kind") if isinstance(record, dict) else None
    name = f"audit-{kind}" if kind in ("model", "input") else "audit"
    fault = fault_of(record, schema(name)) or broken_seal(record) or _mixed(folder, record)
    if fault is None and kind == "data":
        fault = _inconsistent(record)
    if fault is not None:
        raise ReportError(f"{path}: {fault}; audit again")
    return record


def _mixed(folder: Path, record: Mapping[str, Any]) -> str | None:
    """Whether a file beside audit.json is not of the same audit; of old audits nobody can tell."""
    for name, digest in record.get("files", {}).items():
        path = folder / name
        try:
            with gate.opened(path, most=gate.ARRAYS, inside=folder) as file:
                found = hashlib.file_digest(file, "sha256").hexdigest()
        except (OSError, gate.Refused) as error:
            return f"{name}: {gate.why(error)}"
        if found != digest:
            return f"{name} is not of this audit, or was changed after it was written"
    return None


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


def read_evidence(folder: Path) -> Arrays:
    """Numbers of an audit; one text in it names what is shown. Raises ReportError."""
    path = folder / "evidence.npz"
    try:
        arrays = RunDir(folder).read_npz(path)
    except RunError as error:
        raise ReportError(str(error)) from None
    odd = [name for name, v in arrays.items() if v.dtype.kind not in "fiub" and name != "shown"]
    if odd:
        raise ReportError(f"{path}: '{odd[0]}' holds no numbers; audit again")
    return arrays


def _require_match(
    record: Mapping[str, Any], evidence: Evidence, scores: Mapping[str, Scores]
) -> None:
    """Refuse evidence that is not that of the record, with ValueError."""
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
        or any(values.shape != pairs for values in scores.values())
        or not known <= scores.keys()
        or not all(np.isfinite(values).all() for values in scores.values())
    ):
        raise ValueError
