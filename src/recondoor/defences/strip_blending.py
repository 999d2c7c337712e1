"""STRIP as published, with variance for entropy: how little do blends vary? A baseline.

Gao et al., ACSAC 2019: the input is blended half and half with clean ones; a triggered one keeps
its class, so that the answers' entropy is low. Here: the variance over blends of f((z + z_k) / 2).
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
"""Clean inputs that are blended with."""


class StripBlending(InputDetector):
    """How little do blends vary?"""

    needs = ("model", "clean")

    def scores(self, z: Tensor, defender: Defender) -> Tensor:
        """Minus the variance of the blends' reconstructions, in units of x, of each z, (N,)."""
        assert defender.model is not None
        assert defender.clean is not None
        others = defender.clean.z[-BLENDS:].to(z)
        blends = torch.stack([reconstruct(defender.model, (z + other) / 2) for other in others])
        return -(blends / unit(defender.clean.x)).var(0, correction=0).flatten(1).sum(1)

    def explain(self, score: float) -> str:
        """Why an input of this score is suspicious."""
        return "blends of it with clean inputs look alike"
