"""The page of an audit, from audit.json and evidence.npz alone."""

import json
from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from typing import Any

from jsonschema import Draft202012Validator  # type: ignore[import-untyped]
from jsonschema.exceptions import best_match  # type: ignore[import-untyped]

from recondoor.errors import ReportError, RunError
from recondoor.report._audit_figures import Evidence, histograms, scores_of, suspects
from recondoor.report._audit_input import draw_input
from recondoor.report._audit_model import draw_model
from recondoor.report._audit_words import headline, model_reading, reading, truth
from recondoor.report._html import Picture, fill
from recondoor.report._style import Drawing, render, style
from recondoor.rundir import Arrays, RunDir, write_atomically


def build_audit(folder: Path) -> Path:
    """Write report.html and figures of an audit from its folder alone; return the page.

    Raises:
        ReportError: audit.json or evidence.npz is missing, damaged or against the schema.
        RunError: the folder cannot be written to.
    """
    record, evidence = read_audit(folder), _evidence(folder)
    kind, pictures = record["kind"], []
    draw = {"data": _of_pairs, "model": draw_model, "input": draw_input}[kind]
    with style():
        try:
            drawings = draw(evidence, record)
        except KeyError as error:
            raise ReportError(f"{folder / 'evidence.npz'}: lacks {error}; audit again") from None
        for drawn in drawings:
            files = render(drawn.figure)
            for suffix, content in files.items():
                write_atomically(folder / "figures" / f"{drawn.name}.{suffix}", content)
            pictures.append(Picture(drawn, files["svg"].decode()))
    path = folder / "report.html"
    read = model_reading if kind == "model" else reading
    shown: dict[str, Any] = {
        "record": record,
        "headline": headline(record),
        "truth": None if record["truth"] is None else truth(record),
        "readings": [read(each, record) for each in record["detectors"]],
        "pictures": pictures,
    }
    template = "audit.html.j2" if kind == "data" else f"audit_{kind}.html.j2"
    write_atomically(path, fill(template, shown).encode())
    return path


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
    drawn = (
        suspects(evidence),
        histograms(scores_of(arrays), evidence.poisoned, record["detectors"]),
    )
    return [each for each in drawn if each is not None]


def read_audit(folder: Path) -> Mapping[str, Any]:
    """audit.json of a folder, once it has passed its schema; raises ReportError."""
    path = folder / "audit.json"
    try:
        record: Mapping[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ReportError(f"{path}: cannot be read ({error.strerror})") from None
    except ValueError as error:
        raise ReportError(f"{path}: not valid JSON ({error}); audit again") from None
    kind = record.get("kind") if isinstance(record, dict) else None
    name = f"audit-{kind}" if kind in ("model", "input") else "audit"
    text = resources.files("recondoor").joinpath("schemas", f"{name}.schema.json").read_text()
    fault = best_match(Draft202012Validator(json.loads(text)).iter_errors(record))
    if fault is not None:
        raise ReportError(f"{path}: {fault.json_path}: {fault.message[:160]}; audit again")
    return record


def _evidence(folder: Path) -> Arrays:
    try:
        return RunDir(folder).read_npz(folder / "evidence.npz")
    except RunError as error:
        raise ReportError(str(error)) from None
