"""The page of an audit of training pairs, from audit.json and evidence.npz alone."""

import json
from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
from jsonschema import Draft202012Validator  # type: ignore[import-untyped]
from jsonschema.exceptions import best_match  # type: ignore[import-untyped]

from recondoor.errors import ReportError, RunError
from recondoor.report._audit_figures import Evidence, histograms, suspects
from recondoor.report._audit_words import headline, reading
from recondoor.report._html import Picture, fill
from recondoor.report._style import render, style
from recondoor.rundir import RunDir, write_atomically


def build_audit(folder: Path) -> Path:
    """Write report.html and figures of an audit from its folder alone; return the page.

    Raises:
        ReportError: audit.json or evidence.npz is missing, damaged or against the schema.
        RunError: the folder cannot be written to.
    """
    record, evidence = read_audit(folder), _evidence(folder)
    pictures = []
    with style():
        for drawn in (suspects(evidence, record), histograms(evidence, record)):
            if drawn is None:
                continue
            files = render(drawn.figure)
            for kind, content in files.items():
                write_atomically(folder / "figures" / f"{drawn.name}.{kind}", content)
            pictures.append(Picture(drawn, files["svg"].decode()))
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
    try:
        record: Mapping[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ReportError(f"{path}: cannot be read ({error.strerror})") from None
    except (ValueError, RecursionError) as error:
        raise ReportError(f"{path}: not valid JSON ({error}); audit again") from None
    text = resources.files("recondoor").joinpath("schemas", "audit.schema.json").read_text()
    fault = best_match(Draft202012Validator(json.loads(text)).iter_errors(record))
    if fault is not None:
        raise ReportError(f"{path}: {fault.json_path}: {fault.message[:160]}; audit again")
    return record


def _evidence(folder: Path) -> Evidence:
    try:
        arrays = RunDir(folder).read_npz(folder / "evidence.npz")
    except RunError as error:
        raise ReportError(str(error)) from None
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
