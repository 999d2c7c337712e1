"""Fine-tuning: train on with a few trusted pairs and hope that the backdoor is forgotten.

The baseline of all repairs (Liu et al., RAID 2018). Nothing was changed for reconstruction.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from recondoor.defences._base import Repair
from recondoor.defences._tune import duplicate, tune

if TYPE_CHECKING:
    from torch import nn

    from recondoor.defences._base import Defender


EPOCHS = 20


class FineTuning(Repair):
    """Train on with trusted pairs."""

    needs = ("model", "clean", "gradients")

    def repair(self, defender: Defender) -> nn.Module:
        """A repaired copy of the network."""
        assert defender.model is not None
        model = duplicate(defender.model)
        tune(model, defender, EPOCHS)
        return model
