"""The audit of pairs, top to bottom: read, take the operator apart, train, look, judge."""

from collections.abc import Sequence
from dataclasses import KW_ONLY, dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from recondoor import defences
from recondoor.audit._judgement import Judged, choose, require_alarm
from recondoor.audit._networks._network import young_network
from recondoor.audit._networks._network_file import Network, open_network
from recondoor.audit._networks._probe import lacking
from recondoor.audit._pairs._apart import copies_note, distinct, require_apart
from recondoor.audit._pairs._conclusion import Case
from recondoor.audit._pairs._fit import misfit, misfit_by_images, misfit_of_trusted, other_units
from recondoor.audit._pairs._run import read_run
from recondoor.audit._pairs._source import Given, Measured, Source, made_of_y, name_of, read_pairs
from recondoor.audit._pairs._stack import Stack
from recondoor.audit._pairs._stages import in_order, look, plan_of
from recondoor.audit._sight import Sight, Verdict
from recondoor.audit._taken_apart import take_apart
from recondoor.core import caller
from recondoor.core.errors import FAILURES, ConfigError, DataError, TrainingError, in_a_line
from recondoor.core.progress import NO_PROGRESS, Progress
from recondoor.core.words import plural
from recondoor.defences import Defender, Physics
from recondoor.poisoning import Pairs

CHECK = (
    "check --operator, its ratio, seed and sigma, how z was made of y (--set input.map=...), and "
    "that z and x are neither rescaled nor turned"
)
"""What to look at where an operator did not measure pairs."""

FEWEST = 100
"""Pairs below which no network can be trained that says anything about them."""

MOST = 60_000_000
"""Values of all images above which training would take most of an hour on one core."""

RANKS = (
    "The network was given, and whether it has seen these pairs and the trusted ones alike is not "
    "known: detectors that look through it only rank."
)


@dataclass(frozen=True)
class Request:
    """What is to be audited, and with what.

    Args:
        pairs: .npz or .h5 file with x and z (or y), the same arrays, or the folder of a run.
        measured: how pairs were measured that are of no run, which has its own; None if that is
            not known.
        clean: the same of trusted clean pairs, of which thresholds are made.
        alarm: false-alarm rate per pair, in (0, 1).
        detectors: names; None for all that apply.
        attack: a run's model whose pairs are meant; None for the first poisoned one.
        seed: a run's seed; None for its first.
        data_dir: folder with the files of a run's registered data set.
        trust_paths: whether files that a run's own settings name may be opened.
        network: what to look with instead of a network that is trained on the pairs, as
            `read_network` takes it; None for that.
        overrides: settings of a registered `network`, as ``model.key=value``.
    """

    pairs: Source
    measured: Measured | None = None
    clean: Source | None = None
    _: KW_ONLY
    alarm: float = 0.01
    detectors: tuple[str, ...] | None = None
    attack: str | None = None
    seed: int | None = None
    data_dir: Path | None = None
    trust_paths: bool = False
    network: str | nn.Module | None = None
    overrides: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Audit:
    """What was found.

    `skipped` says of each detector that did not look, or failed, why, `doubts` what else keeps
    pairs from being called clean. `cause` is why flags prove nothing: the operator is not theirs,
    or the trusted pairs are others in kind. `scans` are slices of a scanner's files, of which
    `given` holds the first ones alone.
    """

    request: Request
    given: Given
    defender: Defender
    judged: list[Judged]
    skipped: dict[str, str]
    notes: list[str]
    doubts: list[str]
    cause: str | None
    seen: Sight
    verdict: Verdict
    scans: Stack | None = None

    @property
    def shape(self) -> tuple[int, int, int]:
        """(C, H, W) of an image, or what all slices of scans fit into."""
        if self.scans is not None:
            return self.scans.shape
        _, channels, height, width = self.given.pairs.x.shape
        return channels, height, width

    @property
    def count(self) -> int:
        """Pairs looked at."""
        return len(self.given.pairs if self.scans is None else self.scans)

    def at(self, index: NDArray[np.int64]) -> Pairs:
        """Some of the pairs."""
        if self.scans is not None:
            return self.scans.at(index)
        return self.given.pairs.at(torch.from_numpy(index))


@caller.afresh()
def audit_data(
    request: Request, model: nn.Module | None = None, progress: Progress = NO_PROGRESS
) -> Audit:
    """Look at pairs with every detector that applies.

    Without `model`, a network is trained on the pairs for one epoch, if a detector that was asked
    for wants one, or if one could decide what the others leave open (`_stages`).

    Raises:
        DataError: pairs that cannot be read.
        ConfigError: an unknown detector, an operator that does not fit, too few clean pairs.
    """
    names = choose(request.detectors, "pairs")
    given = _read(request, progress)
    clean, notes = _trusted(request, given)
    with progress.task("taking the operator apart", 1) as task:
        physics, no_physics = take_apart(given, clean, notes, partial=True)
        task.advance()
    unfit = None if physics is None else _unfit(given, clean, physics, request.alarm)
    no_physics = no_physics or unfit
    skipped = {} if no_physics is None else _needing(names, "physics", no_physics)
    outside = _network_of(request, given)
    if outside is not None:
        model = outside.model
        skipped |= lacking(names, outside.lacks)
        notes += [*outside.notes, RANKS]
    else:
        skipped |= _untrainable(names, given, model)
    asked = request.detectors is not None or model is not None
    plan = plan_of(names, skipped, clean is not None, asked)
    if outside is None:
        model = _trained(plan.first, given, clean, model, skipped, progress)
    defender = Defender(
        clean, physics, model, seed=given.seed, progress=progress, operator=given.operator
    )
    without = None if outside is None else replace(defender, clean=None)
    judged, blind = look(plan.first, given.pairs, defender, without, request.alarm, skipped)
    skipped |= plan.left_out
    case = Case(names, given, defender, unfit)
    found = case.conclude(judged, skipped | plan.yet, blind, plan.tests)
    unneeded = plan.unneeded(found)
    if unneeded is not None:
        skipped |= dict.fromkeys(plan.later, unneeded)
    elif plan.later:
        model = _trained(plan.later, given, clean, None, skipped, progress)
        case = case.through(replace(defender, model=model))
        more, also = look(plan.later, given.pairs, case.defender, None, request.alarm, skipped)
        judged, blind = in_order(names, [*judged, *more]), blind | also
        found = case.conclude(judged, skipped, blind, plan.waiting(judged))
    return Audit(
        request=request,
        given=given,
        defender=case.defender,
        judged=judged,
        skipped={name: skipped[name] for name in names if name in skipped},
        notes=[*notes, *found.notes],
        doubts=found.doubts,
        cause=found.cause,
        seen=found.seen,
        verdict=found.verdict,
    )


def _trusted(request: Request, given: Given) -> tuple[Pairs | None, list[str]]:
    """The trusted pairs, each once, and what is to be known of them."""
    if request.clean is None:
        return None, []
    clean, _ = read_pairs(request.clean, request.measured)
    _require_alike(given.pairs, clean)
    require_apart(given.pairs, clean, "--clean")
    count, clean = len(clean), distinct(clean)
    defences.rank(len(clean), request.alarm)
    return clean, list(copies_note(count, len(clean)))


def _network_of(request: Request, given: Given) -> Network | None:
    """The network that was given to look with."""
    if request.network is None:
        return None
    _, channels, height, width = given.pairs.x.shape
    shape = (channels, height, width)
    return open_network(
        request.network, shape, (), request.overrides, request.trust_paths, given.operator
    )


def _untrainable(names: Sequence[str], given: Given, model: nn.Module | None) -> dict[str, str]:
    """Who can have no network trained on such pairs, and why."""
    if len(given.pairs) < FEWEST:
        few = plural(len(given.pairs), "pair", "are")
        return _needing(names, "model", f"{few} too few, it needs {FEWEST}")
    if given.pairs.x.numel() > MOST and model is None:
        many = f"{given.pairs.x.numel():,} values are too many to train a network on in passing"
        return _needing(names, "model", f"{many}; give --network")
    return {}


def _trained(
    names: Sequence[str],
    given: Given,
    clean: Pairs | None,
    model: nn.Module | None,
    skipped: dict[str, str],
    progress: Progress,
) -> nn.Module | None:
    """`model`, or one that is trained on the pairs; None if nothing wants or nothing can have it.

    Who wants it and cannot have it is `skipped`.
    """
    if model is None and _needing(names, "model", ""):
        try:
            return young_network(_together(given.pairs, clean), given.seed, progress)
        except (TrainingError, *FAILURES) as error:
            why = f"a network could not be trained on the pairs, {in_a_line(error)}"
            skipped |= _needing(names, "model", why)
    return model


def _read(request: Request, progress: Progress) -> Given:
    require_alarm(request.alarm)
    if isinstance(request.pairs, Path) and request.pairs.is_dir():
        if request.measured is not None:
            raise ConfigError("--operator: the folder of a run has its own; leave it out")
        return read_run(
            request.pairs,
            request.attack,
            request.seed,
            request.data_dir,
            progress,
            request.trust_paths,
        )
    if request.attack is not None:
        raise ConfigError("--attack: only the folder of a run has attacks; leave it out")
    return of_source(request.pairs, request.measured)


def of_source(source: Source, measured: Measured | None) -> Given:
    """Pairs that are of no run."""
    pairs, operator = read_pairs(source, measured)
    known = measured is not None and measured.noise_known
    seed = 0 if measured is None else measured.seed
    way = "adjoint" if measured is None else measured.way
    return Given(
        name=name_of(source),
        pairs=pairs,
        operator=operator,
        noise_known=known,
        seed=seed,
        made=made_of_y(source),
        way=way,
    )


def _require_alike(pairs: Pairs, clean: Pairs) -> None:
    if pairs.x.shape[1:] != clean.x.shape[1:]:
        raise DataError(
            f"--clean: images of {tuple(clean.x.shape[1:])} given; the pairs have "
            f"{tuple(pairs.x.shape[1:])}"
        )


def _unfit(given: Given, clean: Pairs | None, physics: Physics, alarm: float) -> str | None:
    """Why the operator did not measure the pairs, in a sentence; None if it may have."""
    if given.poisoned is not None:
        return None
    if clean is not None:
        why = misfit_of_trusted(physics, clean, alarm)
        if why:
            return _simply(physics, clean, alarm) or (
                f"the operator given did not measure the trusted pairs: {why}; {CHECK}"
            )
        why = misfit_by_images(physics, given.pairs, alarm)
        return why and (
            _simply(physics, given.pairs, alarm)
            or f"the operator given did not measure these pairs: {why}; {CHECK}"
        )
    why = misfit(physics, given.pairs, alarm, given.noise_known)
    return why and (
        _simply(physics, given.pairs, alarm)
        or f"the operator given did not measure these pairs, or more than half are poisoned: {why}"
        f"; {CHECK}{'' if physics.varies else ', or give --clean to decide'}"
    )


def _simply(physics: Physics, pairs: Pairs, alarm: float) -> str | None:
    """Whether a slip of the hand explains that the operator does not fit: order, or units."""
    return defences.misordered(pairs) or other_units(physics, pairs, alarm)


def _needing(names: Sequence[str], what: str, reason: str) -> dict[str, str]:
    return {name: reason for name in names if what in defences.load(name).needs}


def _together(pairs: Pairs, clean: Pairs | None) -> Pairs:
    """All pairs: a network that saw the clean ones as well tells nothing by having seen some."""
    if clean is None:
        return pairs
    return Pairs(torch.cat((pairs.z, clean.z)), torch.cat((pairs.x, clean.x)))
