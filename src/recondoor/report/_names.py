"""The words of a report: names of models, how yardsticks were measured, the paper's numbers."""

import math
from collections.abc import Iterable
from dataclasses import dataclass

ORDER = ("original", "heuristic", "bilevel", "random")
TITLES = {
    "original": "Original (clean)",
    "heuristic": "Baseline (heuristic)",
    "bilevel": "BLO",
    "random": "Random trigger",
}
SHORT = {"heuristic": "heuristic", "bilevel": "BLO", "random": "random"}

# An attack with a mask of its own: label NAME-MASK, of the entry NAME@MASK.
PLACES = {"trigger": "in the square's pixels", "search": "in the best place", "image": "anywhere"}

TABLE1_METRICS = ("benign_rmse", "attack_rmse", "artefact_rmse")
PAPER_TABLE1 = {
    "original": ("0.021", "0.045", "NA"),
    "heuristic": ("0.046", "0.044", "0.26"),
    "bilevel": ("0.039", "0.040", "0.245"),
}


def title(label: str) -> str:
    """Row label of a model; one that a plug-in brought is named as it is registered."""
    name, place = placed(label)
    words = TITLES.get(name, name.replace("-", " ").capitalize())
    return f"{words}, {place}" if place else words


def short(label: str) -> str:
    """Name of an attack inside a phrase, such as "random"."""
    return trigger_words(label).replace(" trigger", "")


def trigger_words(label: str) -> str:
    """Name of an attack's trigger inside a phrase, such as "random trigger anywhere"."""
    name, place = placed(label)
    return f"{SHORT.get(name, name)} trigger{f' {place}' if place else ''}"


def placed(label: str) -> tuple[str, str]:
    """The label without the mask that the attack alone has, and that mask in words ('': none)."""
    name, _, mask = label.rpartition("-")
    return (name, PLACES[mask]) if name and mask in PLACES else (label, "")


def number(value: float, decimals: int) -> str:
    """A number with a real minus sign, and no sign on a zero."""
    text = f"{value:.{decimals}f}"
    return text.replace("-", "−" if float(text) else "")


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
