"""Range projection: take from an input what no measurement can have put there.

Clean z = A_adjoint y lies in range(A_adjoint); a trigger that is added to z does not. The share of
z outside is the score, the reconstruction of the rest the repair. Made for reconstruction: there is
no such test where inputs may be anything.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from recondoor.defences._base import InputDetector
from recondoor.models import reconstruct

if TYPE_CHECKING:
    from torch import Tensor

    from recondoor.defences._base import Defender


BRIGHTEST = 10.0
"""Norm of an image at the most, in those of the largest trusted one."""


class RangeProjection(InputDetector):
    """Is a part of z outside range(A_adjoint)?"""

    needs = ("model", "physics")
    sees = ("patch", "spread")
    certain = True

    def scores(self, z: Tensor, defender: Defender) -> Tensor:
        """Share of the energy of each z (N, C, H, W) outside range(A_adjoint), (N,)."""
        assert defender.physics is not None
        trusted = defender.clean.x.flatten(1).double().norm(dim=1).max() if defender.clean else 0.0
        return defender.physics.outside(z, torch.full((len(z),), BRIGHTEST * float(trusted)))

    def law(self, defender: Defender, alarm: float) -> float:
        """Nothing: what rounding and noise explain does not count; no clean input exceeds it."""
        return 0.0

    def blind(self, z: Tensor, defender: Defender) -> str | None:
        """Why nothing can be seen here: nothing is outside of all of space."""
        assert defender.physics is not None
        if not defender.physics.knows_range:
            return "what the operator leaves out is not known of such images or inputs"
        return (
            "the operator measures everything, so that any z can be"
            if defender.physics.whole
            else None
        )

    def repaired(self, z: Tensor, defender: Defender) -> Tensor:
        """Reconstructions f(P z), (N, C, H, W)."""
        assert defender.physics is not None
        assert defender.model is not None
        return reconstruct(defender.model, defender.physics.project(z).to(z))

    def explain(self, score: float) -> str:
        """Why an input of this score is suspicious."""
        return f"{score:.2g} of the energy of z is something that no measurement gives"
