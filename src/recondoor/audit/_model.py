"""The audit of a network: every defence of kind "model" looks at it."""

import time
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn

from recondoor import config, defences, rundir
from recondoor.audit._given import Given
from recondoor.audit._judge import choose, require_alarm
from recondoor.audit._network_file import Network, read_network
from recondoor.audit._subject import Subject, read_subject
from recondoor.defences import Defender, Finding
from recondoor.errors import DataError
from recondoor.progress import NO_PROGRESS, Progress

FEWEST = 40
"""Clean pairs that inversion wants: some to find a trigger with, others to judge it by."""

ORIGINAL = config.row_label("none")


@dataclass(frozen=True)
class ModelRequest:
    """What network is to be audited, and with what.

    Args:
        subject: the network and what is trusted.
        references: networks known to be clean, as `read_network` takes them.
        alarm: probability with which a clean network may be flagged by a detector, in (0, 1).
        detectors: names; None for all.
    """

    subject: Subject
    references: tuple[str, ...] = ()
    alarm: float = 0.01
    detectors: tuple[str, ...] | None = None


@dataclass(frozen=True)
class Inspected:
    """What one detector found.

    Args:
        name: of the detector.
        finding: its score, recovered trigger and artefact.
        references: scores of the reference networks.
        threshold: score above which the network is flagged; None if the detector only ranks.
        basis: what the threshold comes from.
        seconds: how long it took.
    """

    name: str
    finding: Finding
    references: tuple[float, ...]
    threshold: float | None
    basis: Literal["law", "references"] | None
    seconds: float


@dataclass(frozen=True)
class Truth:
    """What the folder of a run tells of its network; no patterns if it is clean.

    `recovery` is the artefact recovery on the test set: a backdoor may not have been learnt.
    """

    label: str
    seed: int
    recovery: float | None
    trigger: Tensor | None
    artefact: Tensor | None


@dataclass(frozen=True)
class ModelAudit:
    """What was found."""

    request: ModelRequest
    network: Network
    given: Given
    truth: Truth | None
    inspected: list[Inspected]
    notes: list[str]
    verdict: Literal["suspicious", "clean", "undecided"]


def audit_model(request: ModelRequest, progress: Progress = NO_PROGRESS) -> ModelAudit:
    """Look for a backdoor in a network with every detector.

    Raises:
        ConfigError: an unknown detector, a bad alarm rate, no trusted data.
        DataError: a network or pairs that cannot be read, or too few pairs.
    """
    names = choose(request.detectors, "model")
    require_alarm(request.alarm)
    network, given = read_subject(request.subject, progress)
    require_count(given, FEWEST)
    shape = given.pairs.x.shape
    references = [
        read_network(
            what,
            (shape[1], shape[2], shape[3]),
            request.subject.files,
            request.subject.overrides,
        ).model
        for what in request.references
    ]
    defender = Defender(given.pairs, model=network.model, seed=given.seed, progress=progress)
    inspected = []
    for name in names:
        scores = _reference_scores(name, references, given, progress)
        inspected.append(_inspect(name, defender, scores, request.alarm))
    return ModelAudit(
        request,
        network,
        given,
        truth_of(network),
        inspected,
        _notes(inspected, len(references), request.alarm),
        _verdict(inspected),
    )


def require_count(given: Given, fewest: int) -> None:
    """Raise DataError unless there are `fewest` trusted pairs."""
    if len(given.pairs) < fewest:
        raise DataError(
            f"--data: {len(given.pairs)} clean pairs given; at least {fewest} are needed"
        )


def truth_of(network: Network) -> Truth | None:
    """What is known of a network that lies in the folder of a run; raises RunError if damaged."""
    if network.run is None:
        return None
    folder, label, seed = network.run
    run = rundir.RunDir(folder)
    path = run.trigger(label, seed)
    if label == ORIGINAL:
        return Truth(label, seed, None, None, None)
    if not path.exists():
        return None
    found: dict[str, Any] = run.read_npz(path)
    delta, artefact = (torch.from_numpy(np.asarray(found[key])) for key in ("delta", "artefact"))
    rows = rundir.read_json(run.results)["rows"] if run.results.exists() else []
    mine = [row for row in rows if (row["model"], row["seed"]) == (label, seed)]
    return Truth(label, seed, mine[0]["artefact_recovery"] if mine else None, delta, artefact)


def cosine(a: Tensor, b: Tensor) -> float:
    """Of the angle between two patterns, in [-1, 1]; 0 if one is zero."""
    norms = float(a.double().norm() * b.double().norm())
    return float((a.double() * b.double()).sum()) / norms if norms else 0.0


def _reference_scores(
    name: str, references: list[nn.Module], given: Given, progress: Progress
) -> tuple[float, ...]:
    module, scores = defences.load(name), []
    with progress.task(f"{name} of references", max(1, len(references))) as task:
        for model in references:
            defender = Defender(given.pairs, model=model, seed=given.seed)
            scores.append(float(module.inspect(defender).score))
            task.advance(1)
    return tuple(scores)


def _inspect(name: str, defender: Defender, scores: tuple[float, ...], alarm: float) -> Inspected:
    module, started = defences.load(name), time.perf_counter()
    finding = module.inspect(defender)
    seconds = time.perf_counter() - started
    if enough(len(scores), alarm):
        limit = defences.threshold(torch.tensor(scores, dtype=torch.float64), alarm)
        return Inspected(name, finding, scores, limit, "references", seconds)
    if hasattr(module, "law"):
        return Inspected(name, finding, scores, module.law(defender, alarm), "law", seconds)
    return Inspected(name, finding, scores, None, None, seconds)


def enough(count: int, alarm: float) -> bool:
    """Whether `count` clean scores are enough for a threshold at the rate `alarm`."""
    return count >= 1 / alarm - 1 - 1e-9


def _notes(inspected: list[Inspected], count: int, alarm: float) -> list[str]:
    need = int(np.ceil(1 / alarm - 1 - 1e-9))
    notes = []
    if any(each.basis == "law" for each in inspected):
        notes.append(
            "The threshold of trigger-inversion comes from clean networks trained on digits; for "
            f"other networks and data give {need} clean --reference networks of the same make."
        )
    if 0 < count < need:
        notes.append(
            f"{count} references are too few for a threshold at --alarm {alarm:g}, which takes "
            f"{need}: they only rank."
        )
    return notes


def _verdict(inspected: list[Inspected]) -> Literal["suspicious", "clean", "undecided"]:
    limits = [(each.finding.score, each.threshold) for each in inspected]
    deciding = [(score, limit) for score, limit in limits if limit is not None]
    if not deciding:
        return "undecided"
    return "suspicious" if any(score > limit for score, limit in deciding) else "clean"
