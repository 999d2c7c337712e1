"""Triggers that differ from input to input: their mean, and whether they keep to the budget."""

import torch
from torch import Tensor

from recondoor.attacks._budget import ROUNDING
from recondoor.attacks._problem import Problem
from recondoor.poisoning import Law, Pairs, Trigger

TRIED = 1_000
"""Training inputs by which a trigger is measured."""


def tried(problem: Problem) -> Pairs:
    """The inputs by which its size is measured: the first training pairs."""
    pairs = problem.pairs
    return pairs.at(torch.arange(min(len(pairs), TRIED), device=pairs.z.device))


def mean_l2(added: Tensor) -> float:
    """Mean L2 of what is added to inputs, (N, C, H, W)."""
    return float(added.double().flatten(1).norm(dim=1).mean())


def trigger_of(law: Law, problem: Problem) -> Trigger:
    """The trigger of a law; its delta is the mean of what it adds to `tried` inputs."""
    mask = problem.mask.cpu()
    mean = Trigger(torch.zeros_like(mask), mask, law).on(tried(problem)).mean(0).cpu()
    return Trigger(mean * mask, mask, law)


def excess_of_each(problem: Problem, trigger: Trigger) -> str | None:
    """Say how a law leaves the mask or the budget's L2, which its mean has; None if it does not."""
    if trigger.law is None:
        return None
    added, radius = trigger.on(tried(problem)), problem.budget.radius
    if bool((added * (1 - trigger.mask.to(added))).any()):
        return "it leaves its mask in some input"
    if not bool(added.isfinite().all()):
        return "a pixel is not finite in some input"
    size = mean_l2(added)
    if size == 0:
        return "it adds nothing to any input"
    if problem.budget.kind == "free" or size <= radius * (1 + ROUNDING):
        return None
    return f"its mean L2 {size:.4f} exceeds {radius:.4f}"
