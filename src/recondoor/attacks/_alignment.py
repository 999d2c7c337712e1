"""Which clean pairs teach most of the artefact, as a network that saw no poison tells.

Let D = mean <f(z), Delta> / <Delta, Delta> be how much of the artefact a network draws. A step of
gradient descent of rate eta on the loss l of one pair changes D, at first order, by
-eta <grad_theta l, grad_theta D>. Pairs of which that is largest are chosen: their own gradients
already go where the artefact's does.

Sources: Sleeper Agent (Souri et al., NeurIPS 2022, arXiv:2106.08970) poisons the samples of largest
gradient norm on a clean surrogate; here it is the gradient's part along the artefact's, as it is
alignment with the attacker's gradient that their poisons are made for. That samples differ in what
they teach is from Xia et al. (IJCAI 2022, arXiv:2204.12281), who rank them by trial trainings.
"""

import torch
from torch import Tensor, nn

from recondoor.attacks._growth import drawn
from recondoor.attacks._problem import Problem, Tools
from recondoor.attacks._surrogates import clean_surrogate
from recondoor.core.errors import ConfigError
from recondoor.poisoning import Pairs
from recondoor.training import losses

CHUNK = 250
"""Pairs whose gradients are taken at a time."""


def alignment(problem: Problem, tools: Tools) -> Tensor:
    """How much a step on each clean training pair would add to what is drawn of the artefact.

    (N,) in float64, on the CPU, per unit of the learning rate. It looks at no trigger, so that all
    attacks of a seed poison the same pairs. Raises ConfigError if the surrogate tells nothing.
    """
    model = clean_surrogate(problem, tools, "choice").requires_grad_(True)
    pairs, pattern = problem.pairs, problem.artefact.pattern.to(problem.pairs.x)
    every = torch.arange(len(pairs), device=pairs.z.device)
    parts = [pairs.at(every[start : start + CHUNK]) for start in range(0, len(pairs), CHUNK)]
    aim = [torch.zeros_like(weight) for weight in model.parameters()]
    for part in parts:
        slope = torch.autograd.grad(
            drawn(model, part.z, pattern), list(model.parameters()), materialize_grads=True
        )
        for whole, own in zip(aim, slope, strict=True):
            whole.add_(own, alpha=len(part) / len(pairs))
    scores = torch.cat([_along(model, part, aim, problem.loss) for part in parts]).cpu()
    if not bool(scores.isfinite().all()) or not bool(scores.any()):
        raise ConfigError(
            "poison.choice: gradient-alignment given, but no pair's gradient tells how much of the "
            "artefact it teaches; change attack.warm_steps or train.lr, or set poison.choice=random"
        )
    return scores


def _along(model: nn.Module, pairs: Pairs, aim: list[Tensor], kind: losses.Name) -> Tensor:
    """-<grad l_i, aim> for each pair, (B,): the derivative by the weight of each pair's loss.

    The inner product is linear in these weights, so that one second derivative has them all.
    """
    share = torch.ones(len(pairs), dtype=torch.float64, device=pairs.z.device, requires_grad=True)
    loss = (share * losses.of_each(kind, model(pairs.z), pairs.x)).sum()
    slope = torch.autograd.grad(
        loss, list(model.parameters()), create_graph=True, materialize_grads=True
    )
    total = torch.stack([(a.double() * b).sum() for a, b in zip(slope, aim, strict=True)]).sum()
    (along,) = torch.autograd.grad(total, share)
    return -along
