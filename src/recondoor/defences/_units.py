"""The units of x and z: settings of defences count in them, so that no score depends on them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from recondoor.models import evaluating

if TYPE_CHECKING:
    from torch import Tensor, nn


def unit(images: Tensor) -> float:
    """Root mean square of all values of images (N, C, H, W); 1 if all of them are 0.

    About a third for x of the digits that settings were chosen on, and 0.6 for their z.
    """
    return float(images.double().square().mean().sqrt()) or 1.0


@torch.no_grad()
def unit_of_answers(model: nn.Module, z: Tensor) -> float:
    """The unit of f(z), of inputs z (N, C, H, W).

    Near that of x where the network is any good; where its answers are in other units than x, those
    are what an effect on them is measured in.
    """
    with evaluating(model):
        return unit(torch.cat([model(part) for part in torch.split(z, 32)]))
