"""Where the default bi-level attack departs from the paper: objective, weights, inner Adam."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.func import functional_call

from recondoor.attacks import Problem
from recondoor.attacks._bilevel import benign_weight, direct_weight, objective
from recondoor.config import Attack
from test_bilevel import plain_surrogates, random_start
from toy_problem import bilevel, draw, inner_error, poisoned, problem

BETAS, EPS, LR = (0.9, 0.999), 1e-8, 1e-3
Moments = dict[str, tuple[Tensor, Tensor]]


def answer(model: nn.Module, theta: dict[str, Tensor], z: Tensor) -> Tensor:
    image: Tensor = functional_call(model, theta, (z,))
    return image


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({}, ("recovery", 0.0, 0.0)),
        ({"variant": "warm"}, ("recovery", 0.0, 0.0)),
        ({"variant": "paper"}, ("image", 0.0, 1.0)),
        ({"objective": "image"}, ("image", 7 / 3, 0.0)),
        ({"objective": "artefact"}, ("artefact", 7 / 3, 0.0)),
        (
            {"objective": "artefact", "benign_weight": 0.5, "direct_weight": 0.25},
            ("artefact", 0.5, 0.25),
        ),
    ],
)
def test_defaults(settings: dict[str, Any], expected: tuple[str, float, float]) -> None:
    """At p = 0.3, (1 - p) / p is 7 / 3."""
    chosen = Attack.model_validate(settings)
    task = problem(**{"objective": None, "benign_weight": None, "direct_weight": None, **settings})
    found = objective(chosen), benign_weight(task), direct_weight(chosen)
    assert found == (expected[0], pytest.approx(expected[1]), expected[2])


def outer_by_hand(
    task: Problem,
    model: nn.Module,
    theta: dict[str, Tensor],
    delta: Tensor,
    kind: str,
    weight: float,
) -> Tensor:
    """The outer loss pixel by pixel, on the first outer step's batch."""
    z, x = poisoned(task, draw(task, "outer", "bilevel", 1, 0), torch.zeros_like(delta), 0)
    clean, triggered = answer(model, theta, z), answer(model, theta, z + delta)
    attack, benign, count = torch.zeros(()), torch.zeros(()), 0
    rows, columns = task.artefact.pattern[0].nonzero().unbind(1)
    for i, j in zip(rows.tolist(), columns.tolist(), strict=True):
        before = clean if kind == "recovery" else x
        attack = attack + (triggered - before - task.artefact.pattern)[:, 0, i, j].square().sum()
        benign = benign + (clean - x)[:, 0, i, j].square().sum()
        count += len(z)
    return (attack + weight * benign) / count


@pytest.mark.parametrize("weight", [0.0, 0.7])
@pytest.mark.parametrize("kind", ["artefact", "recovery"])
def test_objectives_on_the_artefacts_pixels(kind: str, weight: float) -> None:
    settings = {
        "objective": kind,
        "benign_weight": weight,
        "iterations": 1,
        "solver": "direct",
        "warm_steps": 0,
        "inner_lr": 1e-12,
        "budget": "free",
        "outer_optimiser": "sgd",
        "outer_lr": 10.0,
    }
    task = problem(**settings)
    model, delta = task.build_model("surrogate"), random_start(task).requires_grad_()
    loss = outer_by_hand(task, model, dict(model.named_parameters()), delta, kind, weight)
    (gradient,) = torch.autograd.grad(loss, delta)
    state = bilevel(**settings)
    assert state.history[0]["outer_loss"] == pytest.approx(float(loss.detach()), rel=1e-5)
    expected = delta.detach() - 10 * gradient * task.trigger.mask
    torch.testing.assert_close(state.delta, expected, rtol=1e-4, atol=1e-7)


def adam_by_hand(
    theta: dict[str, Tensor], slope: tuple[Tensor, ...], moments: Moments, step: int
) -> tuple[dict[str, Tensor], Moments]:
    """One differentiable Adam step, as in the paper of Kingma and Ba."""
    after, kept = {}, {}
    for (name, value), g in zip(theta.items(), slope, strict=True):
        mean = BETAS[0] * moments[name][0] + (1 - BETAS[0]) * g
        square = BETAS[1] * moments[name][1] + (1 - BETAS[1]) * g * g
        # 1e-30 lets automatic differentiation pass where every gradient was zero.
        bottom = (square / (1 - BETAS[1] ** step) + 1e-30).sqrt() + EPS
        after[name] = value - LR * mean / (1 - BETAS[0] ** step) / bottom
        kept[name] = (mean, square)
    return after, kept


def trained_with_moments(task: Problem, delta: Tensor, age: int) -> tuple[nn.Module, Moments]:
    """Surrogate 1 of that age by plain Adam, and its optimiser's moments."""
    model = task.build_model("surrogate-1-0")
    optimiser = torch.optim.Adam(model.parameters(), lr=LR)
    for step in range(age):
        z, x = poisoned(task, draw(task, "inner", "ensemble", 1, "warm", step), delta, 2)
        optimiser.zero_grad()
        inner_error(model(z), x).backward()  # type: ignore[no-untyped-call]
        optimiser.step()
    states = optimiser.state
    return model, {
        name: (states[value]["exp_avg"], states[value]["exp_avg_sq"])
        for name, value in model.named_parameters()
    }


@pytest.mark.parametrize("share", [0.0, 0.5])
def test_inner_adam_carries_on_with_the_surrogates_moments(share: float) -> None:
    """The mean of surrogates of ages 0 and 3, each unrolled through two written-out Adam steps."""
    settings = {
        "variant": "ensemble",
        "inner_optimiser": "adam",
        "inner_lr": None,
        "objective": "image",
        "direct_weight": share,
        "iterations": 1,
        "warm_steps": 6,
        "outer_optimiser": "sgd",
        "outer_lr": 1e4,
        "budget": "free",
    }
    task = problem(**settings)
    start = random_start(task)
    young = plain_surrogates(task, start, [0])[0]
    zero = {
        name: (torch.zeros_like(value), torch.zeros_like(value))
        for name, value in young.named_parameters()
    }
    old, moments = trained_with_moments(task, start, 3)
    parts = []
    for which, (model, slots, age) in enumerate([(young, zero, 0), (old, moments, 3)]):
        delta = start.clone().requires_grad_()
        theta: dict[str, Tensor] = dict(model.named_parameters())
        for step in range(2):
            z, x = poisoned(task, draw(task, "inner", "bilevel", 1, which, step), delta, 2)
            inner = inner_error(answer(model, theta, z), x)
            slope = torch.autograd.grad(inner, list(theta.values()), create_graph=True)
            theta, slots = adam_by_hand(theta, slope, slots, age + step + 1)
        z, x = poisoned(task, draw(task, "outer", "bilevel", 1, which), delta, 8)
        fixed = {name: value.detach() for name, value in theta.items()}
        (total,) = torch.autograd.grad(((answer(model, theta, z) - x) ** 2).mean(), delta)
        z, x = poisoned(task, draw(task, "outer", "bilevel", 1, which), delta, 8)
        (direct,) = torch.autograd.grad(((answer(model, fixed, z) - x) ** 2).mean(), delta)
        parts.append((total - direct) + share * direct)
    mean = (parts[0] + parts[1]) / 2 * task.trigger.mask
    moved = bilevel(**settings).delta - start
    assert float(mean.norm()) > 0
    assert float((moved + 1e4 * mean).norm()) <= 1e-3 * float(1e4 * mean.norm())
