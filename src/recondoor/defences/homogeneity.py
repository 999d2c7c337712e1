"""Homogeneity: does the reconstruction scale with its input?

A measurement twice as strong is that of an image twice as bright, so that f(c z) / c = f(z) for a
perfect inverse. A backdoor changes how far that holds, and not always for the worse: a trigger that
rules the output can make it scale better than clean inputs do. So what counts is the distance, in
logarithms, from the median of clean inputs. Made for reconstruction.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from recondoor.defences._base import InputDetector
from recondoor.defences._units import unit
from recondoor.models import reconstruct

if TYPE_CHECKING:
    from torch import Tensor, nn

    from recondoor.defences._base import Defender


SCALE = 0.5
USUAL = 64
"""Clean inputs whose median counts."""
TINY = 1e-12
"""Energy of an image in units of x, and ratio of two, below which rounding decides."""


class Homogeneity(InputDetector):
    """Does f(c z) / c differ from f(z) as usual?"""

    needs = ("model", "clean")

    def scores(self, z: Tensor, defender: Defender) -> Tensor:
        """Distance of each z (N, C, H, W) from the usual logarithm of the relative change, (N,)."""
        assert defender.model is not None
        assert defender.clean is not None
        of_x = unit(defender.clean.x)
        usual = _change(defender.model, defender.clean.z[:USUAL], of_x).median()
        return (_change(defender.model, z, of_x) - usual).abs()

    def explain(self, score: float) -> str:
        """Why an input of this score is suspicious."""
        return "its reconstruction does not scale with it as others do"


def _change(model: nn.Module, z: Tensor, of_x: float) -> Tensor:
    """Logarithm of the energy of f(c z) / c - f(z) over that of f(z), (N,)."""
    whole = reconstruct(model, z) / of_x
    scaled = reconstruct(model, SCALE * z) / (SCALE * of_x)
    change = (scaled - whole).flatten(1).square().sum(1)
    return (change / whole.flatten(1).square().sum(1).clamp_min(TINY)).clamp_min(TINY).log()
