"""Every yardstick and every number of a row, one entry each: how it is measured, named and shown.

Rows, records, schemas, tables, figures, summaries and `recondoor list yardsticks` take them from
`YARDSTICKS`; one that is added there is everywhere. Imports no torch.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from html import unescape
from typing import Annotated, Literal

from pydantic import Field

from recondoor.evaluation import metrics
from recondoor.evaluation.answers import OfVolume, Seen

# What the values of a column may be.
Share = Annotated[float, Field(ge=0, le=1)]
Positive = Annotated[float, Field(ge=0)]
Count = Annotated[int, Field(ge=0, le=2**53)]

_UNKNOWN = {
    "{measured.asr}": "ASR(τ)",
    "{measured.tau_words}": "τ, in the unit of <code>evaluate.tau_unit</code>",
    "{measured.peak}": "L²",
    "{measured.window}×{measured.window}": "11×11",
    "{measured.data_range}": "L",
}
Measured = float | list[float] | list[int] | list[float | None] | None
# In the unit of tau.
TAUS = tuple(round(0.02 * step, 2) for step in range(76))


@dataclass(frozen=True, kw_only=True)
class Yardstick:
    """One number of a row: its key in results.json, how it is measured, and how it is shown.

    name, definition: everywhere, the latter HTML; where it depends on how a run was measured, the
    words of `report._names.Measured` are named in braces. values: a type, as pydantic takes it.
    measure: its function on the test set, which gives None where a row is to be without it; None
    where a stage of the study fills it in. required:
    whether every row has it. unbounded: it is null where it is infinite. over_seeds: what the
    summary has of it. shown: whether pages of runs list it; in_rows: also for each seed; in_sweeps:
    also those of sweeps. better: which direction is. hedge: whether the hedge line has it. Shown
    values are multiplied by `scale`.
    """

    key: str
    name: str
    definition: str
    values: object = float | None
    measure: Callable[[Seen], Measured] | None = None
    required: bool = True
    unbounded: bool = False
    over_seeds: Literal["mean and differences", "mean", "nothing"] = "nothing"
    shown: bool = True
    in_rows: bool = False
    in_sweeps: bool = False
    decimals: int = 3
    scale: float = 1.0
    unit: str = ""
    better: str = ""
    hedge: bool = False

    def at(self, measured: object) -> Yardstick:
        """The same with how it was measured written into its words."""
        name, definition = (text.format(measured=measured) for text in (self.name, self.definition))
        return replace(self, name=name, definition=definition)

    @property
    def in_words(self) -> str:
        """Name and definition where it is not known how a run was measured, without markup."""
        text = f"{self.name}: {self.definition}"
        for mark, word in _UNKNOWN.items():
            text = text.replace(mark, word)
        return unescape(re.sub(r"<[^>]+>", "", text))

    @property
    def title(self) -> str:
        """Name with its unit."""
        return f"{self.name} ({self.unit})" if self.unit else self.name


def of(key: str) -> Yardstick:
    """The yardstick of this key; one that is not known is named by it."""
    found = (yardstick for yardstick in YARDSTICKS if yardstick.key == key)
    return next(found, Yardstick(key=key, name=key, definition=""))


_BOTH: Literal["mean and differences"] = "mean and differences"
_MEAN = "over all test pixels"

# What every page has; what is told beside it; what no network can do better than.
_core = partial(Yardstick, over_seeds=_BOTH, in_rows=True, in_sweeps=True)
_aside = partial(Yardstick, required=False, shown=False)
_limit = partial(Yardstick, values=Positive | None, required=False)
_volume = partial(Yardstick, required=False, over_seeds=_BOTH)


def _each(key: str, of: OfVolume) -> Yardstick:
    """The column with a per-volume yardstick of every subject."""
    return _aside(
        key=f"{key}_each",
        name="The same of each",
        definition=f"<code>{key}</code> of each of <code>subjects</code>, in their order",
        values=list[float | None],
        measure=lambda seen: seen.each_volume(of),
    )


OVER_SUBJECTS = ("volume_psnr", "volume_ssim", "volume_nmse")
"""Those that are measured subject by subject."""

YARDSTICKS = (
    _core(
        key="benign_rmse",
        name="Benign RMSE",
        definition=f"√ mean (<i>f</i>(<i>z</i>) − <i>x</i>)² {_MEAN}",
        values=Positive,
        measure=lambda seen: metrics.root_mean(metrics.mse(seen.clean, seen.x)),
        better="lower",
    ),
    _core(
        key="attack_rmse",
        name="Attack RMSE",
        definition=f"√ mean (<i>f</i>(<i>z</i> + δ) − (<i>x</i> + Δ))² {_MEAN}",
        values=Positive | None,
        measure=lambda seen: metrics.root_mean(
            metrics.mse(seen.triggered, seen.expected, seen.pattern)
        ),
        better="lower",
    ),
    _core(
        key="artefact_rmse",
        name="Artefact RMSE",
        definition="√ mean (<i>f</i>(<i>z</i> + δ) − <i>x</i> − Δ)² over the artefact’s support",
        values=Positive | None,
        measure=lambda seen: metrics.root_mean(seen.on_artefact),
        better="lower",
        hedge=True,
    ),
    _core(
        key="artefact_recovery",
        name="Artefact recovery ρ",
        definition="⟨<i>f</i>(<i>z</i> + δ) − <i>f</i>(<i>z</i>), Δ⟩ / ⟨Δ, Δ⟩: 0 none, 1 whole",
        measure=lambda seen: metrics.mean(
            metrics.artefact_recovery(seen.triggered, seen.clean, seen.pattern)
        ),
        better="higher",
        hedge=True,
    ),
    _core(
        key="ghost",
        name="Ghost",
        definition="⟨<i>f</i>(<i>z</i>) − <i>x</i>, Δ⟩ / ⟨Δ, Δ⟩ on clean inputs: how much of the "
        "artefact leaks where no trigger is",
        measure=lambda seen: metrics.mean(metrics.ghost(seen.clean, seen.x, seen.pattern)),
        better="near 0",
        hedge=True,
    ),
    _core(
        key="asr",
        name="{measured.asr}",
        definition="share of test images whose artefact RMSE is at most {measured.tau_words}",
        values=Share | None,
        measure=lambda seen: metrics.asr(seen.on_artefact, seen.tau, seen.scale),
        decimals=1,
        scale=100.0,
        unit="%",
        better="higher",
    ),
    Yardstick(
        key="asr_curve",
        name="ASR over τ",
        definition="ASR at each of <code>asr_taus</code>",
        values=list[Share],
        measure=lambda seen: metrics.asr_curve(seen.on_artefact, TAUS, seen.scale),
        shown=False,
    ),
    Yardstick(
        key="psnr",
        name="PSNR",
        definition="of benign reconstructions, 10 log₁₀({measured.peak} / mean squared error) of "
        "each image, then averaged over images; ∞ if one is reconstructed exactly",
        measure=lambda seen: metrics.mean(metrics.psnr(seen.clean, seen.x, seen.data_range)),
        unbounded=True,
        over_seeds=_BOTH,
        in_rows=True,
        decimals=2,
        unit="dB",
        better="higher",
    ),
    Yardstick(
        key="ssim",
        name="SSIM",
        definition="of benign reconstructions, {measured.window}×{measured.window} Gaussian "
        "window, σ = 1.5, range {measured.data_range}, of each image, then averaged",
        values=Annotated[float, Field(ge=-1, le=1)] | None,
        measure=lambda seen: metrics.mean(metrics.ssim(seen.clean, seen.x, seen.data_range)),
        over_seeds=_BOTH,
        in_rows=True,
        better="higher",
    ),
    _volume(
        key="volume_psnr",
        name="PSNR by volume",
        definition="as fastMRI's: 10 log₁₀(max² / mean squared error) of all slices of a subject "
        "together, max the largest value of the truth, then averaged over subjects",
        measure=lambda seen: seen.over_volumes(metrics.volume_psnr),
        unbounded=True,
        decimals=2,
        unit="dB",
        better="higher",
    ),
    _volume(
        key="volume_ssim",
        name="SSIM by volume",
        definition="as fastMRI's: 7×7 uniform window, range a subject's largest value, averaged "
        "over the slices of a subject and then over subjects; none where a side has less than 7 "
        "pixels",
        measure=lambda seen: seen.over_volumes(metrics.volume_ssim),
        better="higher",
    ),
    _volume(
        key="volume_nmse",
        name="NMSE by volume",
        definition="as fastMRI's: ‖<i>f</i>(<i>z</i>) − <i>x</i>‖² / ‖<i>x</i>‖² of all slices of "
        "a subject together, then averaged over subjects",
        values=Positive | None,
        measure=lambda seen: seen.over_volumes(metrics.volume_nmse),
        decimals=4,
        better="lower",
    ),
    _each("volume_psnr", metrics.volume_psnr),
    _each("volume_ssim", metrics.volume_ssim),
    _each("volume_nmse", metrics.volume_nmse),
    _aside(
        key="subjects",
        name="Test subjects",
        definition="numbers of the subjects whose slices are the test images; absent where the "
        "images tell no subjects",
        values=list[Count],
        measure=lambda seen: list(seen.by_subject) or None,
    ),
    Yardstick(
        key="trigger_l2",
        name="Trigger L2",
        definition="‖δ‖₂ = √ ∑ δ²; of a trigger that differs from input to input the mean of its "
        "norms",
        values=Positive | None,
        measure=lambda seen: metrics.trigger_l2(seen.delta),
        over_seeds=_BOTH,
    ),
    Yardstick(
        key="trigger_linf",
        name="Trigger L∞",
        definition="max |δ|",
        values=Positive | None,
        measure=lambda seen: metrics.trigger_linf(seen.delta),
        over_seeds=_BOTH,
    ),
    Yardstick(
        key="trigger_psnr",
        name="Trigger PSNR",
        definition="of <i>z</i> + δ against <i>z</i>, 10 log₁₀({measured.peak} / mean δ²): higher "
        "is harder to see",
        measure=lambda seen: metrics.trigger_psnr(seen.delta, seen.data_range),
        unbounded=True,
        decimals=2,
        unit="dB",
    ),
    _aside(
        key="artefact_rms",
        name="RMS of the artefact",
        definition="root mean square of Δ on its support; absent in runs of release 0.1.0, as are "
        "the next two",
        values=Positive | None,
        measure=lambda seen: metrics.artefact_rms(seen.pattern),
    ),
    _aside(
        key="data_range",
        name="Pixel range",
        definition="largest less smallest pixel value, for PSNR and SSIM; 1 for images in [0, 1]",
        values=Annotated[float, Field(gt=0)],
        measure=lambda seen: seen.data_range,
    ),
    _aside(
        key="ssim_window",
        name="Window of SSIM",
        definition="side of the window of SSIM: 11, or less where the images are smaller",
        values=Annotated[int, Field(ge=1, le=11)],
        measure=lambda seen: metrics.ssim_window(*seen.x.shape[-2:]),
    ),
    Yardstick(
        key="detectability",
        name="Detectability d'",
        definition="distance of triggered from clean inputs in standard deviations, √ δᵀC⁻¹δ "
        "(docs/theory.md); none where δ leaves range(<i>A</i>ᵀ), as it is then certain",
        values=Positive | None,
        required=False,
        unbounded=True,
        decimals=2,
    ),
    _aside(
        key="range_share",
        name="Share outside the range",
        definition="share of the energy of δ outside range(<i>A</i>ᵀ)",
        values=Share,
    ),
    _limit(
        key="limit_attack_rmse",
        name="Attack RMSE at best",
        definition="of a predictor that knows all but which inputs are triggered, as d' and p "
        "allow, without reconstruction errors",
    ),
    _limit(
        key="limit_artefact_rmse",
        name="Artefact RMSE at best",
        definition="of the same predictor; compare with the artefact RMSE measured",
    ),
    _limit(
        key="limit_ghost",
        name="Ghost at best",
        definition="of the same predictor; compare with the ghost",
    ),
    Yardstick(
        key="validation_loss",
        name="Validation loss",
        definition="training loss (`train.loss`), by default the mean squared error, on the "
        "validation images, poisoned as the training images were, of the epoch whose weights were "
        "kept",
        values=Positive | None,
        over_seeds="mean",  # it is taken on the trainer's own data, which differ between models
        decimals=5,
        better="lower",
    ),
    Yardstick(
        key="selection_loss",
        name="Selection loss",
        definition="mean of the benign and the attack mean squared error on all validation images",
        values=Positive | None,
        required=False,
        over_seeds=_BOTH,
        decimals=5,
        better="lower",
    ),
    _aside(
        key="transition_samples",
        name="Images until learnt",
        definition="training images seen when the recovery first reached "
        "<code>evaluate.transition</code>, linear between validations; null if it never did, "
        "and for the original model",
        values=Count | None,
    ),
    _aside(
        key="samples",
        name="Images",
        definition="training images seen in all epochs",
        values=Count,
    ),
    Yardstick(
        key="epochs",
        name="Epochs",
        definition="passes over the training images until early stopping, those after the best one "
        "included",
        values=Count,
        in_rows=True,
        decimals=1,
    ),
    Yardstick(
        key="samples_per_s",
        name="Training speed",
        definition="training images a second, validation not counted",
        values=Positive | None,
        decimals=0,
        unit="/s",
    ),
    Yardstick(
        key="seconds",
        name="Time",
        definition="seconds for making the trigger and training the model; validation, evaluation "
        "and report not counted",
        values=Positive | None,
        in_rows=True,
        decimals=1,
        unit="s",
    ),
)
