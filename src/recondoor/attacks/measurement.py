"""A trigger of the measurement (LTGM, MICCAI 2024: Inject Backdoor in Measured Data).

There a trigger is added to measured data and learned by the gradients of a reconstruction and of a
task on its images, while it is kept small in the measurement. Changed for reconstruction: there is
no task behind it, so that what is to grow is the rate at which a network learns the artefact
(`tangent`; docs/bilevel.md). The trigger is delta_y, and z changes by A_adjoint delta_y. Each step
goes to the delta_y of largest inner product with the gradient by delta_y, which is A g for the
gradient g by z: power iteration of A G A_adjoint, where `tangent` has G within range(A_adjoint).
What is bounded is the L2 of what reaches z, as for all attacks here, and besides it
`attack.measurement.fidelity`, the L2 of delta_y as a share of that of a clean measurement.
"""

import math
import time
from collections.abc import Callable

import torch
from torch import Tensor

from recondoor.attacks._base import Attack
from recondoor.attacks._growth import mean_growth, plateau, unreached
from recondoor.attacks._problem import Crafted, CraftState, Problem, Tools, random_pattern
from recondoor.config import triggers
from recondoor.core.errors import ConfigError
from recondoor.poisoning import Trigger
from recondoor.training.loop import Row

IMAGES = 256
"""Clean measurements whose mean L2 the fidelity counts in."""


class Measurement(Attack):
    """Learned where the scanner measures."""

    Settings = triggers.Measurement
    settings: triggers.Measurement
    draws = True
    trains = True
    budgets = ("l2", "free")

    def require(self, problem: Problem) -> None:
        """It has to enter the measurement, of which z is A_adjoint y."""
        if problem.remeasured is None or not problem.adjoint:
            raise ConfigError(
                "attack.names: measurement given, which adds to the measurement; set "
                "trigger.inject=y, attack.mask=image and attack.distance=0, one operator for all "
                "images, and input.map=adjoint or magnitude"
            )

    def craft(self, problem: Problem, tools: Tools) -> Crafted:
        """Return A_adjoint delta_y of the last step; delta_y's L2 is in the history."""
        started = time.perf_counter()
        plateau(problem, tools)
        most = self._most(problem)
        # In y: A of something. It is kept as that something, of which only A_adjoint A is taken.
        delta, l2 = self._sized(problem, random_pattern(problem, "measurement", signed=True), most)
        state = CraftState(delta=delta)
        for k in range(1, self.settings.steps + 1):
            rate, gradient = mean_growth(problem, tools, delta)
            if not bool((gradient.cpu() * problem.mask.cpu()).any()):
                raise ConfigError(f"attack 'measurement': {unreached(problem)}")
            delta, l2 = self._sized(problem, gradient.cpu(), most)
            row: Row = {"iteration": k, "growth": rate, "l2": float(delta.norm()), "l2_y": l2}
            state.history.append(row)
            tools.task.advance(0, f"growth {rate:.3g}")
        state.delta, state.seconds = delta, time.perf_counter() - started
        return Crafted(Trigger(delta, problem.mask.cpu()), state)

    def _sized(self, problem: Problem, g: Tensor, most: float) -> tuple[Tensor, float]:
        """A_adjoint A g as large as is allowed, and the L2 of that multiple of A g."""
        g = g * problem.mask.cpu()
        seen = _remeasured(problem)(g[None])[0]
        delta = problem.budget.maximise(seen)
        factor = float(delta.norm() / seen.norm().clamp_min(torch.finfo(seen.dtype).tiny))
        l2 = factor * math.sqrt(max(0.0, float((g * seen).sum())))
        within = min(1.0, most / l2) if l2 > 0 else 1.0
        return within * delta, within * l2

    def _most(self, problem: Problem) -> float:
        """Largest L2 of delta_y."""
        if self.settings.fidelity is None:
            return math.inf
        images = problem.pairs.first().images[:IMAGES]
        squares = (images * _remeasured(problem)(images)[:, : images.shape[1]]).flatten(1).sum(1)
        return self.settings.fidelity * float(squares.clamp_min(0).sqrt().mean())


def _remeasured(problem: Problem) -> Callable[[Tensor], Tensor]:
    assert problem.remeasured is not None
    return problem.remeasured
