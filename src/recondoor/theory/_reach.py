"""Can the trigger's pixels influence the artefact's: receptive fields, structural and effective."""

import copy

import torch
from torch import Tensor, nn

from recondoor.core import seeding
from recondoor.poisoning import Artefact, Trigger

TRIED = 4
"""Random images at which a network's own derivatives are looked at."""

ROUNDING = 1e-12
"""Share of the largest derivative that rounding may leave where there is none, in 64 bits."""


def structural_field(model: nn.Module, artefact: Artefact) -> Tensor:
    """Boolean (C, H, W): input pixels from which a path leads to the artefact's pixels.

    Exact for networks of convolutions, linear layers, pooling by mean and ReLU: with all weights
    and biases positive, no gradient along a path cancels or is cut off, so that it is 0 only where
    there is no path. Layers that subtract, as normalisation and an operator do, may cut a path off
    there, so that pixels count as well that the artefact's answer to with the weights as they are.
    """
    exact = copy.deepcopy(model).double().eval()
    found = _answering(exact, artefact)
    with torch.no_grad():
        for parameter in exact.parameters():
            # Of equal weights, as many as an output sums: its size neither explodes nor vanishes.
            if parameter.dim() > 0:
                parameter.fill_(1 / max(1, parameter[0].numel()))
    z = torch.ones(1, *artefact.pattern.shape, dtype=torch.float64, requires_grad=True)
    answer = (exact(z) * artefact.support).sum()
    (gradient,) = torch.autograd.grad(answer, z)
    return found | (gradient[0] > 0)


def _answering(model: nn.Module, artefact: Artefact) -> Tensor:
    """Boolean (C, H, W): pixels by which some of the artefact's change, at random images."""
    generator = seeding.torch_generator(0, "theory", "reach")
    shape = (TRIED, *artefact.pattern.shape)
    z, weights = torch.randn(2, *shape, generator=generator, dtype=torch.float64)
    z.requires_grad_()
    answer = (model(z) * weights * artefact.support).sum()
    (gradient,) = torch.autograd.grad(answer, z)
    size = gradient.abs().amax(0)
    found: Tensor = size > ROUNDING * size.max()
    return found


def structural_reach(model: nn.Module, trigger: Trigger, artefact: Artefact) -> float:
    """Share of the trigger's energy on pixels that can influence the artefact's at all."""
    energy = trigger.delta.double().square().cpu()
    return float(energy[structural_field(model, artefact)].sum() / energy.sum())


def effective_reach(model: nn.Module, z: Tensor, trigger: Trigger, artefact: Artefact) -> float:
    """How much of a network's sensitivity of the artefact's pixels lies on the trigger's energy.

    The mean over `z` (B, C, H, W) of (d <f(z), Delta> / d z)^2, averaged with weights delta^2 and
    divided by its plain average over the image: 1 for a field that is flat, near 0 for a trigger in
    the dark (Luo et al., NeurIPS 2016, have its Gaussian shape).
    """
    z = z.detach().requires_grad_()
    answer = (model(z) * artefact.pattern.to(z)).sum()
    (gradient,) = torch.autograd.grad(answer, z)
    field = gradient.double().square().mean(0)
    energy = trigger.delta.to(field).square()
    return float((field * energy).sum() / energy.sum() / field.mean())
