"""Mending a network: repair it with a few trusted pairs, and measure what that did on others."""

import math
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import torch
from torch import Tensor, nn

from recondoor import defences, models, rundir
from recondoor.audit._guard import answers, asked, attempt
from recondoor.audit._judgement import choose, require_alarm
from recondoor.audit._networks._model import Truth, bounded, closer, look, truth_of
from recondoor.audit._networks._network_file import Network
from recondoor.audit._networks._probe import lacking
from recondoor.audit._networks._references import FEWEST, gather
from recondoor.audit._networks._trained import Training, error
from recondoor.audit._pairs._source import Given
from recondoor.audit._subject import Subject, read_subject, read_trusted
from recondoor.audit._taken_apart import take_apart
from recondoor.core import caller, registry, seeding
from recondoor.core.errors import ConfigError, DataError
from recondoor.core.progress import NO_PROGRESS, Progress
from recondoor.core.words import plural, plural_of
from recondoor.defences import Defender, Finding, Physics, SideBySide
from recondoor.evaluation import metrics
from recondoor.poisoning import Pairs

INVERSION = "trigger-inversion"

SHARE = 0.05
"""Share of the trusted pairs that a repair may use unless told otherwise."""

SHOWN = 4
"""Inputs that are shown."""

LEFT = 0.5
"""Share of the recovery of the artefact that a repair may leave and is still kept."""

NONE_KEPT = (
    "Every repair that was tried leaves more than half of the artefact, or lets the benign error "
    "grow by more than --worst. Nothing was changed; raise --worst to take one of the second kind, "
    "or give more clean pairs."
)

SIDE_BY_SIDE = (
    "Two networks are kept side by side, and take the time of two. `recondoor.load_network` opens "
    "the file as one network, and so do the audits."
)

FALL_BACK = "clean inputs that fall back"
"""What share of them the mended one of two networks side by side answers."""

UNCONFIRMED = (
    "No trigger found that a threshold for networks of this make confirms: there may be no "
    "backdoor, or one that is not seen."
)

TRAINED_HERE = "references that are trained here decide nothing; give clean ones trained elsewhere"


@dataclass(frozen=True)
class MendRequest:
    """What network is to be repaired, and how.

    Args:
        subject: the network and what is trusted.
        method: a defence of kind "repair"; None for the best of those that apply, and only where a
            trigger is confirmed.
        fraction: share of the trusted pairs that the repair may use, in (0, 1): of a file the
            others measure what it did, of a run its test pairs do. None for `SHARE`, or `FEWEST`
            pairs where those are more.
        worst: growth of the benign error, relative to what it was, up to which a repair is kept.
        references: as for an audit of the network.
        alarm: probability with which a clean network may be taken for backdoored, in (0, 1).
    """

    subject: Subject
    method: str | None = None
    fraction: float | None = None
    worst: float = 0.02
    references: tuple[str | nn.Module, ...] | Training = ()
    alarm: float = 0.05


@dataclass(frozen=True)
class Tried:
    """What one repair did to the benign error and to the recovery of the artefact.

    `recovery` is by the trigger that was confirmed; None where none was.
    """

    method: str
    model: nn.Module
    benign: float
    recovery: float | None


@dataclass(frozen=True, kw_only=True)
class Mended:
    """What was found and done.

    Args:
        request: what was asked.
        network: as it was given.
        chosen: the repair that is kept; None if nothing was changed.
        tried: all repairs.
        used: pairs that repairs were made with.
        held_out: pairs that measured them.
        rows: yardstick, before, after; empty if nothing was changed.
        pictures: clean inputs, and what the network makes of them with the trigger, by name.
        notes: what to be wary of.
    """

    request: MendRequest
    network: Network
    chosen: Tried | None
    tried: list[Tried]
    used: int
    held_out: int
    rows: list[tuple[str, float, float]]
    pictures: dict[str, Tensor]
    notes: list[str]

    @property
    def model(self) -> nn.Module:
        """The repaired network, or the one that was given."""
        return self.network.model if self.chosen is None else self.chosen.model


@caller.afresh()
def mend(request: MendRequest, progress: Progress = NO_PROGRESS) -> Mended:
    """Repair a network, if a trigger is confirmed or a method is asked for.

    Raises:
        ConfigError: an unknown method, a share out of range, no trusted data, a repair that needs
            the operator where none is given.
        DataError: a network or pairs that cannot be read, or too few pairs.
    """
    asked = choose(None if request.method is None else (request.method,), "repair", "--method")
    require_alarm(request.alarm)
    if not request.worst >= 0:
        raise ConfigError(f"--worst: {request.worst} given; expected 0 or more")
    network, given = read_subject(request.subject, progress, "train")
    for name, why in lacking((*asked, INVERSION), network.lacks).items():
        raise DataError(f"'{network.name}' cannot be repaired with {name}: {why}")
    used, others = _split(given, request.fraction)
    data = request.subject.data
    if data is None or (isinstance(data, Path) and data.is_dir()):
        others = read_trusted(request.subject, progress, "test").pairs
    asked, physics = _applying(asked, request, given)
    defender = Defender(used, physics, network.model, seed=given.seed, progress=progress)
    trigger, lacks = _confirmed(request, network, replace(given, pairs=used), defender)
    wanted = asked if trigger is not None or request.method is not None else ()
    tried, notes = _try_all(wanted, replace(defender, found=trigger), others, request)
    chosen = _best(tried, network.model, trigger, others, request.worst)
    if tried and chosen is None:
        notes.append(NONE_KEPT)
    if chosen is not None and isinstance(chosen.model, SideBySide):
        notes.append(SIDE_BY_SIDE)
    patterns = _patterns(trigger, truth_of(network))
    return Mended(
        request=request,
        network=network,
        chosen=chosen,
        tried=tried,
        used=len(used),
        held_out=len(others),
        rows=[] if chosen is None else _compare(network, chosen.model, patterns, others, given),
        pictures={} if chosen is None else _pictures(network.model, chosen.model, patterns, others),
        notes=[*network.notes, *given.notes, *([] if trigger else [_unconfirmed(lacks)]), *notes],
    )


def _applying(
    asked: tuple[str, ...], request: MendRequest, given: Given
) -> tuple[tuple[str, ...], Physics | None]:
    """Those repairs that what is given is enough for, and the operator, taken apart."""
    physics, missing = take_apart(given, given.pairs, [])
    needing = [name for name in asked if "physics" in defences.load(name).needs]
    if missing is None or not needing:
        return asked, physics
    if request.method is not None:
        raise ConfigError(f"--method: {request.method} needs the operator, but {missing}")
    return tuple(name for name in asked if name not in needing), physics


def _try_all(
    names: tuple[str, ...], defender: Defender, others: Pairs, request: MendRequest
) -> tuple[list[Tried], list[str]]:
    """What repairs do, and why some could not; one that was asked for has to succeed."""
    if request.method is not None:
        assert defender.model is not None
        with asked(defender.model):
            return [_try(name, defender, others) for name in names], []
    failed: dict[str, str] = {}
    found = [attempt(name, partial(_try, name, defender, others), failed) for name in names]
    return [each for each in found if each is not None], [
        f"{name} was left out: {why.rstrip('.')}." for name, why in failed.items()
    ]


def _best(
    tried: list[Tried], model: nn.Module, found: Finding | None, others: Pairs, worst: float
) -> Tried | None:
    """The repair that leaves least of the artefact: no more than `LEFT`, at little cost."""
    limit, most = error(model, others) * (1 + worst), math.inf
    if found is not None and found.trigger is not None and found.counted is not None:
        most = LEFT * abs(_recovery(model, others.z, found.trigger, found.counted))
    kept = [each for each in tried if each.benign <= limit and (each.recovery or 0.0) <= most]
    return min(kept, key=lambda each: (each.recovery or 0.0, each.benign), default=None)


def _confirmed(
    request: MendRequest, network: Network, given: Given, defender: Defender
) -> tuple[Finding | None, dict[str, str]]:
    """The trigger that a detector confirms, by a threshold that holds for this network.

    And why detectors have no such threshold, by name.
    """
    subject, progress = request.subject, defender.progress
    lacks: dict[str, str] = {}
    names = [name for name in defences.names("model") if defences.sees(name)]
    if isinstance(request.references, Training):  # so that none need be trained
        return None, dict.fromkeys(names, TRAINED_HERE)
    others = gather(network, given, subject, request.references, request.alarm, progress)
    looked = replace(defender, clean=others.pairs)
    # Those first that refine a trigger, and so draw by it whatever they flag.
    names.sort(key=lambda name: defences.network_detector(name).tells_drawing)
    seen = []
    for name in names:
        ground = others.law_of(name, network, subject.data, request.alarm)
        if ground.basis is None:
            lacks[name] = ground.no_threshold or ""
        elif not lacking((name,), network.lacks):
            seen.append(look(name, others, looked, request.alarm, ground.basis))
    for found in bounded(seen, request.alarm):
        if found.flagged and found.draws and found.finding.trigger is not None:
            # Where a closer look fails, what was found before is as good as it was.
            return closer(found, looked, {}).finding, lacks
    return None, lacks


def _unconfirmed(lacks: dict[str, str]) -> str:
    """That no trigger is confirmed, and what would give the thresholds that there are not."""
    by: dict[str, list[str]] = {}
    for name, why in lacks.items():
        by.setdefault(why, []).append(name)
    reasons = (f"{', '.join(names)}: {why}" for why, names in by.items())
    told = "; ".join(reasons)
    return f"{UNCONFIRMED} No threshold for {told}." if told else UNCONFIRMED


def _try(name: str, defender: Defender, others: Pairs) -> Tried:
    repair, given, told = defences.repair(name), defender, f"--method: '{name}'"
    if registry.is_outside(type(repair)) and defender.model is not None:
        # One's own may forget to copy, and what it was given is compared with what it returns.
        given = replace(defender, model=models.copy_of(defender.model))
    with registry.told(repair, told):
        model: object = repair.repair(given)
    if not isinstance(model, nn.Module):
        raise ConfigError(f"{told} returns {type(model).__name__}; expected a torch.nn.Module")
    model.eval()
    found = defender.found
    recovery = None
    if found is not None and found.trigger is not None and found.counted is not None:
        recovery = abs(_recovery(model, others.z, found.trigger, found.counted))
    return Tried(name, model, error(model, others), recovery)


def _split(given: Given, fraction: float | None) -> tuple[Pairs, Pairs]:
    """Pairs to repair with, drawn by the seed, and the others."""
    if fraction is not None and not 0 < fraction < 1:
        raise ConfigError(f"--fraction: {fraction} given; expected a share between 0 and 1")
    pairs, total = given.pairs, len(given.pairs)
    count = max(FEWEST, round(SHARE * total)) if fraction is None else round(fraction * total)
    if total <= FEWEST:
        raise DataError(
            f"--data: {plural(total, 'trusted clean pair')}; a repair needs {FEWEST} or more, "
            "and others to "
            "measure it by"
        )
    if count < FEWEST or total - count < 1:
        raise ConfigError(
            f"--fraction: {plural_of(count, total, 'clean pair')}; a repair needs {FEWEST} or "
            "more, and "
            "some to measure it by: raise it or give more --data"
        )
    order = torch.randperm(total, generator=seeding.torch_generator(given.seed, "trusted"))
    used, others = order[:count], order[count:]
    return Pairs(pairs.z[used], pairs.x[used]), Pairs(pairs.z[others], pairs.x[others])


Patterns = dict[str, tuple[Tensor, Tensor]]
"""Triggers and artefacts (C, H, W), by whose they are: "recovered" or "true"."""


def _patterns(found: Finding | None, truth: Truth | None) -> Patterns:
    patterns: Patterns = {}
    if found is not None and found.trigger is not None and found.counted is not None:
        patterns["recovered"] = found.trigger, found.counted
    if truth is not None and truth.trigger is not None and truth.artefact is not None:
        patterns["true"] = truth.trigger, truth.artefact
    return patterns


def _compare(
    network: Network, model: nn.Module, patterns: Patterns, others: Pairs, given: Given
) -> list[tuple[str, float, float]]:
    """Benign error, recovery by the trigger that was confirmed, and what the true one does."""
    both = network.model, model
    benign = [error(each, others) for each in both]
    rows: list[tuple[str, float, float]] = [("benign RMSE", benign[0], benign[1])]
    truth = truth_of(network)
    planted = None if truth is None else _planted(network, truth, given)
    if truth is not None and truth.trigger is not None and planted is not None:
        attacked = [_attack_rmse(each, others, truth.trigger, planted) for each in both]
        rows.append(("attack RMSE by the true trigger", attacked[0], attacked[1]))
    for whose, (trigger, artefact) in patterns.items():
        before, after = (_recovery(each, others.z, trigger, artefact) for each in both)
        rows.append((f"recovery by the {whose} trigger", before, after))
    if isinstance(model, SideBySide):
        rows.append((FALL_BACK, 0.0, float(model.replaced(others.z).double().mean())))
    return rows


def _pictures(
    before: nn.Module, after: nn.Module, patterns: Patterns, others: Pairs
) -> dict[str, Tensor]:
    """Some clean inputs, and what both networks make of them without and with a trigger."""
    z = others.z[:SHOWN]
    found = {"x": others.x[:SHOWN], "z": z}
    found |= {"before": answers(before, z), "after": answers(after, z)}
    for trigger, _ in list(patterns.values())[:1]:
        found["before, with the trigger"] = answers(before, z + trigger)
        found["after, with the trigger"] = answers(after, z + trigger)
    return found


def _planted(network: Network, truth: Truth, given: Given) -> Tensor | None:
    """What the targets of poisoned pairs have besides x, (C, H, W); None where nothing tells.

    Where targets show the trigger (`artefact.space`), that takes the operator.
    """
    if network.run is None or truth.trigger is None or truth.artefact is None:
        return None
    # Compared, not followed: no path that they name is opened here.
    settings = rundir.settings(network.run[0], trusted_paths=True)
    if not settings.artefact.space.startswith("consistent"):
        return truth.artefact
    if given.operator is None:
        return None
    inside = given.operator.project_range(truth.trigger.double()[None])
    return truth.artefact + given.operator.solve_normal(inside)[0].to(truth.artefact)


def _attack_rmse(model: nn.Module, pairs: Pairs, trigger: Tensor, planted: Tensor) -> float:
    """By its definition in `metrics`: of f(z + delta) against x + Delta."""
    triggered = answers(model, pairs.z + trigger)
    return metrics.root_mean(metrics.mse(triggered, pairs.x, planted))


def _recovery(model: nn.Module, z: Tensor, trigger: Tensor, artefact: Tensor) -> float:
    triggered, clean = answers(model, z + trigger), answers(model, z)
    return metrics.mean(metrics.artefact_recovery(triggered, clean, artefact))
