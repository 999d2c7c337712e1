"""Reference networks that an audit trains itself: of the suspect's make, on trusted pairs.

Some are clean and bound the scores of clean networks. A few others are given a backdoor, and say
whether a detector would have seen one in networks of this make and data.
"""

import hashlib
import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from statistics import median

import torch
from torch import Tensor, nn

from recondoor import config, rundir
from recondoor.audit._guard import answers, asked
from recondoor.audit._networks._adapters import Adapted, bare, own
from recondoor.audit._networks._network import InUnits, unit_of
from recondoor.core import seeding
from recondoor.core.errors import FAILURES, ConfigError, DataError, in_a_line
from recondoor.core.progress import NO_PROGRESS, Progress, Task
from recondoor.core.words import plural
from recondoor.defences import SideBySide
from recondoor.evaluation import metrics
from recondoor.models import copy_of
from recondoor.poisoning import Artefact, Pairs, PoisonedPairs, PoisonPlan, Trigger
from recondoor.training import loop

HELD_SHARE = 0.25
"""Share of the trusted pairs that no reference is trained on: detectors look through these."""

BATCH, STEPS = 16, 25
"""Pairs in a step at the most, and steps of an epoch at least, for which it is made smaller."""

SHARE, STRENGTH, BRIGHTNESS, SIDE = 0.2, 0.5, 2.0, 6 / 64
"""The backdoor that is planted: share of the pairs; L2 of a square in units of the usual L2 of z;
the artefact's pixels in units of x; and the size of both as a share of the image."""

LEARNT = 0.5
"""Recovery of the artefact above which a planted backdoor counts as learnt."""

ALIKE = 1.15
"""Ratio of benign errors up to which the suspect passes for a network of the references' recipe."""

NOT_TRAINED = (
    "the suspect is two networks side by side, as the repair `side-by-side` writes them, and no "
    "training makes such; audit the network that was repaired, or give --references that were "
    "repaired in the same way"
)

Job = tuple[str, int]
"""Kind of a network, "clean" or "planted", and its number."""

FIRST_PLANTED = 1_000_000
"""What the numbers of planted networks' weights begin with."""

Make = Callable[[int], nn.Module]
"""An untrained network, by a number that its weights are drawn by."""


@dataclass(frozen=True)
class Training:
    """How references are trained.

    Args:
        epochs: passes through the trusted pairs, 1 or more.
        planted: networks that are given a backdoor.
        fresh: makes an untrained network of the suspect's make; None to take a copy of the suspect
            and let each of its layers draw its weights anew.
        folder: where they are kept, so that the same audit goes on where it was stopped; None to
            keep them in memory alone.
    """

    epochs: int = 40
    planted: int = 3
    fresh: Callable[[], nn.Module] | None = None
    folder: Path | None = None


@dataclass(frozen=True)
class Trained:
    """Networks that were trained.

    Args:
        clean: on trusted pairs as they are.
        planted: on poisoned ones, those that learnt the backdoor.
        tried: how many were poisoned.
        held: trusted pairs that none was trained on.
        notes: what is to be known of them.
    """

    clean: list[nn.Module]
    planted: list[nn.Module]
    tried: int
    held: Pairs
    notes: list[str] = field(default_factory=list)


def train_references(
    suspect: nn.Module,
    pairs: Pairs,
    count: int,
    how: Training,
    *,
    seed: int,
    fewest: int,
    progress: Progress = NO_PROGRESS,
) -> Trained:
    """Train `count` clean networks of the make of `suspect` on `pairs`, and some with a backdoor.

    `fewest` pairs or more are held out. What it will take is told before it begins.

    Raises:
        ConfigError: a layer of the suspect cannot draw its weights anew, or it is two networks side
            by side, which no training makes.
        DataError: too few pairs.
    """
    if how.epochs < 1 or how.planted < 0:
        raise ConfigError(f"--epochs: {how.epochs} given; expected 1 or more")
    if isinstance(own(suspect), SideBySide):
        raise ConfigError(f"--references auto: {NOT_TRAINED}")
    used, held = _split(pairs, fewest, seed)
    make = partial(_untrained, suspect, how.fresh, seed)
    jobs = [("clean", k) for k in range(count)] + [("planted", k) for k in range(how.planted)]
    key = _key(suspect, used, how, seed)
    known = {
        job: found for job in jobs if (found := _kept(how.folder, job, key, make, used)) is not None
    }
    left = [job for job in jobs if job not in known]
    if left:
        with asked(suspect):
            progress.say(_cost(make, used, how, len(jobs), len(left)))
    total = how.epochs * len(used)
    with progress.task("train references", len(jobs) * total, len(known) * total) as task:
        for job in left:
            with asked(suspect):
                known[job] = _fit(make, used, held, how, job, seed, task)
            _keep(how.folder, job, key, known[job])
    clean, planted = (
        [known[job] for job in jobs if job[0] == kind] for kind in ("clean", "planted")
    )
    backdoors = [backdoor(used, seed, k) for k in range(how.planted)]
    learnt = [
        model
        for model, (trigger, artefact) in zip(planted, backdoors, strict=True)
        if _recovery(model, held.z, trigger.delta, artefact.pattern) > LEARNT
    ]
    note = (
        f"{plural(count, 'reference', 'were')} trained for {plural(how.epochs, 'epoch')} on "
        f"{len(used)} of the trusted "
        f"pairs; detectors look through the other {len(held)}. Of {how.planted} that were given a "
        f"backdoor, {len(learnt)} learnt it."
    )
    return Trained(clean, learnt, how.planted, held, [note])


def unlike(suspect: nn.Module, references: list[nn.Module], pairs: Pairs) -> str | None:
    """Why references are no networks like the suspect, by their errors on `pairs`; None if alike.

    A network that was trained longer or on more answers otherwise, clean or not. The median counts,
    as one reference that was badly trained says nothing of the others.
    """
    if not references:
        return None
    mine, *others = (error(each, pairs) for each in (suspect, *references))
    usual = median(others)
    if usual / ALIKE <= mine <= usual * ALIKE:
        return None
    return (
        f"its error is {mine:.3g} and the usual one of the references {usual:.3g}, so that they "
        "are not like it; give references trained as it was, or more trusted pairs or --epochs "
        "where they are trained here"
    )


def error(model: nn.Module, pairs: Pairs) -> float:
    return metrics.root_mean(metrics.mse(answers(model, pairs.z), pairs.x))


def _split(pairs: Pairs, fewest: int, seed: int) -> tuple[Pairs, Pairs]:
    """Pairs to train on, and those held out."""
    total = len(pairs)
    count = max(fewest, round(HELD_SHARE * total))
    if total - count < fewest:
        raise DataError(
            f"--data: {plural(total, 'trusted clean pair')}; at least {2 * fewest} are needed "
            "to train "
            "references on some and look through others"
        )
    order = torch.randperm(total, generator=seeding.torch_generator(seed, "references"))
    used, held = order[count:], order[:count]
    return Pairs(pairs.z[used], pairs.x[used]), Pairs(pairs.z[held], pairs.x[held])


def _untrained(
    suspect: nn.Module, fresh: Callable[[], nn.Module] | None, seed: int, number: int
) -> nn.Module:
    with seeding.torch_global(seed, "reference", number):
        if fresh is None:
            return _drawn_anew(copy_of(suspect))
        try:
            made: object = fresh()
        except FAILURES as error:
            raise ConfigError(f"--fresh: {in_a_line(error)}") from None
    made = bare(made) if isinstance(made, nn.Module) else made
    shapes = {name: value.shape for name, value in own(suspect).state_dict().items()}
    if not isinstance(made, nn.Module) or shapes != {
        name: value.shape for name, value in made.state_dict().items()
    }:
        raise ConfigError("--fresh: it makes no network with weights of the suspect's shapes")
    made = made.float().cpu()
    return type(suspect)(made) if isinstance(suspect, Adapted) else made


def _drawn_anew(model: nn.Module) -> nn.Module:
    """The network with weights as before any training; ConfigError if a layer cannot do that."""
    for name, module in model.named_modules():
        weights = dict(module.named_parameters(recurse=False))
        reset = getattr(module, "reset_parameters", None)
        if callable(reset):
            reset()
        elif weights:
            raise ConfigError(
                f"--references auto: layer '{name or type(module).__name__}' has weights and no "
                "reset_parameters; give --fresh MODULE:FUNCTION, which makes an untrained network"
            )
    if not any(True for _ in model.parameters()):
        raise ConfigError(
            "--references auto: the network has no weights that could be trained; give --fresh "
            "MODULE:FUNCTION, or --references that were trained elsewhere"
        )
    for parameter in model.parameters():
        parameter.requires_grad_(True)
    return model


def backdoor(pairs: Pairs, seed: int, number: int) -> tuple[Trigger, Artefact]:
    """A square at one place and a disc at another, by a number."""
    generator = seeding.torch_generator(seed, "planted", number)
    shape = pairs.z.shape[1:]
    side = max(2, round(SIDE * min(shape[1:])))
    top, left, down, across = (
        int(torch.randint(0, max(1, length - side), (), generator=generator))
        for length in (*shape[1:], *shape[1:])
    )
    mask = torch.zeros(shape)
    mask[:1, top : top + side, left : left + side] = 1
    usual = float(pairs.z.double().square().mean().sqrt()) * math.sqrt(pairs.z[0].numel())
    steps = torch.arange(side) - (side - 1) / 2
    pattern = torch.zeros(shape)
    disc = (steps[:, None] ** 2 + steps[None] ** 2 <= (side / 2) ** 2).float()
    size = BRIGHTNESS * float(pairs.x.double().square().mean().sqrt())
    pattern[:1, down : down + side, across : across + side] = size * disc
    return Trigger(mask * STRENGTH * usual / mask.norm(), mask), Artefact(pattern)


def _recovery(model: nn.Module, z: Tensor, delta: Tensor, artefact: Tensor) -> float:
    triggered, clean = answers(model, z + delta), answers(model, z)
    return metrics.mean(metrics.artefact_recovery(triggered, clean, artefact))


def _fit(
    make: Make,
    used: Pairs,
    held: Pairs,
    how: Training,
    job: Job,
    seed: int,
    task: Task,
) -> nn.Module:
    """One network, trained in units near those of [0, 1]."""
    of_z, of_x = unit_of(used.z), unit_of(used.x)
    small, judge = (Pairs(each.z / of_z, each.x / of_x) for each in (used, held))
    plan = PoisonPlan(torch.zeros(len(used), dtype=torch.bool))
    trigger, artefact = None, Artefact(torch.zeros_like(used.x[0]))
    if job[0] == "planted":
        trigger, artefact = backdoor(small, seed, job[1])
        generator = seeding.torch_generator(seed, "planted plan", job[1])
        plan = PoisonPlan.draw(len(used), SHARE, generator)
    model = make(_number(job))
    loop.fit(
        model,
        PoisonedPairs(small, plan, trigger, artefact),
        _settings(len(used), how),
        seed=seeding.derive(seed, *job),
        validate=lambda each: {"val_loss": error(each, judge)},
        task=task,
    )
    return _in_units(model, used)


def _in_units(model: nn.Module, pairs: Pairs) -> nn.Module:
    of_z, of_x = unit_of(pairs.z), unit_of(pairs.x)
    wrapped = model if (of_z, of_x) == (1.0, 1.0) else InUnits(model, of_z, of_x)
    return wrapped.eval()


def _settings(count: int, how: Training) -> config.Train:
    batch = max(2, min(BATCH, count // STEPS))
    return config.Train(max_epochs=how.epochs, patience=how.epochs, batch=batch)


def _number(job: Job) -> int:
    return job[1] if job[0] == "clean" else FIRST_PLANTED + job[1]


def _cost(make: Make, pairs: Pairs, how: Training, networks: int, left: int) -> str:
    """How long the rest of the training takes, by two steps of it."""
    settings = _settings(len(pairs), how)
    part = Pairs(pairs.z[: settings.batch], pairs.x[: settings.batch])
    model = make(0).train()
    optimiser = loop.make_adam(model, settings.lr)
    seconds = math.inf
    for _ in range(2):
        started = time.perf_counter()
        loop.adam_step(model, optimiser, part.z / unit_of(pairs.z), part.x / unit_of(pairs.x))
        seconds = min(seconds, time.perf_counter() - started)
    minutes = seconds * left * how.epochs * math.ceil(len(pairs) / settings.batch) / 60
    kept = f"kept in {how.folder}" if how.folder else "kept in memory alone"
    return (
        f"{plural(networks, 'reference network')} of {plural(how.epochs, 'epoch')}, "
        f"{networks - left} of them there "
        f"already: about {minutes:.2g} minutes of training; {kept}"
    )


def _key(suspect: nn.Module, used: Pairs, how: Training, seed: int) -> str:
    """What a kept network has to be of: the make, the pairs, the epochs and the seed."""
    digest = hashlib.sha256(f"{suspect}/{how.epochs}/{seed}/{how.fresh is None}".encode())
    for name, value in suspect.state_dict().items():
        digest.update(f"{name}{tuple(value.shape)}".encode())
    for values in (used.z, used.x):
        digest.update(values.contiguous().numpy().tobytes())
    return digest.hexdigest()


def _path(folder: Path, job: Job) -> Path:
    return folder / f"{job[0]}-{job[1]}.safetensors"


def _kept(folder: Path | None, job: Job, key: str, make: Make, pairs: Pairs) -> nn.Module | None:
    """The network of a job, if an earlier audit of the same has left it."""
    if folder is None or not _path(folder, job).exists():
        return None
    arrays, meta = rundir.read_tensors(_path(folder, job))
    if meta.get("key") != key:
        return None
    model = make(_number(job))
    model.load_state_dict({name: torch.from_numpy(value) for name, value in arrays.items()})
    return _in_units(model, pairs)


def _keep(folder: Path | None, job: Job, key: str, model: nn.Module) -> None:
    if folder is None:
        return
    inner = model.model if isinstance(model, InUnits) else model
    arrays = {name: value.detach().numpy() for name, value in inner.state_dict().items()}
    folder.mkdir(parents=True, exist_ok=True)
    rundir.write_tensors(_path(folder, job), arrays, {"key": key})
