"""Training a copy of a network on a few trusted pairs."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from recondoor.core import seeding
from recondoor.defences._units import unit
from recondoor.models import copy_of, evaluating
from recondoor.training.loop import make_adam
from recondoor.training.losses import squared_error

if TYPE_CHECKING:
    from recondoor.defences._base import Defender
    from recondoor.poisoning import Pairs

BATCH = 25
RATE = 1e-3
"""Adam's, of weights. The loss counts in units of x, so that this rate means the same whatever the
units of the data are, in a network whose weights do not depend on them. Weights that do, of a first
or last layer trained on images of 10,000, are of another size; the rate does not follow them.
"""

Batch = tuple[Tensor, Tensor]
Layer = nn.Conv2d | nn.ConvTranspose2d


def duplicate(model: nn.Module) -> nn.Module:
    """A copy of `model` that can be changed without changing it, ready for training."""
    twin = copy_of(model)
    for parameter in twin.parameters():
        parameter.requires_grad_(True)
    return twin


def tune(
    model: nn.Module,
    defender: Defender,
    epochs: int,
    change: Callable[[Tensor, Tensor], Batch] = lambda z, x: (z, x),
    after: Callable[[], None] = lambda: None,
) -> None:
    """Train `model` in place with Adam on the trusted pairs, each batch through `change`.

    The rate falls geometrically to a tenth; `after` is called after every step.
    """
    assert defender.clean is not None
    pairs, of_x = defender.clean, unit(defender.clean.x)
    optimiser = make_adam(model, RATE)
    generator = seeding.torch_generator(defender.seed, "repair")
    training = model.training
    model.train()
    with (
        defender.progress.task("tune on clean pairs", epochs * len(pairs)) as task,
        seeding.torch_global(defender.seed, "repair"),
    ):
        for epoch in range(epochs):
            for group in optimiser.param_groups:
                group["lr"] = RATE * 0.1 ** (epoch / max(1, epochs - 1))
            for index in torch.split(torch.randperm(len(pairs), generator=generator), BATCH):
                z, x = change(pairs.z[index], pairs.x[index])
                optimiser.zero_grad(set_to_none=True)
                error(model(z), x, of_x).backward()  # type: ignore[no-untyped-call]
                optimiser.step()
                after()
                task.advance(len(index))
    model.train(training)


def error(output: Tensor, x: Tensor, of_x: float) -> Tensor:
    """Mean squared error of outputs (N, C, H, W), in the unit of x squared."""
    return squared_error(output / of_x, x / of_x)


@torch.no_grad()
def loss(model: nn.Module, pairs: Pairs) -> float:
    """Mean squared error on `pairs`, in the unit of their x squared."""
    with evaluating(model):
        return float(error(model(pairs.z), pairs.x, unit(pairs.x)))


def channels(model: nn.Module) -> list[tuple[Layer, int]]:
    """Hidden channels of all convolutions: (module, index of an output channel).

    The last convolution's are left out: they are the image.
    """
    layers = [
        module for module in model.modules() if isinstance(module, nn.Conv2d | nn.ConvTranspose2d)
    ]
    return [(layer, k) for layer in layers[:-1] for k in range(layer.out_channels)]


def weights_of(layer: Layer, channel: int) -> list[Tensor]:
    """Views of the weights and the bias that make an output channel."""
    weight, bias = layer.weight, layer.bias
    transposed = isinstance(layer, nn.ConvTranspose2d)
    found = [weight[:, channel] if transposed else weight[channel]]
    return found if bias is None else [*found, bias[channel : channel + 1]]
