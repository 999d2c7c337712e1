"""Inner steps taken, and the adjoint followed back through them.

With a the adjoint of theta_i, and u what the optimiser's rule makes of a (and of its slots'
adjoints) for the gradient that it was given, each step back is

    bi-level part += partial_delta <grad_theta g_i, u>
    a             += partial_theta <grad_theta g_i, u>,

for SGD u = -lr a. This is reverse mode. Nobody reads the last partial_theta, which is why the first
step followed is differentiated by delta only.
"""

import torch
from torch import Tensor

from recondoor.training.hypergradient._inner import Inner, Keep, Step
from recondoor.training.hypergradient._types import Hypergradient, OuterLoss


def unroll(problem: Inner, outer: OuterLoss, steps: int, followed: int) -> Hypergradient:
    """Take `steps` steps and follow the adjoint through the last `followed`, whose graphs it keeps.

    Exact for followed >= steps; what earlier steps add to the bi-level part is left out.
    """
    first = max(0, steps - followed)
    for index in range(first):
        problem.step(index, Keep.NOTHING)
    tape = [
        problem.step(index, Keep.ALL if index > first else Keep.DELTA)
        for index in range(first, steps)
    ]
    return _back(problem, outer, tape)


def checkpoint(problem: Inner, outer: OuterLoss, steps: int) -> Hypergradient:
    """As `unroll` through every step, keeping of each only where it starts and its slots.

    On the way back the graphs are made again, one at a time: the inner losses are taken twice and
    must not depend on how often they are called.
    """
    tape = []
    for index in range(steps):
        step = problem.step(index, Keep.NOTHING)
        step.slope = None
        tape.append(step)
    return _back(problem, outer, tape)


def _back(problem: Inner, outer: OuterLoss, tape: list[Step]) -> Hypergradient:
    outer_loss, partial, adjoint = problem.outer(outer)
    bilevel = torch.zeros_like(partial)
    adjoints = [tuple(torch.zeros_like(slot) for slot in slots) for slots in problem.slots]
    while tape:
        step = tape.pop()
        keep = Keep.ALL if tape else Keep.DELTA
        slope = step.slope or problem.slope(step.index, step.theta, keep)
        weights: list[Tensor] = []
        for i, value in enumerate(slope.value):
            weight, adjoints[i] = problem.rule.back(
                adjoint[i], adjoints[i], value, step.slots[i], problem.lr, step.time
            )
            weights.append(weight)
        by_delta, by_theta = problem.derivatives(slope, step.theta, weights)
        bilevel = bilevel + by_delta
        adjoint = [a + b for a, b in zip(adjoint, by_theta, strict=False)]
        del step, slope  # before the next graph is made
    return problem.result(outer_loss, partial, bilevel)
