"""How fast a backdoor would be learnt: the tangent view of a network on the hedge line.

There the recovery r(theta, delta) = mean <f(z + delta) - f(z), Delta> / <Delta, Delta> grows under
gradient descent at a rate proportional to p (1 - p) ||d r / d theta||^2, for a small trigger the
quadratic form delta^T G delta. Derivation: docs/bilevel.md.
"""

from collections.abc import Iterator, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from recondoor.attacks._budget import near
from recondoor.attacks._problem import Problem, Tools
from recondoor.core import seeding
from recondoor.core.errors import ConfigError
from recondoor.poisoning import Pairs, Trigger
from recondoor.training.loop import make_adam

DIRECTIONS = 8
CANDIDATES = 8


def unreached(problem: Problem) -> str:
    """Why a trigger without any growth is given up, and the remedy."""
    return (
        "its growth rate is exactly 0: no trigger in the mask reaches the artefact's pixels in any "
        f"surrogate; {problem.farther}, lower data.size, move trigger.place, or set "
        "attack.mask=image"
    )


def plateau(problem: Problem, tools: Tools) -> list[nn.Module]:
    """Surrogates at several ages on the hedge line, as a network is before it learns a backdoor.

    They are trained on pairs of which the share p has the artefact and none has a trigger; ages are
    spread evenly up to `attack.warm_steps`. Kept in `tools`.
    """
    if "plateau" not in tools.kept:
        tools.kept["plateau"] = list(_aged(problem, tools))
    kept: list[nn.Module] = tools.kept["plateau"]
    return kept


def _aged(problem: Problem, tools: Tools) -> Iterator[nn.Module]:
    settings, device = problem.settings, problem.pairs.z.device
    model = problem.build_model("plateau").to(device)
    optimiser = make_adam(model, problem.surrogate_lr)
    nothing = torch.zeros_like(problem.pairs.carriers[0])
    count, last = settings.surrogates, settings.warm_steps
    ages = [round(last * (k + 1) / count) for k in range(count)]
    for step in range(last + 1):
        for _ in range(ages.count(step)):
            copy = problem.build_model("plateau").to(device)
            copy.load_state_dict(model.state_dict())
            yield copy
        if step < last:
            index = problem.draw("inner", "plateau", step)
            problem.step(model, optimiser, index, nothing)
            tools.task.advance(0, f"surrogate, step {step + 1} of {last}")


def growth(model: nn.Module, pairs: Pairs, delta: Tensor, pattern: Tensor) -> tuple[float, Tensor]:
    """Return ||d r / d theta||^2 on the inputs of `pairs` and half its gradient by delta.

    For a small trigger these are delta^T G delta and G delta, so that following the gradient is
    power iteration.
    """
    delta = delta.detach().requires_grad_()
    weights = list(model.parameters())
    triggered, _ = pairs.triggered(delta)
    slope = torch.autograd.grad(drawn(model, triggered, pattern), weights, create_graph=True)
    base = torch.autograd.grad(drawn(model, pairs.z, pattern), weights)
    change = [(a - b).detach() for a, b in zip(slope, base, strict=True)]
    gradient = _mixed(slope, delta, change)
    return float(sum(part.square().sum() for part in change)), gradient


def recovery_gradient(
    model: nn.Module, pairs: Pairs, delta: Tensor, pattern: Tensor
) -> tuple[Tensor, ...]:
    """Return d r / d theta, one tensor a parameter: r is the recovery on the inputs of `pairs`."""
    recovery = drawn(model, pairs.triggered(delta)[0], pattern) - drawn(model, pairs.z, pattern)
    return torch.autograd.grad(recovery, list(model.parameters()), materialize_grads=True)


def drawn(model: nn.Module, z: Tensor, pattern: Tensor) -> Tensor:
    """How much of the pattern is in f(z): <f(z), Delta> / <Delta, Delta>, mean over the batch."""
    answer: Tensor = (model(z) * pattern).sum() / (len(z) * pattern.square().sum())
    return answer


def growth_map(problem: Problem, tools: Tools) -> list[Tensor]:
    """Return samples h (C, H, W) with E[(h . delta)^2] = mean over ages of delta^T G delta.

    Each h is the derivative of the sensitivity d r / d delta along a random direction in theta.
    """
    pattern = problem.artefact.pattern.to(problem.pairs.x)
    found = []
    for age, model in enumerate(plateau(problem, tools)):
        pairs = problem.pairs.at(problem.draw("inner", "growth", age))
        delta = torch.zeros_like(pairs.carriers[0], requires_grad=True)
        weights = list(model.parameters())
        triggered, _ = pairs.triggered(delta)
        slope = torch.autograd.grad(drawn(model, triggered, pattern), weights, create_graph=True)
        for k in range(DIRECTIONS):
            generator = seeding.torch_generator(problem.seed, "attack", "direction", age, k)
            direction = [torch.randn(w.shape, generator=generator).to(w) for w in weights]
            found.append(_mixed(slope, delta, direction))
    return found


def _mixed(slope: Sequence[Tensor], delta: Tensor, direction: Sequence[Tensor]) -> Tensor:
    """Derivative by delta of the inner product of a gradient by theta with `direction`."""
    # The gradient by the last bias depends on nothing.
    curved = [pair for pair in zip(slope, direction, strict=True) if pair[0].requires_grad]
    outputs, weights = zip(*curved, strict=True)
    (mixed,) = torch.autograd.grad(outputs, delta, grad_outputs=weights, retain_graph=True)
    return mixed.detach()


def mean_growth(problem: Problem, tools: Tools, delta: Tensor) -> tuple[float, Tensor]:
    """`growth` of `delta`, averaged over the ages of `plateau`."""
    pattern = problem.artefact.pattern.to(problem.pairs.x)
    total, gradient = 0.0, torch.zeros_like(problem.pairs.carriers[0])
    models = plateau(problem, tools)
    for age, model in enumerate(models):
        pairs = problem.pairs.at(problem.draw("inner", "growth", age))
        rate, slope = growth(model, pairs, delta.to(pairs.z), pattern)
        total, gradient = total + rate / len(models), gradient + slope / len(models)
    return total, gradient


def best_place(problem: Problem, tools: Tools) -> tuple[Trigger, Tensor]:
    """Move the hand-made trigger to where it is learnt fastest; also return the map of scores.

    All places at which it keeps `attack.distance` from the artefact are scored with `growth_map`,
    the best few then with `mean_growth`. The map (rows, columns) holds the score of the pattern
    with its upper left pixel there, 0 where it may not lie. Raises ConfigError if that is nowhere,
    or if from nowhere it is learnt.
    """
    rows, columns = problem.trigger.mask.any(0).nonzero().unbind(1)
    top, left = int(rows.min()), int(columns.min())
    window = (slice(top, int(rows.max()) + 1), slice(left, int(columns.max()) + 1))
    patch, mask = problem.trigger.delta[:, *window], problem.trigger.mask[:, *window]
    forbidden = near(problem.support, problem.settings.distance).float()
    allowed = F.conv2d(forbidden[None], mask[None])[0, 0] == 0
    count = min(CANDIDATES, int(allowed.sum()))
    if not count:
        raise ConfigError(
            f"attack.distance: {problem.settings.distance} given; no place in the image keeps the "
            "trigger so far from the artefact"
        )
    samples = torch.stack(growth_map(problem, tools)).cpu()
    scores = torch.where(allowed, F.conv2d(samples, patch[None]).square().mean(0)[0], 0)
    best: tuple[float, Trigger] = (-1.0, problem.trigger)
    # -1 comes after an allowed place of score 0.
    for place in torch.where(allowed, scores, -1).flatten().topk(count).indices.tolist():
        moved = _moved(problem.trigger, patch, mask, divmod(place, scores.shape[1]))
        best = max(best, (mean_growth(problem, tools, moved.delta)[0], moved), key=lambda b: b[0])
        tools.task.advance(0, f"place {divmod(place, scores.shape[1])}")
    if best[0] == 0:
        raise ConfigError(
            f"attack.mask: search given; at the best place for the trigger {unreached(problem)}"
        )
    return best[1], scores


def _moved(trigger: Trigger, patch: Tensor, mask: Tensor, place: tuple[int, int]) -> Trigger:
    delta, support = torch.zeros_like(trigger.delta), torch.zeros_like(trigger.mask)
    rows, columns = (slice(a, a + n) for a, n in zip(place, patch.shape[1:], strict=True))
    delta[:, rows, columns], support[:, rows, columns] = patch, mask
    return Trigger(delta, support)
