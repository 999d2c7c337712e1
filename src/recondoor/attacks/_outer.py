"""The step on the trigger: plain, Adam's, of fixed length, or by signs."""

import torch
from torch import Tensor

from recondoor.attacks._problem import CraftState, Problem
from recondoor.training.loop import Weights

MEANS, SQUARES, EPSILON = 0.9, 0.999, 1e-8


def outer_step(
    problem: Problem, delta: Tensor, gradient: Tensor, state: CraftState
) -> tuple[Tensor, Weights]:
    """Return the next trigger (C, H, W), within the budget, and what the optimiser remembers.

    ``sgd`` is the paper's delta - alpha * gradient. The others know no scale of the loss: steps are
    `step` of the budget, ``normalised`` in L2 and ``sign`` and ``adam`` in each pixel.
    """
    settings, budget = problem.settings, problem.budget
    paper = settings.bilevel.variant == "paper"
    kind = settings.bilevel.outer_optimiser or ("sgd" if paper else "normalised")
    length = settings.bilevel.step * budget.length
    memory: Weights = {}
    pixel = length / float(budget.mask.sum()) ** 0.5
    if kind == "sgd":
        moved = delta - settings.bilevel.outer_lr * gradient
    elif kind == "normalised":
        tiny = torch.finfo(delta.dtype).tiny
        moved = delta - length * gradient / gradient.norm().clamp_min(tiny)
    elif kind == "sign":
        moved = delta - pixel * gradient.sign()
    else:
        direction, memory = _adam(gradient, state)
        moved = delta - pixel * direction
    return (moved if paper else budget.fill(moved)), memory


def _adam(gradient: Tensor, state: CraftState) -> tuple[Tensor, Weights]:
    """Direction of an Adam step (Kingma and Ba, ICLR 2015); a pixel without a gradient stays."""
    nothing = torch.zeros_like(gradient)
    mean, square = (
        state.arrays.get(name, nothing).to(gradient) for name in ("outer.mean", "outer.square")
    )
    mean = MEANS * mean + (1 - MEANS) * gradient
    square = SQUARES * square + (1 - SQUARES) * gradient.square()
    k = state.iteration + 1
    # Relative to the largest pixel, as hypergradients may be far below Adam's usual epsilon.
    corrected = (square / (1 - SQUARES**k)).sqrt()
    floor = (EPSILON * corrected.max()).clamp_min(torch.finfo(gradient.dtype).tiny)
    direction = mean / (1 - MEANS**k) / (corrected + floor)
    return direction, {"outer.mean": mean, "outer.square": square}
