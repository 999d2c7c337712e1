"""Min-max unlearning: find the universal change of z that does most harm, train it away, repeat.

I-BAU (Zeng et al., ICLR 2022): min over theta of max over delta of the loss of z + delta, with the
hypergradient of the outer problem taken through the inner one's steps, here by `hypergradient`.
Changed for reconstruction: a network must answer to a change of z, so that its clean target is no
target for z + delta. What an honest network adds is what the measurement says, h = A^+ y of the
change: the target is x + h, and a backdoor is what the network adds besides.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.func import functional_call

from recondoor.core import seeding
from recondoor.defences._base import Repair
from recondoor.defences._tune import BATCH, duplicate, error
from recondoor.defences._units import unit
from recondoor.models import evaluating
from recondoor.training.hypergradient import solve

if TYPE_CHECKING:
    from torch import nn

    from recondoor.defences._base import Defender


ROUNDS, INNER, LENGTH = 60, 3, 0.1
"""Outer steps, inner steps of each, and the length of one in units of the ball."""

BALL = 0.5
"""L2 of delta at the most, in units of the root mean square L2 of a clean z."""

CLEAN = 20.0
"""Weight of the error on clean inputs."""

TINY = 1e-12
"""Growth of the error, in units, over a change of the ball's size that counts as none."""

RATE, FRESH = 2e-4, 15
"""Adam's rate, and the outer steps after which delta starts anew from noise."""


Network = Callable[[Tensor, Tensor], Tensor]
Harm = Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]


class MinMax(Repair):
    """Train against the worst universal change of z."""

    needs = ("model", "clean", "physics", "gradients")

    def repair(self, defender: Defender) -> nn.Module:
        """A repaired copy of the network."""
        assert defender.model is not None
        assert defender.clean is not None
        assert defender.physics is not None
        model, pairs, physics = duplicate(defender.model), defender.clean, defender.physics
        of_x, ball = unit(pairs.x), BALL * unit(pairs.z) * pairs.z[0].numel() ** 0.5
        names = [name for name, _ in model.named_parameters()]
        shapes = [parameter.shape for parameter in model.parameters()]
        flat = torch.cat([p.detach().reshape(-1) for p in model.parameters()]).requires_grad_(True)
        optimiser = torch.optim.Adam([flat], lr=RATE)
        generator = seeding.torch_generator(defender.seed, "min-max")
        delta = torch.zeros(pairs.z.shape[1:])

        def network(theta: Tensor, z: Tensor) -> Tensor:
            parts = torch.split(theta, [shape.numel() for shape in shapes])
            named = {n: p.view(s) for n, p, s in zip(names, parts, shapes, strict=True)}
            found: Tensor = functional_call(model, named, (z,))
            return found

        def harm(theta: Tensor, change: Tensor, z: Tensor, x: Tensor) -> Tensor:
            honest = physics.invert(change[None]).to(change)
            return error(network(theta, z + change), x + honest, of_x)

        with defender.progress.task("min-max unlearning", ROUNDS) as task, evaluating(model):
            for step in range(ROUNDS):
                if step % FRESH == 0:
                    noise = torch.randn(delta.shape, generator=generator)
                    delta = ball * torch.rand(1, generator=generator) * noise / noise.norm()
                index = torch.randperm(len(pairs), generator=generator)[:BATCH]
                z, x = pairs.z[index], pairs.x[index]
                slope = torch.autograd.grad(
                    harm(flat.detach(), d := delta.clone().requires_grad_(True), z, x), d
                )[0]
                found = solve(
                    "unrolled",
                    partial(_ascent, harm, z, x),
                    partial(_outer, harm, network, z, x, of_x),
                    flat.detach(),
                    {"delta": delta},
                    steps=INNER,
                    lr=LENGTH * ball**2 / max(TINY, ball * float(slope.norm())),
                )
                flat.grad = found.total
                optimiser.step()
                delta = found.parameters["delta"]
                delta = delta * min(1.0, ball / float(delta.norm()))
                task.advance(1)
        with torch.no_grad():
            torch.nn.utils.vector_to_parameters(flat.detach(), model.parameters())
        return model


def _ascent(
    harm: Harm, z: Tensor, x: Tensor, step: int, theta: Tensor, inner: dict[str, Tensor]
) -> Tensor:
    """Inner loss: minus the harm that delta does."""
    return -harm(theta, inner["delta"], z, x)


def _outer(
    harm: Harm,
    network: Network,
    z: Tensor,
    x: Tensor,
    of_x: float,
    theta: Tensor,
    inner: dict[str, Tensor],
) -> Tensor:
    """Outer loss: the harm, and the error on clean inputs."""
    return harm(theta, inner["delta"], z, x) + CLEAN * error(network(theta, z), x, of_x)
