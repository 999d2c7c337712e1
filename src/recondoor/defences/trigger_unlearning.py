"""Unlearning by inversion: find the trigger, then train the network to ignore it.

Neural Cleanse's repair (Wang et al., IEEE S&P 2019) with the inversion of `trigger_inversion`: half
of the trusted pairs of a batch carry the recovered trigger, at a strength between half of and twice
what was found, and keep their clean target. Where the inversion finds nothing, the network is only
fine-tuned: to ignore what is no trigger costs the answer to real measurements.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from recondoor.core import seeding
from recondoor.defences._base import Repair
from recondoor.defences._triggers import FOUND, inspect
from recondoor.defences._tune import duplicate, tune

if TYPE_CHECKING:
    from torch import Tensor, nn

    from recondoor.defences._base import Defender


EPOCHS = 20


class TriggerUnlearning(Repair):
    """Train to ignore the trigger found."""

    needs = ("model", "clean", "gradients")

    def repair(self, defender: Defender) -> nn.Module:
        """A repaired copy of the network."""
        assert defender.model is not None
        finding = defender.found or inspect(defender)
        found = defender.found is not None or finding.score > FOUND
        trigger = finding.trigger
        assert trigger is not None
        generator = seeding.torch_generator(defender.seed, "trigger-unlearning")

        def with_trigger(z: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
            strength = torch.rand(len(z), 1, 1, 1, generator=generator) * 1.5 + 0.5
            carried = torch.rand(len(z), 1, 1, 1, generator=generator) < 0.5
            # Where nothing is found, what the inversion ends with may be no numbers.
            return (z + strength * carried * trigger, x) if found else (z, x)

        model = duplicate(defender.model)
        tune(model, defender, EPOCHS, with_trigger)
        return model
