"""What an audit leaves behind: audit.json, suspicious.csv, evidence.npz."""

import csv
import io
from collections.abc import Sequence
from dataclasses import asdict
from math import prod
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.stats import rankdata

from recondoor import defences
from recondoor.audit._folder import Files, npz
from recondoor.audit._judgement import LEVEL, Judged, auc, is_certain, tpr
from recondoor.audit._pairs._data import Audit
from recondoor.audit._sight import Sight, Verdict
from recondoor.core import provenance, registry
from recondoor.core.errors import ConfigError
from recondoor.core.words import plural
from recondoor.defences import NetworkDetector, Physics, Scorer, SetFinding
from recondoor.models import reconstruct
from recondoor.records import AUDIT, MOST_SHOWN
from recondoor.rundir import Arrays

SHOWN = 8
"""Pairs or inputs of which pictures are kept: the most suspicious, flagged or not."""
ROOM = 4 << 20
"""Bytes that flagged ones may take in each kind of picture."""


def files(audit: Audit) -> Files:
    """What lies beside audit.json, by name."""
    ranked = ranking(audit.judged)
    return {
        "evidence.npz": npz(_evidence(audit, pictured(audit.judged, ranked, prod(audit.shape)))),
        "suspicious.csv": table(audit.judged, ranked).encode(),
    }


def as_record(audit: Audit, command: str) -> dict[str, Any]:
    """The content of audit.json, by its schema."""
    given, physics, request = audit.given, audit.defender.physics, audit.request
    truth = given.poisoned
    return {
        "schema": AUDIT,
        "kind": "data",
        "verdict": audit.verdict,
        **describe_sight(
            audit.seen,
            audit.verdict,
            given_words(audit.count, audit),
            audit.doubts,
            audit.cause,
        ),
        "name": given.name,
        "pairs": {"count": audit.count, "shape": list(audit.shape)},
        "clean_pairs": None if audit.defender.clean is None else len(audit.defender.clean),
        "alarm": request.alarm,
        "level": LEVEL,
        "operator": describe_operator(physics, given.noise_known),
        "truth": None
        if truth is None
        else {"poisoned": int(truth.sum()), "attack": given.attack, "seed": given.seed},
        "detectors": [
            describe_detector(each, audit.seen, truth, request.alarm) for each in audit.judged
        ],
        "skipped": [{"name": name, "reason": why} for name, why in audit.skipped.items()],
        "notes": audit.notes,
        "doubts": audit.doubts,
        "provenance": describe_provenance(command),
    }


def describe_operator(physics: Physics | None, noise_known: bool) -> dict[str, object] | None:
    """The operator as the physics detectors saw it."""
    if physics is None:
        return None
    return {
        "measured": physics.rank,
        "values": physics.basis.pixels,
        "sigma": physics.sigma,
        "sigma_estimated": not noise_known,
    }


def describe_sight(
    seen: Sight,
    verdict: Verdict,
    given: str,
    doubts: Sequence[str] = (),
    cause: str | None = None,
) -> dict[str, object]:
    """What could be seen, what not, and why nothing is decided; the last is null otherwise."""
    reason = cause or (doubts[0] if doubts and seen.enough else seen.reason(given))
    return {
        "sees": seen.sees,
        "blind_to": seen.blind_to,
        "reason": reason if verdict == "undecided" else None,
    }


def given_words(count: int, audit: Audit) -> str:
    """What was given, for a reason."""
    clean = audit.defender.clean
    trusted = "no trusted ones" if clean is None else plural(len(clean), "trusted one")
    operator = "no operator" if audit.given.operator is None else "an operator"
    return f"{plural(count, 'pair')}, {trusted} and {operator} were given"


def describe_provenance(command: str) -> dict[str, Any]:
    """By which command, when and with what an audit was made."""
    return {
        "command": command,
        "finished": provenance.now(),
        "versions": provenance.versions(),
        "git": provenance.git_state(),
    }


def describe_detector(
    judged: Judged, seen: Sight, truth: NDArray[np.bool_] | None, alarm: float
) -> dict[str, object]:
    """What one detector found, by the schema."""
    return {
        "name": judged.name,
        "threshold": judged.threshold,
        "basis": judged.basis,
        "flagged": None if judged.threshold is None else int(judged.flagged.sum()),
        "expected": judged.expected,
        "p_value": judged.p_value,
        "auc": None if truth is None else auc(judged.scores, truth),
        "tpr": None if truth is None else tpr(judged.scores, truth, alarm),
        "sees": list(seen.by[judged.name]),
        "whole": None if judged.whole is None else _describe_whole(judged.whole),
        "seconds": judged.seconds,
    }


def _describe_whole(found: SetFinding) -> dict[str, object]:
    """A test of all pairs together."""
    return {
        "level": found.level,
        "planted": None if found.power is None else asdict(found.power),
    }


def ranking(judged: list[Judged]) -> NDArray[np.int64]:
    """Indices of the pairs, most suspicious first.

    First those that a detector flags for certain, then by how many detectors flag them, then by the
    mean place among the scores of those detectors that have a threshold, or of all where none has.
    """
    deciding = [each for each in judged if each.threshold is not None] or judged
    if not deciding:
        return np.arange(0)
    flags = np.sum([each.flagged for each in deciding], axis=0)
    places = np.sum([rankdata(-each.scores) for each in deciding], axis=0)
    certain = [each.flagged for each in deciding if is_certain(each.name)]
    proven = np.any(certain, axis=0) if certain else np.zeros(len(flags), dtype=np.bool_)
    return np.lexsort((places, -flags, ~proven))


def pictured(judged: list[Judged], ranked: NDArray[np.int64], values: int) -> NDArray[np.int64]:
    """Of which of `ranked` pictures are kept, of so many values: all flagged, if there is room."""
    flagged = int(np.any([each.flagged for each in judged], axis=0).sum()) if judged else 0
    room = ROOM // (4 * values)
    return ranked[: max(SHOWN, min(flagged, MOST_SHOWN, room))]


def explained(detector: Scorer | NetworkDetector, name: str, found: Any) -> str:
    """What a detector says of a score, or of what it found in a network; ConfigError for no text.

    `name` is what the user called it.
    """
    told = f"--detectors: '{name}'"
    with registry.told(detector, told):
        words: object = detector.explain(found)
    if not isinstance(words, str):
        raise ConfigError(f"{told}: explain returns {type(words).__name__}; expected a text")
    return words


def table(judged: list[Judged], ranked: NDArray[np.int64]) -> str:
    """suspicious.csv: every pair or input, the most suspicious first."""
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(["index", *(each.name for each in judged), "flagged_by", "reason"])
    for index in ranked:
        by = [each for each in judged if each.flagged[index]]
        reasons = [
            explained(defences.scorer(each.name), each.name, each.scores[index]) for each in by
        ]
        writer.writerow(
            [
                index,
                *(f"{each.scores[index]:.6g}" for each in judged),
                " ".join(each.name for each in by),
                "; ".join(reasons),
            ]
        )
    return buffer.getvalue()


def _evidence(audit: Audit, shown: NDArray[np.int64]) -> Arrays:
    """Pictures of the most suspicious pairs and the scores of all.

    `back` is A^+ y, what the measurement says; `contradiction` is A^+ (A x - y), the part of
    x - A^+ y that it denies, without what no measurement could tell.
    """
    defender, pairs = audit.defender, audit.at(shown)
    z, x = pairs.z, pairs.x
    arrays: Arrays = {"index": shown, "z": z.numpy(), "x": x.numpy()}
    if defender.physics is not None and not defender.physics.partial:
        mine = defender.physics.rows(torch.from_numpy(shown))
        back = mine.invert(z)
        arrays["back"] = back.float().numpy()
        arrays["contradiction"] = (mine.project(x) - back).float().numpy()
    if defender.model is not None:
        arrays["output"] = reconstruct(defender.model, z).cpu().numpy()
    if audit.given.poisoned is not None:
        arrays["poisoned"] = audit.given.poisoned
    for each in audit.judged:
        if each.whole is not None and each.whole.pattern is not None:
            arrays[f"pattern-{each.name}"] = each.whole.pattern.numpy()
    return arrays | {f"score-{each.name}": each.scores for each in audit.judged}
