"""What the audit of inputs leaves behind: audit.json, suspicious.csv and two .npz files."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from recondoor.audit._folder import Files, npz
from recondoor.audit._inputs._input import REPAIR, InputAudit
from recondoor.audit._judgement import LEVEL
from recondoor.audit._record import (
    describe_detector,
    describe_operator,
    describe_provenance,
    describe_sight,
    pictured,
    ranking,
    table,
)
from recondoor.core.words import plural
from recondoor.records import AUDIT
from recondoor.rundir import Arrays


def input_files(audit: InputAudit) -> Files:
    """What lies beside audit.json, by name."""
    ranked = ranking(audit.judged)
    best = audit.repaired.get(REPAIR, next(iter(audit.repaired.values()), None))
    repaired = {} if best is None else {"repaired": best.numpy()}
    every = {name: values.numpy() for name, values in audit.repaired.items()}
    return {
        "evidence.npz": npz(
            _evidence(audit, pictured(audit.judged, ranked, audit.inputs.z[0].numel()))
        ),
        "repaired.npz": npz({"output": audit.output.numpy()} | repaired | every),
        "suspicious.csv": table(audit.judged, ranked).encode(),
    }


def input_record(audit: InputAudit, command: str) -> dict[str, Any]:
    """The content of audit.json, by its schema."""
    truth, inputs = audit.inputs.triggered, audit.inputs
    return {
        "schema": AUDIT,
        "kind": "input",
        "verdict": audit.verdict,
        **describe_sight(audit.seen, audit.verdict, _given(audit), audit.doubts, audit.cause),
        "name": inputs.name,
        "network": audit.network.name,
        "inputs": {"count": len(inputs.z), "shape": list(inputs.z.shape[1:])},
        "clean_pairs": len(audit.given.pairs),
        "threshold_pairs": audit.trusted,
        "alarm": audit.request.alarm,
        "level": LEVEL,
        "operator": describe_operator(audit.defender.physics, audit.given.noise_known),
        "truth": None
        if truth is None
        else {"triggered": int(truth.sum()), "attack": inputs.attack, "seed": audit.given.seed},
        "detectors": [
            describe_detector(each, audit.seen, truth, audit.request.alarm) for each in audit.judged
        ],
        "repairs": list(audit.repaired),
        "repaired": REPAIR if REPAIR in audit.repaired else next(iter(audit.repaired), None),
        "skipped": [{"name": name, "reason": why} for name, why in audit.skipped.items()],
        "notes": audit.notes,
        "provenance": describe_provenance(command),
    }


def _given(audit: InputAudit) -> str:
    operator = "no operator" if audit.given.operator is None else "an operator"
    return (
        f"{plural(len(audit.inputs.z), 'input')}, "
        f"{plural(len(audit.given.pairs), 'trusted pair')} and {operator} were given"
    )


def _evidence(audit: InputAudit, shown: NDArray[np.int64]) -> Arrays:
    """Pictures of the most suspicious inputs and the scores of all."""
    arrays: Arrays = {
        "index": shown,
        "z": audit.inputs.z[shown].numpy(),
        "output": audit.output[shown].numpy(),
    }
    for name, values in audit.repaired.items():
        arrays[f"repaired-{name}"] = values[shown].numpy()
    if audit.inputs.triggered is not None:
        arrays["triggered"] = audit.inputs.triggered
    return arrays | {f"score-{each.name}": each.scores for each in audit.judged}
