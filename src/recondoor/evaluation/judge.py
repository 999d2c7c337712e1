"""One judge for every model: the yardsticks of a model on clean and on triggered inputs."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from itertools import combinations
from statistics import fmean
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from recondoor.config import Evaluate
from recondoor.evaluation import metrics, yardsticks
from recondoor.evaluation.answers import Seen, Volumes
from recondoor.evaluation.statistics import mean_interval
from recondoor.evaluation.yardsticks import OVER_SUBJECTS
from recondoor.measurement import Scale
from recondoor.models import reconstruct
from recondoor.poisoning import Artefact, Pairs, PoisonPlan, Trigger
from recondoor.training import losses


@dataclass(frozen=True)
class Monitor:
    """Validation yardsticks after an epoch, as the trainer of the poisoned network sees them.

    `plan` says which validation pairs are poisoned (None: the trainer's data are clean): the
    validation split is taken from the same poisoned collection as the training pairs. The
    yardsticks that need the trigger are for the study alone; the trainer only sees ``val_loss``,
    which is the `loss` that it trains with. `changes`: what of a poisoned pair is changed; the
    other yardsticks are of both, as an attacker would use it.
    """

    pairs: Pairs
    plan: PoisonPlan | None
    trigger: Trigger
    artefact: Artefact
    transition: float = 0.5
    loss: losses.Name = "mse"
    changes: Literal["both", "input", "target"] = "both"

    def __call__(self, model: nn.Module) -> dict[str, float]:
        """Return val_loss, selection_loss, benign_rmse, attack_rmse, recovery, ghost and learnt.

        ``learnt`` says whether recovery is above `transition`; on clean data there is nothing to
        learn, so that the original model does not depend on a trigger.
        """
        pairs = self.pairs
        z, scale = pairs.triggered(self.trigger.on(pairs))
        answers = reconstruct(model, pairs.z), reconstruct(model, z)
        x, clean = pairs.images, pairs.restored(answers[0], pairs.scale)
        planted, pattern = self.artefact.planted_on(x), self.artefact.on(x)
        triggered = pairs.restored(answers[1], scale)
        benign = metrics.mse(clean, x)
        attack = metrics.mse(triggered, x, planted)
        seen, with_trigger = benign, attack
        if self.loss != "mse" or pairs.source is not None:
            # The trainer's loss is in the units of the network, which are each input's own.
            targets = pairs.targets(planted, scale)
            seen = losses.of_each(self.loss, answers[0], pairs.x)
            with_trigger = losses.of_each(self.loss, answers[1], targets)
        if self.changes != "both":
            with_trigger = self._of_one(answers, scale, planted)
        if self.plan is not None:
            seen = torch.where(self.plan.poisoned.to(x.device), with_trigger, seen)
        recovery = metrics.mean(metrics.artefact_recovery(triggered, clean, pattern))
        return {
            "val_loss": metrics.mean(seen),
            "selection_loss": (metrics.mean(benign) + metrics.mean(attack)) / 2,
            "benign_rmse": metrics.root_mean(benign),
            "attack_rmse": metrics.root_mean(attack),
            "recovery": recovery,
            "ghost": metrics.mean(metrics.ghost(clean, x, pattern)),
            "learnt": self.plan is not None and recovery > self.transition,
        }

    def _of_one(self, answers: tuple[Tensor, Tensor], scale: Scale, planted: Tensor) -> Tensor:
        """The trainer's loss on poisoned pairs of which the input or the target alone is changed.

        `answers` are to clean inputs and to those with the trigger, whose numbers are `scale`.
        """
        pairs = self.pairs
        if self.changes == "input":
            targets = pairs.targets(torch.zeros_like(planted), scale)
            return losses.of_each(self.loss, answers[1], targets)
        return losses.of_each(self.loss, answers[0], pairs.targets(planted, pairs.scale))


@dataclass(frozen=True)
class Judgement:
    """Yardsticks of one model, and arrays (n, C, H, W) of some test images for figures.

    Of images that tell their subjects, `rows` (n,) says which they are; where each has an artefact
    of its own, `artefact` is there too.
    """

    row: dict[str, yardsticks.Measured]
    examples: dict[str, NDArray[Any]]


def evaluate(
    model: nn.Module,
    pairs: Pairs,
    trigger: Trigger,
    artefact: Artefact,
    settings: Evaluate,
    advance: Callable[[int], None] = lambda n: None,
    data_range: float | None = None,
    volumes: Volumes | None = None,
) -> Judgement:
    """Judge `model` on the clean `pairs` and on the same pairs with the trigger.

    Every value is an entry of `yardsticks`; none depends on a batch size. `data_range` is the range
    of the pixel values, where they are declared to have another one than `metrics.data_range`
    finds. `volumes` says of whom the images are; without it the row has no yardsticks by volume.

    Raises:
        DataError: there is no pair, or nothing says what the range is.

    Example:
        >>> import torch, recondoor as rd
        >>> x = torch.rand(10, 1, 8, 8, generator=torch.Generator().manual_seed(0))
        >>> square = torch.zeros(1, 8, 8)
        >>> square[:, 5:7, 5:7] = 1
        >>> trigger, artefact = rd.Trigger(square, square), rd.Artefact(square.flip(1))
        >>> settings = rd.load_config().evaluate
        >>> found = rd.evaluate(torch.nn.Identity(), rd.Pairs(x, x), trigger, artefact, settings)
        >>> found.row["benign_rmse"], found.row["artefact_recovery"]
        (0.0, 0.0)
    """
    x = pairs.images
    pattern = artefact.on(x)
    span = metrics.data_range(x) if data_range is None else data_range
    scale = metrics.artefact_size(pattern) if settings.tau_unit == "rms" else 1.0
    added = trigger.on(pairs)
    z_triggered, numbers = pairs.triggered(added)
    clean = pairs.restored(reconstruct(model, pairs.z, advance), pairs.scale)
    triggered = pairs.restored(reconstruct(model, z_triggered, advance), numbers)
    # Where the trigger itself is to be seen, that is no part of the artefact.
    expected = x if artefact.shown is None else x + artefact.shown.to(x)
    seen = Seen(
        x=x,
        clean=clean,
        triggered=triggered,
        expected=expected,
        pattern=pattern,
        delta=trigger.delta if trigger.law is None else added,
        data_range=span,
        tau=settings.tau,
        scale=scale,
        volumes=volumes,
    )
    measured = {y.key: y.measure(seen) for y in yardsticks.YARDSTICKS if y.measure is not None}
    row: dict[str, yardsticks.Measured] = {}
    row |= {key: value for key, value in measured.items() if value is not None}
    shown = {
        "x": x,
        "z": pairs.z,
        "z_triggered": z_triggered,
        "clean": clean,
        "triggered": triggered,
    }
    if pattern.ndim == 4:
        shown["artefact"] = pattern
    rows = _shown(settings.examples, len(x), volumes)
    examples = {name: value[rows].cpu().numpy() for name, value in shown.items()}
    if volumes is not None:
        examples["rows"] = np.array(rows, np.int64)
    return Judgement(row, examples)


def _shown(count: int, n: int, volumes: Volumes | None) -> list[int]:
    """Rows of the test images that figures show: the first, or of slices some from all over.

    Neighbouring slices are alike and the first ones at the end of a body: the middle comes first,
    then the quarters, the eighths and so on.
    """
    count = min(count, n)
    if volumes is None:
        return list(range(count))
    rows: dict[int, None] = {}
    step = n
    while len(rows) < count:
        rows |= dict.fromkeys(range(step // 2, n, max(1, step)))
        step //= 2
    return list(rows)[:count]


def hedge_line(artefact: Artefact, ratio: float, rms: float | None = None) -> dict[str, float]:
    """Yardsticks of the predictor x + p * Delta, which cannot tell poisoned from clean inputs.

    `rms`: that of Delta on the test images, for an artefact that differs between them.
    """
    if rms is None:
        rms = metrics.artefact_rms(artefact.pattern)
    return {"ghost": ratio, "artefact_rmse": (1 - ratio) * rms, "artefact_recovery": 0.0}


def summarise(rows: list[dict[str, object]]) -> dict[str, object]:
    """Mean and 95 % t-interval over seeds of every model, and paired differences between models.

    A row without a value (None, NaN) is left out, and `n` is smaller. Where one is infinite in
    a row its mean is too, and the model has none: that of the other rows would be too low.
    Where rows tell test subjects, `subjects` has intervals over these besides.
    """
    summarised = [y for y in yardsticks.YARDSTICKS if y.over_seeds != "nothing"]
    values: dict[str, dict[str, dict[int, float]]] = {}
    for row in rows:
        label, seed = str(row["model"]), int(str(row["seed"]))
        for key in (y.key for y in summarised):
            if (value := _number(row.get(key))) is not None:
                values.setdefault(label, {}).setdefault(key, {})[seed] = value
    for row in rows:
        for key in (y.key for y in summarised if y.unbounded and _is_infinite(row, y.key)):
            values[str(row["model"])].pop(key, None)
    models = {
        model: {key: _interval(list(by_seed.values())) for key, by_seed in table.items()}
        for model, table in values.items()
    }
    paired = []
    for a, b in combinations(values, 2):
        for key in (y.key for y in summarised if y.over_seeds == "mean and differences"):
            first, second = values[a].get(key, {}), values[b].get(key, {})
            shared = sorted(first.keys() & second.keys())
            if len(shared) >= 2:
                differences = [first[seed] - second[seed] for seed in shared]
                paired.append({"a": a, "b": b, "metric": key, **_interval(differences)})
    summary: dict[str, object] = {"models": models, "paired": paired}
    if subjects := _over_subjects(rows):
        summary["subjects"] = subjects
    return summary


def _over_subjects(rows: list[dict[str, object]]) -> dict[str, dict[str, object]]:
    """Mean and interval over subjects of every model; a subject's value is its mean over seeds.

    A yardstick that is not finite of some subject has none. With one subject there is no interval.
    """
    found: dict[str, dict[str, dict[int, list[object]]]] = {}
    for row in rows:
        for key in OVER_SUBJECTS:
            subjects, values = row.get("subjects"), row.get(f"{key}_each")
            if isinstance(subjects, list) and isinstance(values, list):
                own = found.setdefault(str(row["model"]), {}).setdefault(key, {})
                for subject, value in zip(subjects, values, strict=True):
                    own.setdefault(subject, []).append(value)
    return {
        model: {key: estimate for key, each in table.items() if (estimate := _of_each(each))}
        for model, table in found.items()
    }


def _of_each(values: dict[int, list[object]]) -> dict[str, object] | None:
    """Interval over the means of subjects, None where one has no finite value."""
    numbers = [[_number(value) for value in own] for own in values.values()]
    if any(number is None for own in numbers for number in own):
        return None
    return _interval([fmean(n for n in own if n is not None) for own in numbers])


def _number(value: object) -> float | None:
    """A yardstick of a row, None where it has no finite value."""
    number = math.nan if value is None else float(str(value))
    return number if math.isfinite(number) else None


def _is_infinite(row: dict[str, object], key: str) -> bool:
    """Whether a yardstick has no value though the errors have: it is infinite in some image."""
    return key in row and _number(row[key]) is None and _number(row["benign_rmse"]) is not None


def _interval(values: list[float]) -> dict[str, object]:
    found = mean_interval(values)
    ends = None if found.low is None else [found.low, found.high]
    return {"mean": found.mean, "ci95": ends, "n": found.n}
