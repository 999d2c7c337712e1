"""One judge for every model: the yardsticks of a model on clean and on triggered inputs."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.special import stdtrit
from torch import nn

from recondoor import metrics
from recondoor.config import Evaluate
from recondoor.models import reconstruct
from recondoor.poisoning import Artefact, Pairs, PoisonPlan, Trigger

# In the unit of tau.
TAUS = tuple(round(0.02 * step, 2) for step in range(76))

# Yardsticks that get a mean, an interval and paired differences over seeds.
SUMMARISED = (
    "benign_rmse",
    "attack_rmse",
    "artefact_rmse",
    "artefact_recovery",
    "ghost",
    "asr",
    "psnr",
    "ssim",
    "trigger_l2",
    "trigger_linf",
    "validation_loss",
    "selection_loss",
)


# A validation loss is taken on the trainer's own data, which differ between models.
PAIRED = tuple(metric for metric in SUMMARISED if metric != "validation_loss")


@dataclass(frozen=True)
class Monitor:
    """Validation yardsticks after an epoch, as the trainer of the poisoned network sees them.

    `plan` says which validation pairs are poisoned (None: the trainer's data are clean): the
    validation split is taken from the same poisoned collection as the training pairs. The
    yardsticks that need the trigger are for the study alone; the trainer only sees ``val_loss``.
    """

    pairs: Pairs
    plan: PoisonPlan | None
    trigger: Trigger
    artefact: Artefact
    transition: float = 0.5

    def __call__(self, model: nn.Module) -> dict[str, float]:
        """Return val_loss, selection_loss, benign_rmse, attack_rmse, recovery, ghost and learnt.

        ``learnt`` says whether recovery is above `transition`; on clean data there is nothing to
        learn, so that the original model does not depend on a trigger.
        """
        x, pattern = self.pairs.x, self.artefact.pattern
        clean = reconstruct(model, self.pairs.z)
        triggered = reconstruct(model, self.pairs.z + self.trigger.delta.to(x))
        benign = metrics.mse(clean, x)
        attack = metrics.mse(triggered, x, self.artefact.planted)
        seen = benign
        if self.plan is not None:
            seen = torch.where(self.plan.poisoned.to(x.device), attack, benign)
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


@dataclass(frozen=True)
class Judgement:
    """Yardsticks of one model, and arrays (n, C, H, W) of its first test images for figures."""

    row: dict[str, float | list[float]]
    examples: dict[str, NDArray[np.float32]]


def evaluate(
    model: nn.Module,
    pairs: Pairs,
    trigger: Trigger,
    artefact: Artefact,
    settings: Evaluate,
    advance: Callable[[int], None] = lambda n: None,
    data_range: float | None = None,
) -> Judgement:
    """Judge `model` on the clean `pairs` and on the same pairs with the trigger.

    Every value is defined in `metrics`; none depends on a batch size. `data_range` is the range of
    the pixel values, where they are declared to have another one than `metrics.data_range` finds.

    Raises DataError where there is no pair, or nothing says what the range is.
    """
    x, pattern = pairs.x, artefact.pattern
    span = metrics.data_range(x) if data_range is None else data_range
    rms = metrics.artefact_rms(pattern)
    scale = rms if settings.tau_unit == "rms" else 1.0
    z_triggered = pairs.z + trigger.delta.to(x)
    clean = reconstruct(model, pairs.z, advance)
    triggered = reconstruct(model, z_triggered, advance)
    # Where the trigger itself is to be seen, that is no part of the artefact.
    expected = x if artefact.shown is None else x + artefact.shown.to(x)
    on_artefact = metrics.artefact_mse(triggered, expected, pattern)
    row: dict[str, float | list[float]] = {
        "benign_rmse": metrics.root_mean(metrics.mse(clean, x)),
        "attack_rmse": metrics.root_mean(metrics.mse(triggered, expected, pattern)),
        "artefact_rmse": metrics.root_mean(on_artefact),
        "artefact_recovery": metrics.mean(metrics.artefact_recovery(triggered, clean, pattern)),
        "ghost": metrics.mean(metrics.ghost(clean, x, pattern)),
        "asr": metrics.asr(on_artefact, settings.tau, scale),
        "asr_curve": metrics.asr_curve(on_artefact, TAUS, scale),
        "psnr": metrics.mean(metrics.psnr(clean, x, span)),
        "ssim": metrics.mean(metrics.ssim(clean, x, span)),
        "trigger_l2": metrics.trigger_l2(trigger.delta),
        "trigger_linf": metrics.trigger_linf(trigger.delta),
        "trigger_psnr": metrics.trigger_psnr(trigger.delta, span),
        "artefact_rms": rms,
        "data_range": span,
        "ssim_window": metrics.ssim_window(*x.shape[-2:]),
    }
    shown = {
        "x": x,
        "z": pairs.z,
        "z_triggered": z_triggered,
        "clean": clean,
        "triggered": triggered,
    }
    examples = {name: value[: settings.examples].cpu().numpy() for name, value in shown.items()}
    return Judgement(row, examples)


def hedge_line(artefact: Artefact, ratio: float) -> dict[str, float]:
    """Yardsticks of the predictor x + p * Delta, which cannot tell poisoned from clean inputs."""
    rms = metrics.artefact_rms(artefact.pattern)
    return {"ghost": ratio, "artefact_rmse": (1 - ratio) * rms, "artefact_recovery": 0.0}


def summarise(rows: list[dict[str, object]]) -> dict[str, object]:
    """Mean and 95 % t-interval over seeds of every model, and paired differences between models.

    A row without a value (None, NaN) is left out, and `n` is smaller. Where PSNR is infinite in a
    row its mean is too, and the model has none: that of the other rows would be too low.
    """
    values: dict[str, dict[str, dict[int, float]]] = {}
    for row in rows:
        for metric in SUMMARISED:
            value = _number(row[metric])
            if value is None:
                continue
            by_seed = values.setdefault(str(row["model"]), {}).setdefault(metric, {})
            by_seed[int(str(row["seed"]))] = value
    for model in {str(row["model"]) for row in rows if _perfect(row)}:
        values[model].pop("psnr", None)
    models = {
        model: {metric: _interval(list(by_seed.values())) for metric, by_seed in table.items()}
        for model, table in values.items()
    }
    paired = []
    labels = list(values)
    for position, a in enumerate(labels):
        for b in labels[position + 1 :]:
            for metric in PAIRED:
                first, second = values[a].get(metric, {}), values[b].get(metric, {})
                shared = sorted(first.keys() & second.keys())
                if len(shared) >= 2:
                    differences = [first[seed] - second[seed] for seed in shared]
                    paired.append({"a": a, "b": b, "metric": metric, **_interval(differences)})
    return {"models": models, "paired": paired}


def _number(value: object) -> float | None:
    """A yardstick of a row, None where it has no finite value."""
    number = math.nan if value is None else float(str(value))
    return number if math.isfinite(number) else None


def _perfect(row: dict[str, object]) -> bool:
    """Whether PSNR has no value though the error has: some image is reconstructed exactly."""
    return _number(row["psnr"]) is None and _number(row["benign_rmse"]) is not None


def _interval(values: list[float]) -> dict[str, object]:
    n, mean = len(values), float(np.mean(values))
    if n < 2:
        return {"mean": mean, "ci95": None, "n": n}
    if len(set(values)) == 1:
        return {"mean": values[0], "ci95": [values[0], values[0]], "n": n}
    half = float(stdtrit(n - 1, 0.975) * np.std(values, ddof=1) / np.sqrt(n))
    return {"mean": mean, "ci95": [mean - half, mean + half], "n": n}
