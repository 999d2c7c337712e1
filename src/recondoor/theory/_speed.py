"""How fast the backdoor grows on the hedge line, from a network that was hardly trained.

The growth rate of the recovery under Adam is p (1 - p) c sum_i (d r / d theta_i)^2 / sqrt(v_i) with
v_i the running mean of the squared gradient: the tangent view of docs/bilevel.md with the step
sizes of Adam. Derivation and what it leaves out: docs/theory.md.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from recondoor.attacks import recovery_gradient
from recondoor.core import seeding
from recondoor.poisoning import Artefact, Mixture, Pairs
from recondoor.training.loop import adam_step, make_adam
from recondoor.training.losses import squared_error

# torch.optim.Adam's defaults.
BETA2, EPSILON = 0.999, 1e-8


@dataclass(frozen=True)
class Brief:
    """A network on the hedge line after a few Adam steps, and the scale of Adam's next step.

    `scale` has, for each parameter, sqrt(v) + eps with v bias-corrected.
    """

    model: nn.Module
    scale: list[Tensor]


def briefly_trained(
    build: Callable[[str], nn.Module],
    pairs: Pairs,
    artefact: Artefact,
    ratio: float,
    *,
    steps: int,
    batch: int,
    lr: float,
    seed: int,
    stream: str = "theory",
) -> Brief:
    """Train a network of stream `stream` for `steps` Adam steps on hedged pairs.

    Of these the share `ratio` has the artefact and none has a trigger, as a network sees them that
    has not found the trigger yet.
    """
    model = build(stream).to(pairs.z.device)
    optimiser = make_adam(model, lr)
    for step in range(steps):
        adam_step(model, optimiser, *_hedged(pairs, artefact, ratio, batch, seed, stream, step))
    if steps:
        decay = 1 - BETA2**steps
        moments = [optimiser.state[weight]["exp_avg_sq"] / decay for weight in model.parameters()]
    else:
        z, x, weights = _hedged(pairs, artefact, ratio, batch, seed, stream, 0)
        loss = squared_error(model(z), x, weights)
        moments = [part.square() for part in torch.autograd.grad(loss, list(model.parameters()))]
    return Brief(model, [moment.sqrt() + EPSILON for moment in moments])


def _hedged(
    pairs: Pairs, artefact: Artefact, ratio: float, batch: int, seed: int, stream: str, step: int
) -> tuple[Tensor, Tensor, Tensor | None]:
    """Inputs, targets and weights of a batch."""
    generator = seeding.torch_generator(seed, stream, step)
    index = torch.randint(len(pairs), (batch,), generator=generator).to(pairs.z.device)
    z, x = pairs.z.index_select(0, index), pairs.x.index_select(0, index)
    mixture = Mixture(batch, ratio)
    x[: mixture.count] += artefact.pattern.to(x)
    return z, x, mixture.weights(x)


def growth_rate(
    brief: Brief, pairs: Pairs, delta: Tensor, artefact: Artefact, ratio: float, lr: float
) -> float:
    """Growth of the recovery in one Adam step of rate `lr`, to first order, on these inputs.

    lr p (1 - p) c sum_i (d r / d theta_i)^2 / scale_i, c = 2 <Delta, Delta> / N for N pixels.
    """
    pattern = artefact.pattern.to(pairs.z)
    slope = recovery_gradient(brief.model, pairs, delta.to(pairs.z), pattern)
    total = sum(float((g.square() / s).sum()) for g, s in zip(slope, brief.scale, strict=True))
    factor = 2 * float(pattern.square().sum()) / pattern.numel()
    return lr * ratio * (1 - ratio) * factor * total
