"""The audit of a network: every defence of kind "model" looks at it."""

import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn

from recondoor import caller, config, defences, rundir
from recondoor.audit._guard import attempt, undisturbed
from recondoor.audit._judgement import choose, require_alarm
from recondoor.audit._make import law_lacks, make_in_words, needed, references_lack
from recondoor.audit._network_file import Network, open_network
from recondoor.audit._pairs import Given
from recondoor.audit._probe import lacking
from recondoor.audit._sight import Sight, Verdict, decide, sight
from recondoor.audit._subject import Subject, read_subject
from recondoor.defences import Defender, Finding
from recondoor.errors import DataError
from recondoor.progress import NO_PROGRESS, Progress

FEWEST = 40
"""Clean pairs that inversion wants: some to find a trigger with, others to judge it by."""

ORIGINAL = config.row_label("none")

Basis = Literal["law", "references"]
"""What a threshold comes from."""


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
    references: tuple[str | nn.Module, ...] = ()
    alarm: float = 0.05
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
    basis: Basis | None
    seconds: float

    @property
    def flagged(self) -> bool:
        """Whether the score is above the threshold."""
        return self.threshold is not None and self.finding.score > self.threshold


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


@dataclass(frozen=True, kw_only=True)
class ModelAudit:
    """What was found."""

    request: ModelRequest
    network: Network
    given: Given
    truth: Truth | None
    inspected: list[Inspected]
    skipped: dict[str, str]
    notes: list[str]
    seen: Sight
    verdict: Verdict


@caller.afresh()
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
        open_network(
            what,
            (shape[1], shape[2], shape[3]),
            request.subject.files,
            request.subject.overrides,
            request.subject.trust_paths,
            given.operator,
        ).model
        for what in request.references
    ]
    defender = Defender(given.pairs, model=network.model, seed=given.seed, progress=progress)
    inspected: list[Inspected] = []
    unsure: dict[str, str] = {}
    skipped = lacking(names, network.lacks)
    for name in names:
        if name in skipped:
            continue
        basis, why = _ground(name, network, references, request)
        look = partial(_look, name, references, defender, request.alarm, basis)
        found = attempt(name, look, skipped)
        if found is not None:
            inspected.append(found)
            unsure |= {} if why is None else {name: why}
    blind = skipped | unsure
    seen = sight("model", names, [each.name for each in inspected], blind)
    flagged = any(each.flagged for each in inspected)
    return ModelAudit(
        request=request,
        network=network,
        given=given,
        truth=truth_of(network),
        inspected=inspected,
        skipped=skipped,
        notes=[
            *network.notes,
            *given.notes,
            *_notes(inspected, unsure, len(references), request.alarm),
        ],
        seen=seen,
        verdict=decide(flagged, seen),
    )


def _ground(
    name: str, network: Network, references: list[nn.Module], request: ModelRequest
) -> tuple[Basis | None, str | None]:
    """What gives detector `name` a threshold that holds for this network; if nothing does, why."""
    given = len(references) >= needed(request.alarm)
    lacks = references_lack(network.model, references, request.alarm) if given else None
    if given and lacks is None:
        return "references", None
    if not defences.network_detector(name).has_law:
        return None, lacks or "it only ranks"
    by_law = law_lacks(name, network, request.subject.data, request.alarm)
    return ("law", None) if by_law is None else (None, lacks or by_law)


def require_count(given: Given, fewest: int) -> None:
    """Raise DataError unless there are `fewest` trusted pairs."""
    if len(given.pairs) < fewest:
        raise DataError(
            f"--data: {len(given.pairs)} trusted clean pairs; at least {fewest} are needed, "
            "give a file or the folder of a run with more"
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


def _look(
    name: str, references: list[nn.Module], defender: Defender, alarm: float, basis: Basis | None
) -> Inspected:
    scores = []
    with defender.progress.task(f"{name} of references", max(1, len(references))) as task:
        for model in references:
            scores.append(
                _finding(name, replace(defender, model=model, progress=NO_PROGRESS)).score
            )
            task.advance(1)
    return _inspect(name, defender, tuple(scores), alarm, basis)


def _finding(name: str, defender: Defender) -> Finding:
    with undisturbed(defender.model, defender.seed, name):
        found: object = defences.network_detector(name).inspect(defender)
    if not isinstance(found, Finding):
        raise ValueError(f"it returns {type(found).__name__}; expected a Finding")
    shape = None if defender.clean is None else defender.clean.z.shape[1:]
    for pattern in (found.trigger, found.artefact, found.counts):
        if pattern is not None and pattern.shape != shape:
            raise ValueError(f"it finds a pattern of {tuple(pattern.shape)}; expected an image's")
        if pattern is not None and not bool(pattern.isfinite().all()):
            raise FloatingPointError("its score is not finite")
    if not np.isfinite(found.score):
        raise FloatingPointError("its score is not finite")
    return found


def _inspect(
    name: str,
    defender: Defender,
    scores: tuple[float, ...],
    alarm: float,
    basis: Basis | None,
) -> Inspected:
    started = time.perf_counter()
    finding = _finding(name, defender)
    seconds = time.perf_counter() - started
    limit = None
    if basis == "references":
        limit = defences.threshold(torch.tensor(scores, dtype=torch.float64), alarm)
    elif basis == "law":
        limit = defences.network_detector(name).law(defender, alarm)
    return Inspected(name, finding, scores, limit, basis if limit is not None else None, seconds)


def _notes(
    inspected: list[Inspected], unsure: Mapping[str, str], count: int, alarm: float
) -> list[str]:
    need = needed(alarm)
    notes = [
        make_in_words(each.name)
        for each in inspected
        if each.name in unsure and defences.network_detector(each.name).clean_scores
    ]
    if 0 < count < need:
        notes.append(
            f"{count} references are too few for a threshold at --alarm {alarm:g}, which takes "
            f"{need}: they only rank."
        )
    return notes
