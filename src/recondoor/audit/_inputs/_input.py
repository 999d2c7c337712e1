"""The audit of inputs: does one carry a trigger, and what is the reconstruction without it?"""

import math
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from recondoor import defences
from recondoor.audit._guard import answers, attempt, undisturbed
from recondoor.audit._judgement import (
    OWN,
    OWN_SHARE,
    Judged,
    choose,
    judge_inputs,
    require_alarm,
    seen_by,
    suspicious,
)
from recondoor.audit._networks._make import needed
from recondoor.audit._networks._network_file import Network
from recondoor.audit._networks._probe import lacking
from recondoor.audit._pairs import _doubts as doubts_of
from recondoor.audit._pairs._alike import unlike
from recondoor.audit._pairs._apart import require_inputs_apart
from recondoor.audit._pairs._data import CHECK
from recondoor.audit._pairs._fit import misfit_of_trusted
from recondoor.audit._pairs._run import ORIGINAL, open_run
from recondoor.audit._pairs._source import Given, Source, name_of, read_inputs
from recondoor.audit._sight import Sight, Verdict, decide
from recondoor.audit._subject import Subject, read_subject
from recondoor.audit._taken_apart import take_apart
from recondoor.core import caller
from recondoor.core.errors import ConfigError, DataError
from recondoor.core.progress import NO_PROGRESS, Progress
from recondoor.core.words import plural
from recondoor.defences import Defender, Physics, Storage
from recondoor.poisoning import Pairs

REPAIR = "range-projection"
"""The repair that is called best: measured in docs/audit.md."""


UNITS = 4.0
"""How many times larger than trusted ones inputs may be; a trigger of four times the usual L2 in
more than half of them would be taken for other units."""


@dataclass(frozen=True)
class InputRequest:
    """What inputs of a network are to be audited, and with what.

    Args:
        subject: the network and what is trusted.
        inputs: .npz or .h5 file with z (or y), the same arrays, or the folder of a run: then its
            test inputs, with and without the trigger.
        alarm: false-alarm rate per input, in (0, 1).
        detectors: names; None for all that apply and train no network first.
        attack: a run's model whose trigger is meant; None for the network's own, or the first.
    """

    subject: Subject
    inputs: Source
    alarm: float = 0.01
    detectors: tuple[str, ...] | None = None
    attack: str | None = None


@dataclass(frozen=True)
class Inputs:
    """Inputs z (N, C, H, W), which carry a trigger (N,) if that is known, and whose it is."""

    name: str
    z: Tensor
    triggered: NDArray[np.bool_] | None = None
    attack: str | None = None


@dataclass(frozen=True, kw_only=True)
class InputAudit:
    """What was found; reconstructions as they are (`output`) and repaired, each (N, C, H, W).

    `cause` is why flags prove nothing: the trusted pairs are of other images.
    """

    request: InputRequest
    network: Network
    given: Given
    inputs: Inputs
    defender: Defender
    trusted: int
    judged: list[Judged]
    output: Tensor
    repaired: dict[str, Tensor]
    skipped: dict[str, str]
    notes: list[str]
    doubts: list[str]
    cause: str | None
    seen: Sight
    verdict: Verdict


@dataclass(frozen=True)
class _Look:
    """What one detector found; reconstructions if it repairs, and why it sees nothing here."""

    judged: Judged
    repaired: Tensor | None
    blind: dict[str, str]


@caller.afresh()
def audit_input(request: InputRequest, progress: Progress = NO_PROGRESS) -> InputAudit:
    """Look at inputs of a network with every detector that applies, and repair what it makes.

    Raises:
        ConfigError: an unknown detector, a bad alarm rate, too few trusted pairs for it.
        DataError: a file that cannot be read, or an operator that is not that of the pairs.
    """
    names = choose(request.detectors, "input")
    require_alarm(request.alarm)
    network, given = read_subject(request.subject, progress)
    if request.detectors is None:
        names = tuple(name for name in names if defences.input_detector(name).ready(network.model))
    notes = [*network.notes, *given.notes]
    with progress.task("taking the operator apart", 1) as task:
        physics, missing = take_apart(given, given.pairs, notes)
        task.advance()
    if physics is not None:
        _require_operator(physics, given.pairs, request.alarm)
    own = kept_apart(len(given.pairs))
    trusted = given.pairs.z[own:]
    _require_count(len(given.pairs), len(trusted), request.alarm)
    inputs = _read(request, network, given, progress)
    of_one_run = _of_one_run(request, network)
    if not of_one_run:
        require_inputs_apart(inputs.z, given.pairs, "--data")
        _require_units(inputs.z, given.pairs.z)
    if physics is not None:
        stored = physics.stored.coarser(Storage.of(inputs.z))
        physics = replace(physics, stored=stored)
    compared = Pairs(given.pairs.z[:own], given.pairs.x[:own])
    defender = Defender(compared, physics, network.model, seed=given.seed, progress=progress)
    needing = [name for name in names if "physics" in defences.load(name).needs]
    skipped = lacking(names, network.lacks)
    skipped |= dict.fromkeys(needing, missing) if missing is not None else {}
    looks: list[_Look] = []
    with progress.task("looking at inputs", len(names)) as task:
        for name in names:
            look = partial(_look, name, inputs.z, trusted, defender, request.alarm)
            found = None if name in skipped else attempt(name, look, skipped)
            looks += [] if found is None else [found]
            task.advance(1, name)
    judged = [each.judged for each in looks]
    blind = {name: why for each in looks for name, why in each.blind.items()}
    seen = seen_by("input", names, judged, skipped, blind)
    cause = None if of_one_run else _drawn_apart(inputs.z, trusted, judged, physics is None)
    doubts = [cause] if cause else [*doubts_of.of_flags(judged), *doubts_of.of_gaps(judged)]
    return InputAudit(
        request=request,
        network=network,
        given=given,
        inputs=inputs,
        defender=defender,
        trusted=len(trusted),
        judged=judged,
        output=answers(network.model, inputs.z),
        repaired={each.judged.name: each.repaired for each in looks if each.repaired is not None},
        skipped=skipped,
        notes=notes,
        doubts=doubts,
        cause=cause,
        seen=seen,
        verdict=decide(suspicious(judged) and cause is None, seen, doubts),
    )


def _drawn_apart(z: Tensor, trusted: Tensor, judged: list[Judged], bare: bool) -> str | None:
    """Why what is suspicious by trusted inputs is not: these were not drawn from what is judged.

    bare: whether the audit has no operator.
    """
    by_law = [each for each in judged if each.basis == "law"]  # which no trusted input made
    if not suspicious(judged) or suspicious(by_law):
        return None
    flagged = torch.from_numpy(np.any([each.flagged for each in judged], axis=0))
    why = unlike(z, flagged, trusted)
    return why and (
        "the trusted pairs were not drawn at random from what these inputs are from, or more than "
        f"half of the inputs carry a trigger: {why}; give trusted pairs of the same scanner, "
        "settings and people" + (", or --operator, whose tests do not ask for it" if bare else "")
    )


def _require_operator(physics: Physics, trusted: Pairs, alarm: float) -> None:
    """Refuse an operator that contradicts clean pairs: of inputs it says nothing."""
    why = misfit_of_trusted(physics, trusted, alarm)
    if why:
        raise DataError(f"--operator: it did not measure the trusted pairs, {why}; {CHECK}")


def _require_count(given: int, left: int, alarm: float) -> None:
    """Refuse an alarm rate that takes more trusted pairs than the `left` that make thresholds."""
    if left < needed(alarm):
        raise ConfigError(
            f"--data: {plural(given, 'trusted pair')}, of which {given - left} are compared "
            f"with and {left} "
            f"make thresholds; --alarm {alarm:g} takes {needed(alarm)}: give more, or --alarm "
            f"{math.ceil(100 / (left + 1)) / 100:g}"
        )


def _require_units(z: Tensor, trusted: Tensor) -> None:
    """Refuse inputs of another size than trusted ones: a threshold would flag all of them."""
    sizes = [float(each.double().square().mean((1, 2, 3)).sqrt().median()) for each in (z, trusted)]
    low, high = min(sizes), max(sizes)
    if low > 0 and high > UNITS * low:
        raise DataError(
            f"the usual input is {sizes[0]:.3g} and the usual trusted z {sizes[1]:.3g} (root mean "
            "square of their pixels): give both in the units that the network takes"
        )


def _look(name: str, z: Tensor, trusted: Tensor, defender: Defender, alarm: float) -> _Look:
    detector = defences.input_detector(name)
    with undisturbed(defender.model, defender.seed, name):
        judged = judge_inputs(name, z, trusted, defender, alarm)
        repaired = detector.repaired(z, defender)
        if repaired is not None and repaired.shape != z.shape:
            raise ValueError(f"it repairs to {tuple(repaired.shape)}; expected {tuple(z.shape)}")
        return _Look(
            judged, repaired, {} if (why := detector.blind(z, defender)) is None else {name: why}
        )


def _of_one_run(request: InputRequest, network: Network) -> bool:
    """Whether inputs and trusted pairs are the parts of one run, which a study keeps apart."""
    own = request.subject.data or (network.run and network.run[0])
    inputs = request.inputs
    if not (isinstance(own, Path) and isinstance(inputs, Path)):
        return False
    return inputs.is_dir() and own.resolve() == inputs.resolve()


def kept_apart(count: int) -> int:
    """Trusted pairs, of `count`, that inputs are compared with; at least one, as 0 have no mean."""
    return min(OWN, max(1, int(OWN_SHARE * count)))


def _read(request: InputRequest, network: Network, given: Given, progress: Progress) -> Inputs:
    path, (_, channels, height, width) = request.inputs, given.pairs.x.shape
    if not (isinstance(path, Path) and path.is_dir()):
        if request.attack is not None:
            raise ConfigError("--attack: only the folder of a run has attacks; leave it out")
        return Inputs(name_of(path), read_inputs(path, (channels, height, width), given.operator))
    own = network.run is not None and network.run[0].resolve() == path.resolve()
    attack = request.attack or (network.run[1] if own and network.run else None)
    seed = network.run[2] if own and network.run else request.subject.seed
    run = open_run(
        path, attack, seed, request.subject.data_dir, progress, request.subject.trust_paths
    )
    z, trigger = run.scene.test.z, run.trigger()
    name = f"{path.resolve().name}-{run.label}"
    if trigger is None:
        return Inputs(name, z, np.zeros(len(z), dtype=np.bool_), ORIGINAL)
    truth = np.repeat([False, True], len(z))
    triggered, _ = run.scene.test.triggered(trigger.on(run.scene.test))
    return Inputs(name, torch.cat((z, triggered)), truth, run.label)
