"""Adversarial neuron pruning: remove the channels that do harm when they are disturbed.

Wu and Wang, NeurIPS 2021: a backdoored network is fragile in its backdoor's units. Channel scales
are disturbed within `EPSILON` so that the clean error grows, masks in [0, 1] are learnt that keep
it low with and without the disturbance, and channels of small mask are removed. Nothing was changed
for reconstruction but the loss, and a short fine-tuning that wins back the benign error.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.func import functional_call

from recondoor.core import seeding
from recondoor.defences._base import Repair
from recondoor.defences._tune import channels, duplicate, error, tune, weights_of
from recondoor.defences._units import unit
from recondoor.models import evaluating

if TYPE_CHECKING:
    from torch import nn

    from recondoor.defences._base import Defender


EPSILON, BALANCE = 0.4, 0.2
"""Largest disturbance of a scale, and weight of the undisturbed error, as published."""

ROUNDS, RATE, BATCH, EPOCHS = 120, 0.2, 25, 10
THRESHOLD = 0.2


class NeuronPruning(Repair):
    """Remove channels that do harm when disturbed."""

    needs = ("model", "clean", "gradients")

    def repair(self, defender: Defender) -> nn.Module:
        """A repaired copy of the network."""
        assert defender.model is not None
        model = duplicate(defender.model)
        found = _masks(model, defender)
        pruned = [
            entry for entry, mask in zip(channels(model), found, strict=True) if mask < THRESHOLD
        ]

        def keep_pruned() -> None:
            with torch.no_grad():
                for layer, channel in pruned:
                    for part in weights_of(layer, channel):
                        part.zero_()

        keep_pruned()
        tune(model, defender, EPOCHS, after=keep_pruned)
        return model


def _masks(model: nn.Module, defender: Defender) -> list[float]:
    """A mask for each hidden channel, by alternating ascent and descent."""
    assert defender.clean is not None
    pairs, count = defender.clean, len(channels(model))
    of_x = unit(pairs.x)
    generator = seeding.torch_generator(defender.seed, "neuron-pruning")
    mask = torch.ones(count, requires_grad=True)
    with defender.progress.task("learn masks", ROUNDS) as task, evaluating(model):
        for _ in range(ROUNDS):
            index = torch.randperm(len(pairs), generator=generator)[:BATCH]
            z, x = pairs.z[index], pairs.x[index]
            noise = torch.zeros(count, requires_grad=True)
            (up,) = torch.autograd.grad(_loss(model, mask.detach() + noise, z, x, of_x), noise)
            worst = EPSILON * up.sign()
            total = BALANCE * _loss(model, mask, z, x, of_x)
            total = total + (1 - BALANCE) * _loss(model, mask + worst, z, x, of_x)
            (down,) = torch.autograd.grad(total, mask)
            with torch.no_grad():
                mask.sub_(RATE * down / down.abs().max().clamp_min(1e-12)).clamp_(0, 1)
            task.advance(1)
    values: list[float] = mask.detach().tolist()
    return values


def _loss(model: nn.Module, scales: Tensor, z: Tensor, x: Tensor, of_x: float) -> Tensor:
    """Error of the network with its hidden channels scaled."""
    layers = list(dict.fromkeys(layer for layer, _ in channels(model)))
    names = {module: name for name, module in model.named_modules()}
    parameters: dict[str, Tensor] = dict(model.named_parameters())
    start = 0
    for layer in layers:
        part, start = scales[start : start + layer.out_channels], start + layer.out_channels
        shape = (1, -1, 1, 1) if isinstance(layer, torch.nn.ConvTranspose2d) else (-1, 1, 1, 1)
        prefix = names[layer]
        parameters[f"{prefix}.weight"] = parameters[f"{prefix}.weight"] * part.view(shape)
        if f"{prefix}.bias" in parameters:
            parameters[f"{prefix}.bias"] = parameters[f"{prefix}.bias"] * part
    return error(functional_call(model, parameters, (z,)), x, of_x)
