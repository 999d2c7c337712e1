"""Cyclic consistency: is the reconstruction of a reconstruction, measured otherwise, the same?

After the cyclic measurement consistency of Saberi et al., who measure the reconstruction again by
another mask. Here the operator is the same and the scene is moved by some pixels, which is another
operator for the scene, whatever A is: x' = T^-1 f(A_adjoint A T f(z)), T the shift. No noise is
added. The score is the mean square of x' - f(z) in units of x: of a natural image the network makes
much the same twice, of one that only a trigger brought forth it may not.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from recondoor.defences._base import InputDetector
from recondoor.defences._units import unit
from recondoor.models import reconstruct

if TYPE_CHECKING:
    from torch import Tensor

    from recondoor.defences._base import Defender

SHIFT = 1 / 16
"""Of the scene, as a share of the image's height and width; a pixel at least."""


class CyclicConsistency(InputDetector):
    """Is f the same for f(z), moved and measured again?"""

    needs = ("model", "physics", "clean")

    def scores(self, z: Tensor, defender: Defender) -> Tensor:
        """Mean square of x' - f(z) in units of x of each z (N, C, H, W), (N,)."""
        assert defender.physics is not None
        assert defender.model is not None
        assert defender.clean is not None
        steps = [max(1, round(SHIFT * side)) for side in z.shape[2:]]
        first = reconstruct(defender.model, z)
        moved = torch.roll(first, steps, (2, 3))
        again = reconstruct(defender.model, defender.physics.measured_again(moved).to(z))
        back = torch.roll(again, [-step for step in steps], (2, 3))
        change = (back - first) / unit(defender.clean.x)
        return change.double().square().flatten(1).mean(1)

    def explain(self, score: float) -> str:
        """Why an input of this score is suspicious."""
        return (
            "its reconstruction, moved and measured again, is reconstructed otherwise: "
            f"{score**0.5:.3g} of the usual size of an image"
        )
