"""What the bi-level attack does step by step, against plain automatic differentiation."""

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.func import functional_call

from recondoor.attacks import CraftState, Problem, _bilevel, craft
from recondoor.attacks._outer import outer_step
from recondoor.attacks._surrogates import Ensemble
from recondoor.core import seeding
from recondoor.core.errors import TrainingError
from recondoor.training.losses import squared_error
from toy_problem import SHAPE, bilevel, delta_of, draw, inner_error, poisoned, problem, tools


def random_start(task: Problem) -> Tensor:
    generator = seeding.torch_generator(task.seed, "attack", "bilevel")
    return torch.rand(SHAPE, generator=generator) * task.trigger.mask


def plain_gradient(
    task: Problem, model: nn.Module, start: Tensor, lr: float, weight: float = 1, which: int = 0
) -> tuple[Tensor, dict[str, Tensor], Tensor]:
    """Equations 3-6 of the paper: hypergradient of the first outer step, theta_m, outer loss."""
    settings, mask = task.settings, task.trigger.mask
    delta = start.clone().requires_grad_()
    theta: dict[str, Tensor] = dict(model.named_parameters())

    def loss(index: Tensor, count: int, theta: dict[str, Tensor]) -> Tensor:
        z, x = poisoned(task, index, delta * mask, count)
        answer: Tensor = functional_call(model, theta, (z,))
        return weight * (inner_error(answer, x) if count == 2 else ((answer - x) ** 2).mean())

    for step in range(settings.inner_steps):
        index = draw(task, "inner", "bilevel", 1, which, step)
        inner = loss(index, 2, theta)  # the nearest to 0.3 * 8 pairs
        slope = torch.autograd.grad(inner, list(theta.values()), create_graph=True)
        theta = {k: v - lr * g for (k, v), g in zip(theta.items(), slope, strict=True)}
    index = draw(task, "outer", "bilevel", 1, which)
    outer = loss(index, 8, theta) + settings.benign_weight * loss(index, 0, theta)
    (gradient,) = torch.autograd.grad(outer, delta)
    return gradient, {k: v.detach() for k, v in theta.items()}, outer.detach()


# The first outer step


@pytest.mark.parametrize("benign_weight", [0.0, 0.7])
@pytest.mark.parametrize(
    ("scale", "weight"), [("pixel-mean", 1), ("row-sum", 10), ("sum", 1 * 10 * 11)]
)
def test_first_step_of_the_papers_recipe(scale: str, weight: float, benign_weight: float) -> None:
    settings: dict[str, Any] = {
        "variant": "paper",
        "loss_scale": scale,
        "iterations": 1,
        "inner_steps": 3,
        "inner_lr": 0.01 / weight,
        "outer_lr": 500.0,
        "benign_weight": benign_weight,
    }
    state, task = bilevel(**settings), problem(**settings)
    start, model = random_start(task), task.build_model("surrogate")
    gradient, theta, outer = plain_gradient(task, model, start, 0.01 / weight, weight)
    assert torch.equal(state.path[0], start)
    assert float(500 * gradient.norm()) > 1e-4
    torch.testing.assert_close(state.delta, start - 500 * gradient, rtol=1e-4, atol=1e-6)
    assert state.history[0]["outer_loss"] == pytest.approx(float(outer), rel=1e-5)
    for key, value in theta.items():
        torch.testing.assert_close(state.arrays[f"theta.{key}"], value, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize(("variant", "lr"), [("paper", 0.01), ("warm", 0.01)])
def test_default_inner_rate(variant: str, lr: float) -> None:
    settings: dict[str, Any] = {
        "variant": variant,
        "iterations": 1,
        "warm_steps": 0,
        "inner_lr": None,
    }
    task = problem(**settings)
    start = random_start(task) if variant == "paper" else task.budget.scale(random_start(task))
    _, theta, _ = plain_gradient(task, task.build_model("surrogate"), start, lr)
    arrays = bilevel(**settings).arrays
    for key, value in theta.items():
        torch.testing.assert_close(arrays[f"theta.{key}"], value, rtol=1e-5, atol=1e-7)


def plain_surrogates(task: Problem, delta: Tensor, ages: list[int]) -> list[nn.Module]:
    """Surrogates of these ages by PyTorch's plain Adam."""
    found = []
    for k, age in enumerate(ages):
        model = task.build_model(f"surrogate-{k}-0")
        optimiser = torch.optim.Adam(model.parameters(), lr=1e-3)
        for step in range(age):
            z, x = poisoned(task, draw(task, "inner", "ensemble", k, "warm", step), delta, 2)
            optimiser.zero_grad()
            inner_error(model(z), x).backward()  # type: ignore[no-untyped-call]
            optimiser.step()
        found.append(model)
    return found


def test_an_ensemble_steps_along_the_mean_of_its_hypergradients() -> None:
    settings: dict[str, Any] = {
        "variant": "ensemble",
        "surrogates": 3,
        "warm_steps": 6,
        "iterations": 1,
        "outer_optimiser": "sgd",
        "outer_lr": 100.0,
        "budget": "free",
    }
    task = problem(**settings)
    start = random_start(task)
    models = plain_surrogates(task, start, [0, 2, 4])
    each = [
        plain_gradient(task, model, start, 0.1, which=which) for which, model in enumerate(models)
    ]
    mean = (each[0][0] + each[1][0] + each[2][0]) / 3
    state = bilevel(**settings)
    assert torch.equal(state.path[0], start)
    torch.testing.assert_close(state.delta, start - 100 * mean, rtol=1e-4, atol=1e-6)
    losses = [float(outer) for _, _, outer in each]
    assert state.history[0]["outer_loss"] == pytest.approx(np.mean(losses), rel=1e-5)


def test_ages_of_an_ensemble() -> None:
    """Staggered, one more a step, anew at the oldest; the first weights of each life differ."""
    task = problem(variant="ensemble", surrogates=3, warm_steps=6)
    delta = task.trigger.delta
    made = Ensemble(task, tools())
    made.begin(delta)
    for k, model in enumerate(plain_surrogates(task, delta, [0, 2, 4])):
        for name, value in model.named_parameters():
            found = made.arrays()[f"theta-{k}.{name}"]
            torch.testing.assert_close(found, value.detach(), rtol=1e-5, atol=1e-6)
    lived: list[list[int]] = []
    for turn in range(1, 9):
        made.advance([], delta, turn)
        arrays = made.arrays()
        ages = [(start + turn) % 6 for start in (0, 2, 4)]
        lives = [(start + turn) // 6 for start in (0, 2, 4)]
        assert arrays["ages"].tolist() == ages
        assert arrays["lives"].tolist() == lives
        for k, age in enumerate(ages):
            step = arrays.get(f"adam-{k}.0.step")
            assert (0 if step is None else int(step)) == age
            if age == 0:
                fresh = task.build_model(f"surrogate-{k}-{lives[k]}")
                for name, value in fresh.named_parameters():
                    assert torch.equal(arrays[f"theta-{k}.{name}"], value.detach())
        lived.append(lives)
    assert lived[-1] == [1, 1, 2]


def test_direct_follows_the_outer_losss_own_gradient() -> None:
    """At theta_m, which it does not differentiate."""
    task = problem(iterations=1, budget="free", outer_optimiser="sgd", warm_steps=0)
    start, model = random_start(task), task.build_model("surrogate")
    _, theta, _ = plain_gradient(task, model, start, 0.1)
    delta = start.clone().requires_grad_()
    z, x = poisoned(task, draw(task, "outer", "bilevel", 1, 0), delta, 8)
    answer = functional_call(model, theta, (z,))
    (gradient,) = torch.autograd.grad(((answer - x) ** 2).mean(), delta)
    moved = start - 10 * gradient * task.trigger.mask
    crafted = craft("direct", task, tools())
    torch.testing.assert_close(delta_of(crafted), moved, rtol=1e-5, atol=1e-7)
    assert crafted.state.history[0]["bilevel_norm"] == 0


def test_loss_scale_multiplies_the_loss_and_its_derivatives() -> None:
    rows = {
        scale: bilevel(variant="paper", iterations=1, loss_scale=scale, inner_lr=1e-12).history[0]
        for scale in ("pixel-mean", "row-sum", "sum")
    }
    base = rows["pixel-mean"]
    for scale, factor in (("row-sum", 10), ("sum", 110)):
        for key in ("outer_loss", "inner_loss", "direct_norm"):
            assert rows[scale][key] == pytest.approx(factor * float(base[key]), rel=1e-5)


# Steps on the trigger


def gradients(count: int, size: float = 1.0) -> list[Tensor]:
    generator = seeding.torch_generator(0, "gradients")
    mask = problem().trigger.mask
    return [size * mask * torch.randn(SHAPE, generator=generator) for _ in range(count)]


@pytest.mark.parametrize(
    ("optimiser", "budget", "length", "pixel"),
    [  # a step is a tenth of 3 in L2, which is a tenth of 1 in each of 9 pixels
        ("normalised", "free", 0.3, None),
        ("normalised", "linf", 0.06, None),
        ("sign", "free", 0.3, 0.1),
        ("sign", "linf", 0.06, 0.02),
        ("adam", "free", 0.3, 0.1),
        ("adam", "linf", 0.06, 0.02),
    ],
)
@pytest.mark.parametrize("size", [1e-12, 1.0, 1e6])
def test_length_of_a_step(
    optimiser: str, budget: str, length: float, pixel: float | None, size: float
) -> None:
    """Whatever the scale of the loss; Adam's first step is one by signs."""
    task = problem(outer_optimiser=optimiser, budget=budget, step=0.1, linf=0.2)
    (gradient,) = gradients(1, size)
    start = torch.zeros(SHAPE)
    moved, _ = outer_step(task, start, gradient, CraftState(delta=start))
    assert float(moved.norm()) == pytest.approx(length, rel=1e-5)
    assert float((moved * gradient).sum()) < 0
    if pixel is None:
        torch.testing.assert_close(moved, -length * gradient / gradient.norm())
    else:
        torch.testing.assert_close(moved, -pixel * gradient.sign(), rtol=1e-5, atol=0)


def test_a_step_inwards_ends_on_the_whole_l2() -> None:
    task = problem(outer_optimiser="normalised", step=0.1)
    start, (other,) = task.trigger.delta, gradients(1)
    gradient = start + other
    moved, _ = outer_step(task, start, gradient, CraftState(delta=start))
    inside = start - 0.3 * gradient / gradient.norm()
    assert float(inside.norm()) < 3
    torch.testing.assert_close(moved, inside * (3 / inside.norm()))


@pytest.mark.parametrize("variant", ["warm", "paper"])
def test_plain_step(variant: str) -> None:
    """Of alpha times the gradient, and back to the budget but in the paper's recipe."""
    task = problem(variant=variant, outer_optimiser="sgd", outer_lr=100.0)
    (gradient,) = gradients(1)
    start = task.trigger.delta
    moved, _ = outer_step(task, start, gradient, CraftState(delta=start))
    expected = start - 100 * gradient
    if variant == "warm":
        expected = expected * (3 / expected.norm())
    torch.testing.assert_close(moved, expected)


def test_adam_is_that_of_the_paper() -> None:
    """Kingma and Ba, algorithm 1, in NumPy; epsilon is relative to the largest pixel."""
    task = problem(outer_optimiser="adam", budget="free", step=0.1)
    inside = (task.trigger.mask == 1).numpy()
    state = CraftState(delta=torch.zeros(SHAPE))
    theta, m, v = np.zeros(SHAPE), np.zeros(SHAPE), np.zeros(SHAPE)
    for t, gradient in enumerate(gradients(6, 1e-9), start=1):
        moved, memory = outer_step(task, state.delta, gradient, state)
        state.delta, state.iteration, state.arrays = moved, t, memory
        g = gradient.double().numpy()
        m, v = 0.9 * m + 0.1 * g, 0.999 * v + 0.001 * g**2
        root = np.sqrt(v / (1 - 0.999**t))
        step = m / (1 - 0.9**t) / np.where(inside, root + 1e-8 * root.max(), 1)
        theta = theta - 0.1 * step
        np.testing.assert_allclose(moved.numpy(), theta, rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize("optimiser", ["sgd", "normalised", "sign", "adam"])
def test_without_a_gradient_the_trigger_stays(optimiser: str) -> None:
    task = problem(outer_optimiser=optimiser)
    start = task.trigger.delta
    moved, _ = outer_step(task, start, torch.zeros(SHAPE), CraftState(delta=start))
    torch.testing.assert_close(moved, start)


# Whole runs


@pytest.mark.parametrize("start", ["random", "heuristic", "tangent"])
def test_first_trigger(start: str) -> None:
    task = problem(start=start, iterations=1, l2=0.5)
    drawn = random_start(task)
    expected = {
        "random": 0.5 * drawn / drawn.norm(),
        "heuristic": task.trigger.delta / 6,
        "tangent": delta_of(craft("tangent", problem(l2=0.5), tools())),
    }[start]
    torch.testing.assert_close(craft("bilevel", task, tools()).state.path[0], expected)


@pytest.mark.parametrize("iterations", [3, 41])
def test_record_of_a_run(iterations: int) -> None:
    state = bilevel(iterations=iterations, width=4)
    assert [row["iteration"] for row in state.history] == list(range(1, iterations + 1))
    assert set(state.history[0]) == {
        *("iteration", "outer_loss", "inner_loss", "direct_norm", "bilevel_norm"),
        *("cosine", "l2", "linf", "change"),
    }
    assert state.path_iteration[0] == 0
    assert state.path_iteration[-1] == iterations
    assert state.path_iteration == sorted(set(state.path_iteration))
    assert 2 <= len(state.path) <= 30
    for k, delta in zip(state.path_iteration[1:], state.path[1:], strict=True):
        row = state.history[k - 1]
        assert row["l2"] == pytest.approx(float(delta.norm()), rel=1e-6)
        assert row["linf"] == pytest.approx(float(delta.abs().max()), rel=1e-6)
    assert all(-1.0001 <= float(row["cosine"]) <= 1.0001 for row in state.history)
    assert state.seconds > 0


def test_warm_variant_moves_by_normalised_steps_within_the_budget() -> None:
    state = bilevel(iterations=12, step=0.1)
    assert float(state.path[0].norm()) == pytest.approx(3, rel=1e-6)
    for row in state.history:
        # A step inwards by a tenth is stretched by 10 / 9 at the most.
        assert 0 < float(row["change"]) <= 0.3 * 10 / 9 * (1 + 1e-5)
        assert float(row["l2"]) == pytest.approx(3, rel=1e-5)
    assert float((state.delta - state.path[0]).norm()) > 0.3


def test_warm_up_counts() -> None:
    with_it, without = bilevel(iterations=1), bilevel(iterations=1, warm_steps=0)
    assert torch.equal(with_it.path[0], without.path[0])
    assert with_it.history[0]["outer_loss"] != without.history[0]["outer_loss"]


@pytest.mark.parametrize(
    ("objectives", "patience", "best", "stopped"),
    [
        ([5, 3, 4, 2, 2, 2.5, 1], 2, 4, 6),
        ([5, 3, 4, 2, 2, 2.5, 1], 3, 7, 7),
        ([1, 2, 3], 1, 1, 2),
        ([math.inf, math.inf, 3], 9, 3, 3),
    ],
)
def test_patience_keeps_the_best_trigger_and_stops(
    monkeypatch: pytest.MonkeyPatch,
    objectives: list[float],
    patience: int,
    best: int,
    stopped: int,
) -> None:
    remaining = iter(objectives)
    monkeypatch.setattr(_bilevel, "_objective", lambda *arguments: next(remaining))
    task = problem(patience=patience, iterations=len(objectives))
    crafted = craft("bilevel", task, tools())
    state = crafted.state
    assert [row["objective"] for row in state.history] == objectives[:stopped]
    assert state.iteration == stopped
    assert torch.equal(delta_of(crafted), state.path[best])
    assert torch.equal(delta_of(crafted), state.delta) == (best == stopped)


def test_objective_is_the_outer_loss_on_one_fixed_batch_of_held_out_pairs() -> None:
    task = problem(patience=9, iterations=3, benign_weight=0.5)
    state = craft("bilevel", task, tools()).state
    model = task.build_model("surrogate")
    model.load_state_dict({name: state.arrays[f"theta.{name}"] for name in model.state_dict()})
    index = draw(task, "outer", "judge")
    with torch.no_grad():
        attack, benign = (
            squared_error(model(z), x)
            for z, x in (poisoned(task, index, state.delta, count) for count in (8, 0))
        )
    assert state.history[-1]["objective"] == pytest.approx(float(attack + 0.5 * benign), rel=1e-5)


def test_papers_variant_moves_freely_when_its_step_is_large_enough() -> None:
    task = problem(variant="paper", loss_scale="sum", inner_lr=1e-6, outer_lr=1e5, l2=0.1)
    said: list[str] = []
    crafted = craft("bilevel", replace(task), tools(say=said.append))
    assert crafted.trigger is not None
    assert crafted.trigger.l2 > 0.1
    assert float((crafted.state.delta - crafted.state.path[0]).norm()) > 0.1
    assert said == []


def test_a_trigger_that_does_not_move_is_told() -> None:
    said: list[str] = []
    task = problem(variant="paper", outer_lr=1e-6, iterations=20, width=4)
    craft("bilevel", task, tools(say=said.append))
    (line,) = said
    assert "moved by 0.00% of its norm in 20 iterations" in line
    assert "attack.bilevel.outer_lr" in line
    assert "attack.bilevel.variant=warm" in line


@pytest.mark.parametrize("variant", ["warm", "paper", "ensemble"])
@pytest.mark.parametrize("patience", [None, 3])
def test_divergence_stops_with_the_remedy(variant: str, patience: int | None) -> None:
    kept: list[int] = []
    task = problem(
        variant=variant, loss_scale="sum", inner_lr=1e12, iterations=50, patience=patience
    )
    with pytest.raises(TrainingError) as caught:
        craft("bilevel", task, tools(on_step=lambda state: kept.append(state.iteration)))
    text = str(caught.value)
    assert "not finite at iteration" in text
    assert "lower attack.bilevel.outer_lr or attack.bilevel.inner_lr" in text
    assert "smaller attack.bilevel.loss_scale than 'sum'" in text
    assert all(k < 50 for k in kept)
