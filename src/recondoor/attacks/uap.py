"""Universal perturbation of a clean surrogate (Jiang et al., arXiv:2407.10445).

There a perturbation t is sought that moves the answers of a clean network on many inputs at once,
by gradient steps on L_t = ||F(X + t) - Y||^2 with the target Y. Changed for reconstruction: t is in
the budget's ball and as large as it allows. By default it moves the answers as far as possible, to
nowhere in particular: max over t of mean ||f(z + t) - f(z)||^2. `attack.uap.aim=artefact` is the
targeted version: max of mean <f(z + t) - f(z), Delta>, whose gradient is that of L_t as long as
the answer is far from x + Delta. In place of small steps that are clipped, each goes to the allowed
trigger of largest inner product with the gradient: power iteration (Khrulkov and Oseledets, CVPR
2018).
"""

from dataclasses import replace

import torch
from torch import Tensor, nn

from recondoor.attacks._base import Attack
from recondoor.attacks._problem import Crafted, CraftState, Problem, Tools, random_pattern
from recondoor.attacks._surrogates import clean_surrogate
from recondoor.config import triggers
from recondoor.core.errors import ConfigError
from recondoor.poisoning import Pairs, Trigger


class Universal(Attack):
    """What a network that was never poisoned answers to most strongly."""

    Settings = triggers.Uap
    settings: triggers.Uap
    draws = True
    trains = True

    def craft(self, problem: Problem, tools: Tools) -> Crafted:
        """Return the last trigger of the iteration on held-out pairs."""
        model, budget = clean_surrogate(problem, tools, "uap"), problem.budget
        pairs = problem.pairs.at(problem.draw("outer", "uap"))
        # At no perturbation the gradient is 0, so the first is a random one.
        delta = budget.maximise(random_pattern(problem, "uap", signed=True))
        state = CraftState(delta=delta)
        for k in range(1, self.settings.steps + 1):
            change, gradient = self._change(model, pairs, delta, problem)
            if not bool((gradient * problem.mask.cpu()).any()):
                raise ConfigError(
                    "attack 'uap': no pixel of the mask changes what the surrogate answers; set "
                    "attack.mask=image or raise attack.warm_steps"
                )
            delta = budget.maximise(gradient)
            state.history.append({"iteration": k, "change": change, "l2": float(delta.norm())})
            tools.task.advance(0, f"change {change:.3g}")
        return Crafted(Trigger(delta, problem.mask.cpu()), replace(state, delta=delta))

    def _change(
        self, model: nn.Module, pairs: Pairs, delta: Tensor, problem: Problem
    ) -> tuple[float, Tensor]:
        """What is to grow, and its gradient by delta."""
        delta = delta.to(pairs.z).requires_grad_()
        moved = model(pairs.triggered(delta)[0]) - model(pairs.z).detach()
        if self.settings.aim == "artefact":
            aim = (moved * problem.artefact.pattern.to(moved)).flatten(1).sum(1).mean()
        else:
            aim = moved.square().flatten(1).sum(1).mean()
        (gradient,) = torch.autograd.grad(aim, delta)
        return float(aim.detach()), gradient.cpu()
