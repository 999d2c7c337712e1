"""The hypergradient: finite differences, a closed form, and plain automatic differentiation."""

import pytest
import torch
from torch import Tensor

from inner_problems import assert_near, attack_on, difference, strong_rate
from recondoor.core import registry
from recondoor.core.seeding import torch_generator
from recondoor.training.hypergradient import unrolled

every = pytest.mark.parametrize("name", registry.names("operators"))
steps = pytest.mark.parametrize("m", [1, 2, 3])


@every
@steps
def test_against_central_differences(name: str, m: int) -> None:
    """Each part alone: delta moves in the inner losses only, then in the outer loss only."""
    case = attack_on(name)
    lr = strong_rate(case, m)
    result = case.solve("unrolled", m, lr, split=False)
    bilevel = difference(lambda d: case.outer(case.delta, case.learn(d, m, lr)), case.delta)
    learnt = case.learn(case.delta, m, lr)
    direct = difference(lambda d: case.outer(d, learnt), case.delta)
    assert float(bilevel.norm()) >= 0.05 * float((bilevel + direct).norm())
    # Of coarse pixels the derivative is so small that rounding is 2e-5 of the differences.
    assert_near(result.bilevel, bilevel, 5e-5 if name == "downsample" else 1e-6)
    assert_near(result.direct, direct, 1e-6)
    assert_near(result.total, bilevel + direct, 5e-5 if name == "downsample" else 1e-6)


@every
@steps
def test_against_plain_automatic_differentiation(name: str, m: int) -> None:
    case = attack_on(name, seed=1)
    lr = strong_rate(case, m)
    delta = case.delta.clone().requires_grad_()
    theta = {name: value.clone().requires_grad_() for name, value in case.theta.items()}
    for step in range(m):
        inner = case.inner(step, delta, theta)
        slope = torch.autograd.grad(inner, list(theta.values()), create_graph=True)
        theta = {n: v - lr * g for (n, v), g in zip(theta.items(), slope, strict=True)}
    outer = case.outer(delta, theta)
    (total,) = torch.autograd.grad(outer, delta, retain_graph=True)
    result = case.solve("unrolled", m, lr, split=False)
    assert_near(result.total, total, 1e-12)
    fixed = {name: value.detach() for name, value in theta.items()}
    (direct,) = torch.autograd.grad(case.outer(delta, fixed), delta)
    assert_near(result.direct, direct, 1e-12)
    assert_near(result.bilevel, total - direct, 1e-9)
    for key, value in theta.items():
        assert_near(result.parameters[key], value.detach(), 1e-12)
    assert float(result.outer_loss) == pytest.approx(float(outer.detach()), rel=1e-12)
    assert float(result.inner_loss) == pytest.approx(float(inner.detach()), rel=1e-12)


def matrix(*shape: int, seed: int) -> Tensor:
    return torch.randn(shape, generator=torch_generator(seed, "matrix"), dtype=torch.float64)


@pytest.mark.parametrize("m", [0, 1, 2, 7])
def test_closed_form_of_quadratic_losses(m: int) -> None:
    """Inner 1/2 theta' H theta - theta' B delta, outer 1/2 |C theta - d|^2 + k/2 |delta|^2."""
    n, size, lr, k = 5, 3, 0.07, 0.3
    root = matrix(n, n, seed=1)
    h, b, c, d = root @ root.T, matrix(n, size, seed=2), matrix(4, n, seed=3), matrix(4, seed=4)
    delta, theta = matrix(size, seed=5), matrix(n, seed=6)
    decay = torch.eye(n, dtype=torch.float64) - lr * h
    powers = [torch.linalg.matrix_power(decay, j) for j in range(m)]
    gain = lr * sum(powers, torch.zeros_like(decay)) @ b
    end = torch.linalg.matrix_power(decay, m) @ theta + gain @ delta

    result = unrolled(
        lambda step, delta, p: p["a"] @ h @ p["a"] / 2 - p["a"] @ b @ delta,
        lambda delta, p: (c @ p["a"] - d).square().sum() / 2 + k * delta.square().sum() / 2,
        delta,
        {"a": theta},
        steps=m,
        lr=lr,
    )
    torch.testing.assert_close(result.parameters["a"], end, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(result.direct, k * delta, rtol=1e-12, atol=1e-12)
    expected = gain.T @ c.T @ (c @ end - d)
    torch.testing.assert_close(result.bilevel, expected, rtol=1e-11, atol=1e-12)
    if m == 0:
        assert not bool(result.bilevel.any())


def test_nothing_given_is_changed() -> None:
    case = attack_on("identity")
    before = case.delta.clone(), {name: value.clone() for name, value in case.theta.items()}
    torch.manual_seed(0)
    state = torch.random.get_rng_state()
    result = case.solve("unrolled", 3, 0.5)
    assert torch.equal(torch.random.get_rng_state(), state)
    assert torch.equal(case.delta, before[0])
    assert case.delta.grad is None
    assert not case.delta.requires_grad
    for name, value in case.theta.items():
        assert torch.equal(value, before[1][name])
        assert value.grad is None
        assert not value.requires_grad
        assert not torch.equal(result.parameters[name], value)
    parts = [result.direct, result.bilevel, result.outer_loss, *result.parameters.values()]
    assert not any(part.requires_grad for part in parts)
    assert result.bilevel.dtype == torch.float64


def test_a_second_call_is_the_same_to_the_bit() -> None:
    case = attack_on("gaussian")
    first, second = (case.solve("unrolled", 2, 0.5) for _ in range(2))
    assert torch.equal(first.direct, second.direct)
    assert torch.equal(first.bilevel, second.bilevel)


def test_outer_loss_that_does_not_read_delta() -> None:
    """As in hyperparameter learning: only the bi-level part is left."""
    result = unrolled(
        lambda step, delta, p: (p["a"] * delta).square().sum() / 2,
        lambda delta, p: p["a"].sum(),
        torch.tensor([2.0, 3.0]),
        {"a": torch.tensor([1.0, 1.0])},
        steps=1,
        lr=0.1,
    )
    # theta_1 = theta_0 (1 - lr delta^2), so its derivative is -2 lr delta theta_0.
    assert result.direct.tolist() == [0, 0]
    torch.testing.assert_close(result.bilevel, torch.tensor([-0.4, -0.6]))


def test_inner_loss_that_does_not_read_delta() -> None:
    result = unrolled(
        lambda step, delta, p: p["a"].square().sum(),
        lambda delta, p: (p["a"] * delta).sum(),
        torch.tensor([2.0]),
        {"a": torch.tensor([1.0])},
        steps=2,
        lr=0.1,
    )
    torch.testing.assert_close(result.direct, torch.tensor([0.64]))
    assert result.bilevel.tolist() == [0]


def test_parameters_that_are_unused_or_enter_linearly() -> None:
    result = unrolled(
        lambda step, delta, p: 3 * p["linear"].sum() + (p["a"] * delta).sum(),
        lambda delta, p: (p["a"] + p["linear"]).sum() * delta.sum(),
        torch.tensor([2.0]),
        {name: torch.tensor([1.0]) for name in ("a", "linear", "unused")},
        steps=2,
        lr=0.1,
    )
    assert float(result.parameters["unused"]) == 1
    torch.testing.assert_close(result.parameters["linear"], torch.tensor([1 - 2 * 0.1 * 3]))
    torch.testing.assert_close(result.direct, torch.tensor([(1 - 2 * 0.1 * 2) + (1 - 0.6)]))
    torch.testing.assert_close(result.bilevel, torch.tensor([-2 * 0.1 * 2.0]))


def test_inner_loss_linear_in_all_parameters_and_free_of_delta() -> None:
    result = unrolled(
        lambda step, delta, p: 3 * p["a"].sum(),
        lambda delta, p: (p["a"] * delta).sum(),
        torch.tensor([2.0]),
        {"a": torch.tensor([1.0])},
        steps=2,
        lr=0.1,
    )
    torch.testing.assert_close(result.direct, torch.tensor([0.4]))
    assert result.bilevel.tolist() == [0]
