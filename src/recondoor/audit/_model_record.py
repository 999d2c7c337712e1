"""What the audit of a network leaves behind: audit.json and evidence.npz."""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from recondoor.audit._folder import Files, npz
from recondoor.audit._model import Inspected, ModelAudit, Truth, cosine
from recondoor.audit._record import SCHEMA, describe_provenance, describe_sight
from recondoor.models import reconstruct
from recondoor.rundir import Arrays

SHOWN = 4
"""Clean inputs that are shown with and without the recovered trigger."""

VISIBLE = 0.2
"""Share of a trigger's largest pixel above which a pixel belongs to its place."""


def model_files(audit: ModelAudit) -> Files:
    """What lies beside audit.json, by name."""
    return {"evidence.npz": npz(_evidence(audit))}


def model_record(audit: ModelAudit, command: str) -> dict[str, Any]:
    """The content of audit.json, by its schema."""
    truth, given = audit.truth, audit.given
    deciding = sum(each.threshold is not None for each in audit.inspected)
    return {
        "schema": SCHEMA,
        "kind": "model",
        "verdict": audit.verdict,
        **describe_sight(audit.seen, audit.verdict, _given(audit)),
        "name": audit.network.name,
        "network": {
            "kind": type(audit.network.model).__name__,
            "parameters": sum(p.numel() for p in audit.network.model.parameters()),
            "shape": list(given.pairs.x.shape[1:]),
        },
        "clean_pairs": len(given.pairs),
        "references": len(audit.request.references),
        "alarm": audit.request.alarm,
        "level": min(1.0, deciding * audit.request.alarm),
        "truth": None
        if truth is None
        else {
            "backdoored": truth.trigger is not None,
            "attack": truth.label,
            "seed": truth.seed,
            "recovery": truth.recovery,
        },
        "detectors": [
            _detector(each, truth) | {"sees": list(audit.seen.by[each.name])}
            for each in audit.inspected
        ],
        "skipped": [{"name": name, "reason": why} for name, why in audit.skipped.items()],
        "notes": audit.notes,
        "provenance": describe_provenance(command),
    }


def _detector(each: Inspected, truth: Truth | None) -> dict[str, object]:
    finding = each.finding
    overlap: dict[str, float | None] = {"trigger": None, "artefact": None}
    if truth is not None and truth.trigger is not None and truth.artefact is not None:
        overlap = {
            "trigger": cosine(finding.trigger, truth.trigger),
            "artefact": cosine(finding.artefact * finding.counts, truth.artefact),
        }
    return {
        "name": each.name,
        "score": finding.score,
        "threshold": each.threshold,
        "basis": each.basis,
        "flagged": None if each.threshold is None else each.flagged,
        "references_above": sum(score >= finding.score for score in each.references),
        "place": _place(finding.trigger),
        "trigger_l2": float(finding.trigger.norm()),
        "artefact_l2": float((finding.artefact * finding.counts).norm()),
        "overlap_trigger": overlap["trigger"],
        "overlap_artefact": overlap["artefact"],
        "seconds": each.seconds,
    }


def _given(audit: ModelAudit) -> str:
    count, pairs = len(audit.request.references), len(audit.given.pairs)
    return f"a network, {pairs} trusted pairs and {count or 'no'} references were given"


def _place(trigger: torch.Tensor) -> dict[str, list[int]]:
    """First and last row and column of the pixels that matter."""
    seen = trigger.abs().amax(0)
    rows, columns = torch.nonzero(seen > VISIBLE * seen.max(), as_tuple=True)
    return {
        "rows": [int(rows.min()), int(rows.max())],
        "columns": [int(columns.min()), int(columns.max())],
    }


def _evidence(audit: ModelAudit) -> Arrays:
    """Patterns, and what the trigger of the first detector that decides does to clean inputs."""
    z, model = audit.given.pairs.z[:SHOWN], audit.network.model
    arrays: Arrays = {
        "x": _array(audit.given.pairs.x[:SHOWN]),
        "z": _array(z),
        "output": _array(reconstruct(model, z)),
    }
    if audit.inspected:
        first = min(audit.inspected, key=lambda each: each.threshold is None)
        arrays["triggered"] = _array(reconstruct(model, z + first.finding.trigger))
        arrays["shown"] = np.array(first.name)
    for each in audit.inspected:
        arrays[f"trigger-{each.name}"] = _array(each.finding.trigger)
        arrays[f"artefact-{each.name}"] = _array(each.finding.artefact)
        arrays[f"counts-{each.name}"] = _array(each.finding.counts)
        arrays[f"references-{each.name}"] = np.array(each.references, dtype=np.float64)
    if audit.truth is not None and audit.truth.trigger is not None:
        assert audit.truth.artefact is not None
        arrays["true_trigger"] = _array(audit.truth.trigger)
        arrays["true_artefact"] = _array(audit.truth.artefact)
    return arrays


def _array(value: torch.Tensor) -> NDArray[np.float32]:
    return value.detach().cpu().float().numpy()
