"""Measurement consistency: does the reconstruction explain the measurement that it was made from?

An artefact that the operator sees contradicts the measurement. The score is the mean square of the
whitened A f(z) - y, and the repair replaces the measured part of f(z) by the measurement's,
f(z) - A^+ (A f(z) - y), which leaves of an artefact only what lies in ker(A). Known as data
consistency in MRI (Schlemper et al., IEEE TMI 37, 2018), there as a layer of the network.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from recondoor.defences._base import InputDetector
from recondoor.models import reconstruct

if TYPE_CHECKING:
    from torch import Tensor

    from recondoor.defences._base import Defender


class MeasurementConsistency(InputDetector):
    """Does A f(z) agree with y?"""

    needs = ("model", "physics")

    def scores(self, z: Tensor, defender: Defender) -> Tensor:
        """Mean square of the whitened A f(z) - y of each z (N, C, H, W), (N,)."""
        assert defender.physics is not None
        assert defender.model is not None
        return defender.physics.residual(z, reconstruct(defender.model, z)).square().mean(1)

    def repaired(self, z: Tensor, defender: Defender) -> Tensor:
        """Reconstructions that agree with the measurement, (N, C, H, W)."""
        assert defender.physics is not None
        assert defender.model is not None
        found = reconstruct(defender.model, z)
        return found - defender.physics.project(found).to(z) + defender.physics.invert(z).to(z)

    def explain(self, score: float) -> str:
        """Why an input of this score is suspicious."""
        return (
            f"its reconstruction contradicts the measurement: {score:.3g} times the noise's energy"
        )
