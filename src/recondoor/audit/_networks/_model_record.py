"""What the audit of a network leaves behind: audit.json and evidence.npz."""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from recondoor import defences
from recondoor.audit._folder import Files, npz
from recondoor.audit._guard import answers
from recondoor.audit._networks._model import Inspected, ModelAudit, Truth, cosine
from recondoor.audit._record import describe_provenance, describe_sight, explained
from recondoor.core.words import plural
from recondoor.records import AUDIT
from recondoor.rundir import Arrays

SHOWN = 4
"""Clean inputs that are shown with and without the recovered trigger."""


def model_files(audit: ModelAudit) -> Files:
    """What lies beside audit.json, by name."""
    return {"evidence.npz": npz(_evidence(audit))}


def model_record(audit: ModelAudit, command: str) -> dict[str, Any]:
    """The content of audit.json, by its schema."""
    truth, given = audit.truth, audit.given
    # Thresholds that references make share one alarm rate; each law has its own.
    bases = [each.basis for each in audit.inspected]
    rates = bases.count("law") + ("references" in bases)
    return {
        "schema": AUDIT,
        "kind": "model",
        "verdict": audit.verdict,
        **describe_sight(audit.seen, audit.verdict, _given(audit), cause=_cause(audit)),
        "name": audit.network.name,
        "network": {
            "kind": type(audit.network.model).__name__,
            "parameters": sum(p.numel() for p in audit.network.model.parameters()),
            "shape": list(given.pairs.x.shape[1:]),
        },
        "clean_pairs": len(given.pairs),
        "references": audit.references,
        "alarm": audit.request.alarm,
        "level": min(1.0, rates * audit.request.alarm),
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
            "trigger": _overlap(finding.trigger, truth.trigger),
            "artefact": _overlap(finding.counted, truth.artefact),
        }
    detector, place = defences.network_detector(each.name), finding.place
    return {
        "name": each.name,
        "score": finding.score,
        "threshold": each.threshold,
        "basis": each.basis,
        "law_from": detector.law_from if each.basis == "law" else None,
        "explained": explained(detector, each.name, finding),
        "flagged": None if each.threshold is None else each.flagged,
        "draws": each.draws,
        "measures": dict(finding.measures),
        "planted": list(each.planted),
        "references_above": sum(score >= finding.score for score in each.references),
        "place": place and {"rows": list(place[0]), "columns": list(place[1])},
        "trigger_l2": _l2(finding.trigger),
        "artefact_l2": _l2(finding.counted),
        "overlap_trigger": overlap["trigger"],
        "overlap_artefact": overlap["artefact"],
        "seconds": each.seconds,
    }


def _given(audit: ModelAudit) -> str:
    pairs = plural(len(audit.given.pairs), "trusted pair")
    references = plural(audit.references, "reference") if audit.references else "no references"
    return f"a network, {pairs} and {references} were given"


def _cause(audit: ModelAudit) -> str | None:
    """Why nothing is decided, with what was flagged nevertheless."""
    flagged = [each.name for each in audit.inspected if each.flagged]
    if audit.cause is None or not flagged:
        return audit.cause
    return f"{audit.cause}. Above these references by {', '.join(flagged)}"


def _l2(pattern: torch.Tensor | None) -> float | None:
    return None if pattern is None else float(pattern.norm())


def _overlap(found: torch.Tensor | None, true: torch.Tensor) -> float | None:
    return None if found is None else cosine(found, true)


def _evidence(audit: ModelAudit) -> Arrays:
    """Patterns, and what the trigger of the first detector that decides does to clean inputs."""
    z, model = audit.given.pairs.z[:SHOWN], audit.network.model
    arrays: Arrays = {
        "x": _array(audit.given.pairs.x[:SHOWN]),
        "z": _array(z),
        "output": _array(answers(model, z)),
    }
    inverted = [each for each in audit.inspected if each.finding.trigger is not None]
    if inverted:
        first = min(inverted, key=lambda each: each.threshold is None)
        assert first.finding.trigger is not None
        arrays["triggered"] = _array(answers(model, z + first.finding.trigger))
        arrays["shown"] = np.array(first.name)
    for each in audit.inspected:
        patterns = {
            "trigger": each.finding.trigger,
            "artefact": each.finding.artefact,
            "counts": each.finding.counts,
        }
        for what, pattern in patterns.items():
            if pattern is not None:
                arrays[f"{what}-{each.name}"] = _array(pattern)
        arrays[f"references-{each.name}"] = np.array(each.references, dtype=np.float64)
    if audit.truth is not None and audit.truth.trigger is not None:
        assert audit.truth.artefact is not None
        arrays["true_trigger"] = _array(audit.truth.trigger)
        arrays["true_artefact"] = _array(audit.truth.artefact)
    return arrays


def _array(value: torch.Tensor) -> NDArray[np.float32]:
    return value.detach().cpu().float().numpy()
