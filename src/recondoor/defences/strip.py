"""STRIP by superposition: does something stay in the output whatever is added to the input?

After STRIP (Gao et al., ACSAC 2019): blend the input with clean ones and look whether the answer
stays the same. There the entropy of the predicted class tells; a reconstruction has none. Changed:
what is looked at is f(z + z_k) - f(z_k) for clean z_k, the input's part in a superposition. A
digit's part depends on what lies over it, an artefact is drawn over everything: the score is the
energy of the mean part over that of its spread.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from recondoor.defences._base import InputDetector
from recondoor.defences._units import unit
from recondoor.models import reconstruct

if TYPE_CHECKING:
    from recondoor.defences._base import Defender


BLENDS = 8
"""Clean inputs that are superposed."""

ROUNDING = 1e-6
"""Root mean square of a pixel, in units of x, that is no spread but rounding."""


class Strip(InputDetector):
    """Does a part of f(z + z_k) stay whatever z_k is?"""

    needs = ("model", "clean")

    def scores(self, z: Tensor, defender: Defender) -> Tensor:
        """Energy of the mean over that of the spread for each z (N, C, H, W), (N,)."""
        assert defender.model is not None
        assert defender.clean is not None
        others = defender.clean.z[-BLENDS:].to(z)
        alone, of_x = reconstruct(defender.model, others), unit(defender.clean.x)
        parts = torch.stack(
            [
                (reconstruct(defender.model, z + other) - own) / of_x
                for other, own in zip(others, alone, strict=True)
            ]
        )
        energy = parts.mean(0).square().flatten(1).sum(1)
        spread = parts.var(0, correction=0).flatten(1).sum(1)
        return energy / spread.clamp_min(ROUNDING**2 * z[0].numel())

    def explain(self, score: float) -> str:
        """Why an input of this score is suspicious."""
        return "it adds the same thing to whatever it lies over"
