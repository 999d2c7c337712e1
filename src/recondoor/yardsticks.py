"""Every yardstick and every number of a row, one entry each: how it is measured, named and shown.

Rows, records, schemas, tables, figures, summaries and `recondoor list yardsticks` take them from
`YARDSTICKS`; one that is added there is everywhere. Imports no torch.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field

from recondoor import metrics

if TYPE_CHECKING:
    from torch import Tensor

# What the values of a column may be.
Share = Annotated[float, Field(ge=0, le=1)]
Positive = Annotated[float, Field(ge=0)]
Count = Annotated[int, Field(ge=0, le=2**53)]

# In the unit of tau.
TAUS = tuple(round(0.02 * step, 2) for step in range(76))


@dataclass(frozen=True, kw_only=True)
class Seen:
    """What a model made of the test set, for a yardstick to measure.

    x, clean, triggered, expected: images, reconstructions f(z) and f(z + delta), and what the
    latter should be but for the artefact, each (N, C, H, W). pattern, delta: Delta and the trigger,
    (C, H, W). tau counts in units of `scale`; `data_range` is that of the pixel values.
    """

    x: Tensor
    clean: Tensor
    triggered: Tensor
    expected: Tensor
    pattern: Tensor
    delta: Tensor
    data_range: float
    tau: float
    scale: float

    @cached_property
    def on_artefact(self) -> Tensor:
        """Mean squared error of each image where Delta is not 0, (N,)."""
        return metrics.artefact_mse(self.triggered, self.expected, self.pattern)


@dataclass(frozen=True, kw_only=True)
class Yardstick:
    """One number of a row: its key in results.json, how it is measured, and how it is shown.

    name, definition: in reports and in docs/notation.md, the latter HTML; where it depends on how
    a run was measured, the words of `report._names.Measured` are named in braces. column: what
    docs/results.md and the schema say of it. values: what it may be, a type as pydantic takes it.
    measure: its function on the test set; None where a stage of the study fills it in. required:
    whether every row has it. unbounded: it is null where it is infinite. over_seeds: what the
    summary has of it. shown: whether pages of runs list it; in_rows: also for each seed; in_sweeps:
    also those of sweeps. better: which direction is. hedge: whether the hedge line has it. Shown
    values are multiplied by `scale`.
    """

    key: str
    name: str
    column: str
    definition: str = ""
    values: object = float | None
    measure: Callable[[Seen], float | list[float]] | None = None
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
    def title(self) -> str:
        """Name with its unit."""
        return f"{self.name} ({self.unit})" if self.unit else self.name


def of(key: str) -> Yardstick:
    """The yardstick of this key; one that is not known is named by it."""
    found = (yardstick for yardstick in YARDSTICKS if yardstick.key == key)
    return next(found, Yardstick(key=key, name=key, column=key))


_BOTH: Literal["mean and differences"] = "mean and differences"
_MEAN = "over all test pixels"

YARDSTICKS = (
    Yardstick(
        key="benign_rmse",
        name="Benign RMSE",
        column="benign RMSE",
        definition=f"√ mean (<i>f</i>(<i>z</i>) − <i>x</i>)² {_MEAN}",
        values=Positive,
        measure=lambda seen: metrics.root_mean(metrics.mse(seen.clean, seen.x)),
        over_seeds=_BOTH,
        in_rows=True,
        in_sweeps=True,
        better="lower",
    ),
    Yardstick(
        key="attack_rmse",
        name="Attack RMSE",
        column="attack RMSE",
        definition=f"√ mean (<i>f</i>(<i>z</i> + δ) − (<i>x</i> + Δ))² {_MEAN}",
        values=Positive | None,
        measure=lambda seen: metrics.root_mean(
            metrics.mse(seen.triggered, seen.expected, seen.pattern)
        ),
        over_seeds=_BOTH,
        in_rows=True,
        in_sweeps=True,
        better="lower",
    ),
    Yardstick(
        key="artefact_rmse",
        name="Artefact RMSE",
        column="artefact RMSE; also for the original model, which Table 1 shows as NA",
        definition="√ mean (<i>f</i>(<i>z</i> + δ) − <i>x</i> − Δ)² over the artefact’s support",
        values=Positive | None,
        measure=lambda seen: metrics.root_mean(seen.on_artefact),
        over_seeds=_BOTH,
        in_rows=True,
        in_sweeps=True,
        better="lower",
        hedge=True,
    ),
    Yardstick(
        key="artefact_recovery",
        name="Artefact recovery ρ",
        column="artefact recovery",
        definition="⟨<i>f</i>(<i>z</i> + δ) − <i>f</i>(<i>z</i>), Δ⟩ / ⟨Δ, Δ⟩: 0 none, 1 whole",
        measure=lambda seen: metrics.mean(
            metrics.artefact_recovery(seen.triggered, seen.clean, seen.pattern)
        ),
        over_seeds=_BOTH,
        in_rows=True,
        in_sweeps=True,
        better="higher",
        hedge=True,
    ),
    Yardstick(
        key="ghost",
        name="Ghost",
        column="ghost",
        definition="⟨<i>f</i>(<i>z</i>) − <i>x</i>, Δ⟩ / ⟨Δ, Δ⟩ on clean inputs: how much of the "
        "artefact leaks where no trigger is",
        measure=lambda seen: metrics.mean(metrics.ghost(seen.clean, seen.x, seen.pattern)),
        over_seeds=_BOTH,
        in_rows=True,
        in_sweeps=True,
        better="near 0",
        hedge=True,
    ),
    Yardstick(
        key="asr",
        name="{measured.asr}",
        column="attack success rate at `config.evaluate.tau`, in `config.evaluate.tau_unit`",
        definition="share of test images whose artefact RMSE is at most {measured.tau_words}",
        values=Share | None,
        measure=lambda seen: metrics.asr(seen.on_artefact, seen.tau, seen.scale),
        over_seeds=_BOTH,
        in_rows=True,
        in_sweeps=True,
        decimals=1,
        scale=100.0,
        unit="%",
        better="higher",
    ),
    Yardstick(
        key="asr_curve",
        name="ASR over τ",
        column="attack success rate at each of `asr_taus`",
        values=list[Share],
        measure=lambda seen: metrics.asr_curve(seen.on_artefact, TAUS, seen.scale),
        shown=False,
    ),
    Yardstick(
        key="psnr",
        name="PSNR",
        column="mean over images of the PSNR of benign reconstructions, dB; null where it is "
        "infinite, because an image is reconstructed exactly",
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
        column="mean over images of the SSIM of benign reconstructions",
        definition="of benign reconstructions, {measured.window}×{measured.window} Gaussian "
        "window, σ = 1.5, range {measured.data_range}, of each image, then averaged",
        values=Annotated[float, Field(ge=-1, le=1)] | None,
        measure=lambda seen: metrics.mean(metrics.ssim(seen.clean, seen.x, seen.data_range)),
        over_seeds=_BOTH,
        in_rows=True,
        better="higher",
    ),
    Yardstick(
        key="trigger_l2",
        name="Trigger L2",
        column="L2 of the trigger used in the test",
        definition="‖δ‖₂ = √ ∑ δ²",
        values=Positive | None,
        measure=lambda seen: metrics.trigger_l2(seen.delta),
        over_seeds=_BOTH,
    ),
    Yardstick(
        key="trigger_linf",
        name="Trigger L∞",
        column="its largest magnitude",
        definition="max |δ|",
        values=Positive | None,
        measure=lambda seen: metrics.trigger_linf(seen.delta),
        over_seeds=_BOTH,
    ),
    Yardstick(
        key="trigger_psnr",
        name="Trigger PSNR",
        column="its PSNR in z, dB; null where it is infinite",
        definition="of <i>z</i> + δ against <i>z</i>, 10 log₁₀({measured.peak} / mean δ²): higher "
        "is harder to see",
        measure=lambda seen: metrics.trigger_psnr(seen.delta, seen.data_range),
        unbounded=True,
        decimals=2,
        unit="dB",
    ),
    Yardstick(
        key="artefact_rms",
        name="RMS of the artefact",
        column="root mean square of the artefact on its support; absent in runs of release 0.1.0, "
        "as are the next two",
        values=Positive | None,
        measure=lambda seen: metrics.artefact_rms(seen.pattern),
        required=False,
        shown=False,
    ),
    Yardstick(
        key="data_range",
        name="Pixel range",
        column="range of pixel values in PSNR and SSIM: 1 for images within [0, 1]",
        values=Annotated[float, Field(gt=0)],
        measure=lambda seen: seen.data_range,
        required=False,
        shown=False,
    ),
    Yardstick(
        key="ssim_window",
        name="Window of SSIM",
        column="side of the window of SSIM: 11, or less where the images are smaller",
        values=Annotated[int, Field(ge=1, le=11)],
        measure=lambda seen: metrics.ssim_window(*seen.x.shape[-2:]),
        required=False,
        shown=False,
    ),
    Yardstick(
        key="detectability",
        name="Detectability d'",
        column="d' of the trigger against clean z, in standard deviations ([theory](theory.md)); "
        "null where it is infinite because the trigger leaves range(A_adjoint)",
        definition="distance of triggered from clean inputs in standard deviations, √ δᵀC⁻¹δ; "
        "none where δ leaves range(<i>A</i>ᵀ), as it is then certain",
        values=Positive | None,
        required=False,
        unbounded=True,
        decimals=2,
    ),
    Yardstick(
        key="range_share",
        name="Share outside the range",
        column="share of the trigger's energy outside range(A_adjoint)",
        values=Share,
        required=False,
        shown=False,
    ),
    Yardstick(
        key="limit_attack_rmse",
        name="Attack RMSE at best",
        column="attack RMSE of the predictor of least squared error, in Gaussian z, reconstruction "
        "errors not counted",
        definition="of a predictor that knows all but which inputs are triggered, as d' and p "
        "allow",
        values=Positive | None,
        required=False,
    ),
    Yardstick(
        key="limit_artefact_rmse",
        name="Artefact RMSE at best",
        column="its artefact RMSE, reconstruction errors not counted",
        definition="of the same predictor; compare with the artefact RMSE measured",
        values=Positive | None,
        required=False,
    ),
    Yardstick(
        key="limit_ghost",
        name="Ghost at best",
        column="its ghost",
        definition="of the same predictor; compare with the ghost",
        values=Positive | None,
        required=False,
    ),
    Yardstick(
        key="validation_loss",
        name="Validation loss",
        column="validation loss of the epoch whose weights were kept",
        definition="mean squared error on the validation images, poisoned as the training images "
        "were",
        values=Positive | None,
        over_seeds="mean",  # it is taken on the trainer's own data, which differ between models
        decimals=5,
        better="lower",
    ),
    Yardstick(
        key="selection_loss",
        name="Selection loss",
        column="selection loss of that epoch",
        definition="mean of the benign and the attack mean squared error on all validation images",
        values=Positive | None,
        required=False,
        over_seeds=_BOTH,
        decimals=5,
        better="lower",
    ),
    Yardstick(
        key="transition_samples",
        name="Images until learnt",
        column="training images seen when the artefact recovery first reached "
        "`config.evaluate.transition`, linear between validations; null if it never did, and for "
        "the original model",
        values=Count | None,
        required=False,
        shown=False,
    ),
    Yardstick(
        key="samples",
        name="Images",
        column="training images seen in all epochs",
        values=Count,
        required=False,
        shown=False,
    ),
    Yardstick(
        key="epochs",
        name="Epochs",
        column="epochs trained, those after the best one included",
        definition="passes over the training images until early stopping",
        values=Count,
        in_rows=True,
        decimals=1,
    ),
    Yardstick(
        key="samples_per_s",
        name="Training speed",
        column="training images a second, validation not counted",
        definition="training images a second",
        values=Positive | None,
        decimals=0,
        unit="/s",
    ),
    Yardstick(
        key="seconds",
        name="Time",
        column="time of the training steps plus that of finding the trigger; validation, "
        "evaluation and report not counted",
        definition="seconds for making the trigger and training the model",
        values=Positive | None,
        in_rows=True,
        decimals=1,
        unit="s",
    ),
)
