"""Fine-tuning: train on with a few trusted pairs and hope that the backdoor is forgotten.

The baseline of all repairs (Liu et al., RAID 2018). Nothing was changed for reconstruction.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from recondoor.defences._tune import duplicate, tune

if TYPE_CHECKING:
    from torch import nn

    from recondoor.defences._base import Defender

KIND: Literal["repair"] = "repair"
NEEDS = ("model", "clean", "gradients")

EPOCHS = 20


def repair(defender: Defender) -> nn.Module:
    """A repaired copy of the network."""
    assert defender.model is not None
    model = duplicate(defender.model)
    tune(model, defender, EPOCHS)
    return model
