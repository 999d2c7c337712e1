"""Power iteration on the growth rate, shared by the control and by the bi-level attack's start."""

import time

from torch import Tensor

from recondoor.attacks._growth import mean_growth, plateau, unreached
from recondoor.attacks._problem import CraftState, Problem, Tools, random_pattern
from recondoor.core.errors import ConfigError


def tangent(problem: Problem, tools: Tools) -> CraftState:
    """Return the power iteration; its last trigger is `delta`.

    Each step takes the allowed trigger of largest inner product with the gradient of the growth
    rate at the trigger before, so that under an L2 budget it converges to the top eigenvector of G
    within the mask. It starts from the hand-made trigger, or from a random one where the mask
    leaves that out or no surrogate sees it. Kept in `tools`. Raises ConfigError if
    nothing in the mask makes a network learn.
    """
    key = f"tangent@{problem.settings.mask}"
    if key not in tools.kept:
        tools.kept[key] = _iterate(problem, tools)
    found: CraftState = tools.kept[key]
    return found


def _iterate(problem: Problem, tools: Tools) -> CraftState:
    started = time.perf_counter()
    plateau(problem, tools)
    budget = problem.budget
    delta = budget.scale(problem.trigger.delta * budget.mask)
    if not bool(delta.any()):
        delta = budget.maximise(random_pattern(problem, "tangent", signed=True))
    state = CraftState(delta=delta, path=[delta], path_iteration=[0])
    for k in range(1, problem.settings.tangent.steps + 1):
        rate, gradient = mean_growth(problem, tools, delta)
        if k == 1 and not _seen(problem, gradient):
            # The hand-made trigger is out of reach, which the rest of the mask need not be.
            delta = budget.maximise(random_pattern(problem, "tangent", signed=True))
            state.path = [delta]
            rate, gradient = mean_growth(problem, tools, delta)
        if not _seen(problem, gradient):
            raise ConfigError(f"attack 'tangent': {unreached(problem)}")
        moved = budget.maximise(gradient.cpu())
        change = float((moved - delta).norm())
        state.history.append(
            {
                "iteration": k,
                "growth": rate,
                "l2": float(moved.norm()),
                "linf": float(moved.abs().max()),
                "change": change,
            }
        )
        delta, state.delta, state.iteration = moved, moved, k
        state.path.append(delta)
        state.path_iteration.append(k)
        tools.task.advance(0, f"growth {rate:.3g}")
    state.seconds = time.perf_counter() - started
    return state


def _seen(problem: Problem, gradient: Tensor) -> bool:
    """Whether any pixel of the mask makes the surrogates learn."""
    return bool((gradient.cpu() * problem.mask.cpu()).any())
