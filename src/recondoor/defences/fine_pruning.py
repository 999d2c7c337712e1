"""Fine-pruning: remove channels that clean inputs do not need, then fine-tune.

Liu, Dolan-Gavitt and Garg, RAID 2018: a backdoor hides in units that sleep on clean inputs. There
the mean activation of the last convolution ranks units. Changed: channels of all hidden
convolutions are ranked by how much the clean error grows without them, which needs no hooks and
compares layers; they are removed, one by one, until the clean error has grown by `ALLOWED`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from recondoor.defences._base import Repair
from recondoor.defences._tune import Layer, channels, duplicate, loss, tune, weights_of
from recondoor.poisoning import Pairs

if TYPE_CHECKING:
    from torch import nn

    from recondoor.defences._base import Defender


ALLOWED = 0.5
"""Growth of the clean mean squared error at which pruning stops; fine-tuning wins it back."""

IMAGES, EPOCHS = 32, 20


class FinePruning(Repair):
    """Remove channels that clean inputs do not need."""

    needs = ("model", "clean", "gradients")

    def repair(self, defender: Defender) -> nn.Module:
        """A repaired copy of the network."""
        assert defender.model is not None
        assert defender.clean is not None
        model = duplicate(defender.model)
        few = Pairs(defender.clean.z[:IMAGES], defender.clean.x[:IMAGES])
        pruned = _prune(model, few)

        def keep_pruned() -> None:
            with torch.no_grad():
                for layer, channel in pruned:
                    for part in weights_of(layer, channel):
                        part.zero_()

        tune(model, defender, EPOCHS, after=keep_pruned)
        return model


@torch.no_grad()
def _prune(model: nn.Module, pairs: Pairs) -> list[tuple[Layer, int]]:
    """Set dispensable channels to zero and return them."""
    limit = (1 + ALLOWED) * loss(model, pairs)
    growth = []
    for layer, channel in channels(model):
        kept = [part.clone() for part in weights_of(layer, channel)]
        for part in weights_of(layer, channel):
            part.zero_()
        growth.append((loss(model, pairs), layer, channel))
        for part, value in zip(weights_of(layer, channel), kept, strict=True):
            part.copy_(value)
    pruned: list[tuple[Layer, int]] = []
    for _, layer, channel in sorted(growth, key=lambda entry: entry[0]):
        kept = [part.clone() for part in weights_of(layer, channel)]
        for part in weights_of(layer, channel):
            part.zero_()
        if loss(model, pairs) > limit:
            for part, value in zip(weights_of(layer, channel), kept, strict=True):
                part.copy_(value)
            break
        pruned.append((layer, channel))
    return pruned
