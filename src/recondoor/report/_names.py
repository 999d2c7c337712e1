"""The words of a report: names of models, definitions of yardsticks, the paper's numbers."""

import math
from collections.abc import Iterable
from dataclasses import dataclass, replace

ORDER = ("original", "heuristic", "bilevel", "random")
TITLES = {
    "original": "Original (clean)",
    "heuristic": "Baseline (heuristic)",
    "bilevel": "BLO",
    "random": "Random trigger",
}
SHORT = {"heuristic": "heuristic", "bilevel": "BLO", "random": "random"}

TABLE1_METRICS = ("benign_rmse", "attack_rmse", "artefact_rmse")
PAPER_TABLE1 = {
    "original": ("0.021", "0.045", "NA"),
    "heuristic": ("0.046", "0.044", "0.26"),
    "bilevel": ("0.039", "0.040", "0.245"),
}


def title(label: str) -> str:
    """Row label of a model; one that a plug-in brought is named as it is registered."""
    return TITLES.get(label, label.replace("-", " ").capitalize())


def short(label: str) -> str:
    """Name of an attack inside a phrase, such as "random trigger"."""
    return SHORT.get(label, label)


def number(value: float, decimals: int) -> str:
    """A number with a real minus sign, and no sign on a zero."""
    text = f"{value:.{decimals}f}"
    return text.replace("-", "−" if float(text) else "")


UNBOUNDED = ("psnr", "trigger_psnr", "detectability")
"""Yardsticks that are null in results.json where they are infinite."""


def in_order(labels: Iterable[str]) -> tuple[str, ...]:
    """Labels without repeats: the study's own first, in the paper's order, then others by name."""
    found = set(labels)
    return (*(label for label in ORDER if label in found), *sorted(found - set(ORDER)))


_ABSOLUTE = " in pixel values"


@dataclass(frozen=True)
class Measured:
    """How the yardsticks of a report were measured, as its words say it.

    tau: in names, such as ``ASR(0.5)``. unit: what it counts in. data_range: of pixel values.
    window: side of that of SSIM.
    """

    tau: str = "0.5"
    unit: str = "rms"
    data_range: str = "1"
    window: str = "11"

    @staticmethod
    def of(
        taus: Iterable[tuple[float, str, float | None]],
        ranges: Iterable[float] = (),
        windows: Iterable[int] = (),
    ) -> "Measured":
        """Of each tau with its unit and the artefact's rms (None: unknown); of ranges and windows.

        Where the rms is 1 both units are the same, and the name says neither.
        """
        known = list(taus)
        units = {unit for _, unit, _ in known}
        plain = all(
            unit == "rms" or (rms is not None and math.isclose(rms, 1, rel_tol=1e-6))
            for _, unit, rms in known
        )
        names = {
            f"{tau:g}" if plain or unit == "rms" else f"{tau:g}{_ABSOLUTE}"
            for tau, unit, _ in known
        }
        return Measured(
            " or ".join(sorted(names)) or "0.5",
            " or ".join(sorted(units)) or "rms",
            " or ".join(f"{value:g}" for value in sorted(set(ranges))) or "1",
            " or ".join(f"{value}" for value in sorted(set(windows))) or "11",
        )

    @property
    def asr(self) -> str:
        """Name of the attack success rate."""
        return f"ASR({self.tau})"

    @property
    def tau_words(self) -> str:
        """Tau with its unit."""
        if self.unit == "absolute":
            return f"τ = {self.tau.replace(_ABSOLUTE, '')}{_ABSOLUTE}"
        if self.unit == "rms":
            return f"τ = {self.tau} times the root mean square of Δ on its support"
        return f"τ = {self.tau}, in the unit that <code>evaluate.tau_unit</code> says"

    @property
    def peak(self) -> str:
        """Square of the range, which PSNR divides by the mean squared error."""
        return "1" if self.data_range == "1" else f"({self.data_range})²"


@dataclass(frozen=True)
class Yardstick:
    """One measured quantity: its key in results.json, its name and how it is defined and shown."""

    key: str
    name: str
    definition: str  # HTML
    decimals: int = 3
    scale: float = 1.0
    unit: str = ""
    better: str = ""
    hedge: bool = False

    def at(self, measured: Measured) -> "Yardstick":
        """The same with how it was measured written into its words."""
        name, definition = (text.format(measured=measured) for text in (self.name, self.definition))
        return replace(self, name=name, definition=definition)


_MEAN = "over all test pixels"
YARDSTICKS = (
    Yardstick(
        "benign_rmse",
        "Benign RMSE",
        f"√ mean (<i>f</i>(<i>z</i>) − <i>x</i>)² {_MEAN}",
        better="lower",
    ),
    Yardstick(
        "attack_rmse",
        "Attack RMSE",
        f"√ mean (<i>f</i>(<i>z</i> + δ) − (<i>x</i> + Δ))² {_MEAN}",
        better="lower",
    ),
    Yardstick(
        "artefact_rmse",
        "Artefact RMSE",
        "√ mean (<i>f</i>(<i>z</i> + δ) − <i>x</i> − Δ)² over the artefact’s support",
        better="lower",
        hedge=True,
    ),
    Yardstick(
        "artefact_recovery",
        "Artefact recovery ρ",
        "⟨<i>f</i>(<i>z</i> + δ) − <i>f</i>(<i>z</i>), Δ⟩ / ⟨Δ, Δ⟩: 0 none, 1 whole",
        better="higher",
        hedge=True,
    ),
    Yardstick(
        "ghost",
        "Ghost",
        "⟨<i>f</i>(<i>z</i>) − <i>x</i>, Δ⟩ / ⟨Δ, Δ⟩ on clean inputs: how much of the artefact "
        "leaks where no trigger is",
        better="near 0",
        hedge=True,
    ),
    Yardstick(
        "asr",
        "{measured.asr}",
        "share of test images whose artefact RMSE is at most {measured.tau_words}",
        decimals=1,
        scale=100.0,
        unit="%",
        better="higher",
    ),
    Yardstick(
        "psnr",
        "PSNR",
        "of benign reconstructions, 10 log₁₀({measured.peak} / mean squared error) of each image, "
        "then averaged over images; ∞ if one is reconstructed exactly",
        decimals=2,
        unit="dB",
        better="higher",
    ),
    Yardstick(
        "ssim",
        "SSIM",
        "of benign reconstructions, {measured.window}×{measured.window} Gaussian window, σ = 1.5, "
        "range {measured.data_range}, of each image, then averaged",
        better="higher",
    ),
    Yardstick("trigger_l2", "Trigger L2", "‖δ‖₂ = √ ∑ δ²"),
    Yardstick("trigger_linf", "Trigger L∞", "max |δ|"),
    Yardstick(
        "trigger_psnr",
        "Trigger PSNR",
        "of <i>z</i> + δ against <i>z</i>, 10 log₁₀({measured.peak} / mean δ²): higher is "
        "harder to see",
        decimals=2,
        unit="dB",
    ),
    Yardstick(
        "detectability",
        "Detectability d'",
        "distance of triggered from clean inputs in standard deviations, √ δᵀC⁻¹δ; none where δ "
        "leaves range(<i>A</i>ᵀ), as it is then certain",
        decimals=2,
    ),
    Yardstick(
        "limit_attack_rmse",
        "Attack RMSE at best",
        "of a predictor that knows all but which inputs are triggered, as d' and p allow",
    ),
    Yardstick(
        "limit_artefact_rmse",
        "Artefact RMSE at best",
        "of the same predictor; compare with the artefact RMSE measured",
    ),
    Yardstick("limit_ghost", "Ghost at best", "of the same predictor; compare with the ghost"),
    Yardstick(
        "validation_loss",
        "Validation loss",
        "mean squared error on the validation images, poisoned as the training images were",
        decimals=5,
        better="lower",
    ),
    Yardstick(
        "selection_loss",
        "Selection loss",
        "mean of the benign and the attack mean squared error on all validation images",
        decimals=5,
        better="lower",
    ),
    Yardstick("epochs", "Epochs", "passes over the training images until early stopping", 1),
    Yardstick("samples_per_s", "Training speed", "training images a second", 0, unit="/s"),
    Yardstick(
        "seconds", "Time", "seconds for making the trigger and training the model", 1, unit="s"
    ),
)
BY_KEY = {yardstick.key: yardstick for yardstick in YARDSTICKS}
