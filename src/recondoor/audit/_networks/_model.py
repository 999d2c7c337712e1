"""The audit of a network: every defence of kind "model" looks at it."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from recondoor import defences, rundir
from recondoor.audit._guard import attempt, undisturbed
from recondoor.audit._judgement import choose, require_alarm
from recondoor.audit._networks._make import make_in_words, needed
from recondoor.audit._networks._network_file import Network
from recondoor.audit._networks._probe import lacking
from recondoor.audit._networks._references import FEWEST, Basis, References, gather
from recondoor.audit._networks._trained import Training
from recondoor.audit._pairs._run import ORIGINAL
from recondoor.audit._pairs._source import Given
from recondoor.audit._sight import Sight, Verdict, decide, sight
from recondoor.audit._subject import Subject, read_subject
from recondoor.core import caller
from recondoor.core.errors import DataError
from recondoor.core.progress import NO_PROGRESS, Progress
from recondoor.core.words import plural, plural_of
from recondoor.defences import Defender, Finding

RECIPE = (
    "Thresholds that references make hold if these were trained as the network was, by the same "
    "recipe on data alike: references of another recipe accuse clean networks too (docs/audit.md)."
)
"""What nobody can check of references."""

FEWEST_LEARNT = 2
"""Planted backdoors that have to be learnt, and all of them seen, before a network is acquitted."""


@dataclass(frozen=True)
class ModelRequest:
    """What network is to be audited, and with what.

    Args:
        subject: the network and what is trusted.
        references: networks known to be clean, as `read_network` takes them, or how to train some.
        alarm: probability with which a clean network may be flagged, in (0, 1).
        detectors: names; None for all.
    """

    subject: Subject
    references: tuple[str | nn.Module, ...] | Training = ()
    alarm: float = 0.05
    detectors: tuple[str, ...] | None = None


@dataclass(frozen=True)
class Inspected:
    """What one detector found.

    Args:
        name: of the detector.
        finding: its score, recovered trigger and artefact.
        references: scores of the reference networks.
        planted: scores of networks of the same make that have learnt a backdoor.
        threshold: score above which the network is flagged; None if the detector only ranks.
        basis: what the threshold comes from.
        flagged: whether the score is above the threshold.
        drawing: how surely the references and, last, the network draw an artefact; None if
            whatever is flagged does.
        draws: of a network that is flagged: whether it draws an artefact beyond what the references
            do, or was only trained on pairs with a hidden pattern; None if it is not flagged.
        seconds: how long it took.
    """

    name: str
    finding: Finding
    references: tuple[float, ...]
    planted: tuple[float, ...]
    threshold: float | None
    basis: Basis | None
    flagged: bool
    drawing: tuple[float, ...] | None
    draws: bool | None
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


@dataclass(frozen=True, kw_only=True)
class ModelAudit:
    """What was found; `given` are the pairs that were looked through.

    `cause` is why nothing is decided, whatever is flagged; None if that depends on what was seen.
    """

    request: ModelRequest
    network: Network
    given: Given
    references: int
    truth: Truth | None
    inspected: list[Inspected]
    skipped: dict[str, str]
    notes: list[str]
    seen: Sight
    cause: str | None
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
    subject = request.subject
    network, given = read_subject(subject, progress)
    require_count(given, FEWEST)
    others = gather(network, given, subject, request.references, request.alarm, progress)
    defender = Defender(others.pairs, model=network.model, seed=given.seed, progress=progress)
    looked: list[Inspected] = []
    skipped = lacking(names, network.lacks)
    grounds = {
        name: others.law_of(name, network, subject.data, request.alarm)
        for name in names
        if name not in skipped
    }
    for name, ground in grounds.items():
        work = partial(look, name, others, defender, request.alarm, ground.basis)
        found = attempt(name, work, skipped)
        looked += [] if found is None else [found]
    missed: dict[str, str] = {}
    inspected = [closer(each, defender, missed) for each in bounded(looked, request.alarm)]
    unsure: dict[str, str] = {}
    for each in inspected:
        ground = grounds[each.name]
        why = ground.no_threshold or ground.no_power or _missed(each, others)
        unsure |= {} if why is None else {each.name: why}
    blind = skipped | unsure
    seen = sight("model", names, [each.name for each in inspected], blind)
    flagged = any(each.flagged for each in inspected)
    return ModelAudit(
        request=request,
        network=network,
        given=replace(given, pairs=others.pairs),
        references=len(others.clean),
        truth=truth_of(network),
        inspected=inspected,
        skipped=skipped,
        notes=[
            *network.notes,
            *given.notes,
            *others.notes,
            *_notes(inspected, unsure, len(others.clean), request.alarm),
            *(f"{name}, asked for a closer look: {why}" for name, why in missed.items()),
        ],
        seen=seen,
        cause=others.unproved,
        verdict="undecided" if others.unproved else decide(flagged, seen),
    )


def _missed(found: Inspected, others: References) -> str | None:
    """Why a detector with planted backdoors cannot acquit: it does not see them."""
    if not others.tried or found.threshold is None:
        return None
    learnt, seen = len(found.planted), sum(score > found.threshold for score in found.planted)
    if learnt < FEWEST_LEARNT:
        return (
            f"{plural_of(learnt, others.tried, 'network')} that were given a backdoor learnt "
            "it, and "
            f"{FEWEST_LEARNT} are needed to know that it would be seen"
        )
    return (
        None if seen == learnt else f"it flags {plural_of(seen, learnt, 'network')} with a backdoor"
    )


def require_count(given: Given, fewest: int) -> None:
    """Raise DataError unless there are `fewest` trusted pairs."""
    if len(given.pairs) < fewest:
        raise DataError(
            f"--data: {plural(len(given.pairs), 'trusted clean pair')}; at least {fewest} are "
            "needed, "
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


def look(
    name: str, others: References, defender: Defender, alarm: float, basis: Basis | None
) -> Inspected:
    """Look at the suspect and at all that it is compared with.

    A law gives its threshold here; `bounded` gives those that references make.
    """
    detector = defences.network_detector(name)
    planted = others.planted if basis == "references" else []
    silent = replace(defender, progress=NO_PROGRESS)
    known, planned = [], [*others.clean, *planted]
    with defender.progress.task(f"{name} of references", max(1, len(planned))) as task:
        for model in planned:
            known.append(_finding(name, replace(silent, model=model)))
            task.advance(1)
    clean, bad = known[: len(others.clean)], known[len(others.clean) :]
    started = time.perf_counter()
    finding = _finding(name, defender)
    seconds = time.perf_counter() - started
    *scores, score = detector.compare([*clean, finding])
    finding = replace(finding, score=score)
    limit = detector.law(defender, alarm) if basis == "law" else None
    drawing = detector.drawing([*clean, finding]) if basis == "references" else None
    return Inspected(
        name=name,
        finding=finding,
        references=tuple(scores),
        planted=tuple(detector.compare([*clean, each])[-1] for each in bad),
        threshold=limit,
        basis=None if basis == "law" and limit is None else basis,
        flagged=limit is not None and score > limit,
        drawing=None if drawing is None else tuple(drawing),
        draws=None,
        seconds=seconds,
    )


def bounded(looked: Sequence[Inspected], alarm: float) -> list[Inspected]:
    """With the thresholds that references make, and whether what is flagged draws an artefact.

    All detectors together flag a clean network with probability `alarm` at most: see `together`.
    """
    mine = [each for each in looked if each.basis == "references"]
    scores = [[*each.references, each.finding.score] for each in mine]
    limits = together(torch.tensor(scores, dtype=torch.float64), alarm) if mine else ()
    found = {
        each.name: replace(each, threshold=limit, flagged=above)
        for each, (limit, above) in zip(mine, limits, strict=True)
    }
    told = [found.get(each.name, each) for each in looked]
    return [replace(each, draws=_draws(each, alarm)) if each.flagged else each for each in told]


def closer(found: Inspected, defender: Defender, missed: dict[str, str]) -> Inspected:
    """With the trigger and artefact that its detector finds at a closer look, if it is flagged.

    What was found before stays where that fails, and `missed` says why.
    """
    if not found.flagged:
        return found
    started, name = time.perf_counter(), found.name
    finding = attempt(name, partial(_sharpened, name, defender, found.finding), missed)
    took = found.seconds + time.perf_counter() - started
    return found if finding is None else replace(found, finding=finding, seconds=took)


def together(scores: Tensor, alarm: float) -> list[tuple[float, bool]]:
    """Threshold of each of K detectors, and whether the suspect's score is above it.

    `scores` (K, N + 1) are those of N clean networks and, last, of the suspect. Each detector's are
    put into standard deviations from their mean, and the largest of a network over the detectors is
    its one score. All N + 1 are treated alike. So if the suspect is as clean as the others, these
    scores are exchangeable, and their conformal quantile is exceeded with probability `alarm` at
    most, however the detectors depend on each other. One detector alone keeps its own quantile.
    """
    centre, spread = scores.mean(1), scores.std(1, correction=0)
    unit = torch.where(spread > 0, spread, 1.0)
    above = (scores - centre[:, None]) / unit[:, None]
    limit = defences.threshold(above.amax(0)[:-1], alarm)
    flagged = above[:, -1] > limit
    return list(zip((centre + limit * unit).tolist(), flagged.tolist(), strict=True))


def _draws(found: Inspected, alarm: float) -> bool:
    """Whether a network draws an artefact beyond what clean ones do."""
    if found.drawing is None:
        return True
    *clean, own = found.drawing
    return own > defences.threshold(torch.tensor(clean, dtype=torch.float64), alarm)


def _finding(name: str, defender: Defender) -> Finding:
    with undisturbed(defender.model, defender.seed, name):
        found: object = defences.network_detector(name).inspect(defender)
    return _sound(found, defender)


def _sharpened(name: str, defender: Defender, finding: Finding) -> Finding:
    with undisturbed(defender.model, defender.seed, name):
        found: object = defences.network_detector(name).sharpen(defender, finding)
    # What was decided stays, whatever a detector of the user's own returns.
    return replace(_sound(found, defender), score=finding.score, measures=finding.measures)


def _sound(found: object, defender: Defender) -> Finding:
    if not isinstance(found, Finding):
        raise ValueError(f"it returns {type(found).__name__}; expected a Finding")
    shape = None if defender.clean is None else defender.clean.z.shape[1:]
    for pattern in (found.trigger, found.artefact, found.counts):
        if pattern is not None and pattern.shape != shape:
            raise ValueError(f"it finds a pattern of {tuple(pattern.shape)}; expected an image's")
        if pattern is not None and not bool(pattern.isfinite().all()):
            raise FloatingPointError("its score is not finite")
    if not np.isfinite([found.score, *found.measures.values()]).all():
        raise FloatingPointError("its score is not finite")
    return found


def _notes(
    inspected: list[Inspected], unsure: Mapping[str, str], count: int, alarm: float
) -> list[str]:
    need = needed(alarm)
    notes = [RECIPE] if any(each.basis == "references" for each in inspected) else []
    notes += [
        make_in_words(each.name)
        for each in inspected
        if each.name in unsure and defences.network_detector(each.name).clean_scores
    ]
    if 0 < count < need:
        notes.append(
            f"{plural(count, 'reference', 'are')} too few for a threshold at --alarm {alarm:g}, "
            "which takes "
            f"{need}: they only rank."
        )
    return notes
