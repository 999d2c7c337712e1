"""Inner optimisers: PyTorch's own steps, finite differences, plain automatic differentiation."""

import pytest
import torch
from torch import Tensor

from inner_problems import Case, assert_near, attack_on, difference, strong_rate
from recondoor.core import registry
from recondoor.training.hypergradient import OPTIMISERS, Hypergradient, Parameters, solve

every = pytest.mark.parametrize("optimiser", OPTIMISERS)
stateful = pytest.mark.parametrize("optimiser", ["momentum", "adam"])
operator = pytest.mark.parametrize("operator", registry.names("operators"))


@stateful
@operator
@pytest.mark.parametrize("m", [1, 3])
def test_against_central_differences(operator: str, optimiser: str, m: int) -> None:
    """Of PyTorch's own optimiser, which carries on from three steps before."""
    case = attack_on(operator, 0, optimiser)
    lr = strong_rate(case, m)
    result = case.solve("unrolled", m, lr)
    bilevel = difference(lambda d: case.outer(case.delta, case.learn(d, m, lr)), case.delta)
    # The differences are no more exact: of steps of 1e-4 and 1e-5 either is further off for some
    # operator, by truncation or by rounding.
    assert_near(result.bilevel, bilevel, 5e-6)
    learnt = case.learn(case.delta, m, lr)
    assert float(result.bilevel.norm()) >= 0.05 * float(result.total.norm())
    for key, value in learnt.items():
        assert_near(result.parameters[key], value, 1e-12)


def textbook_step(
    optimiser: str, theta: Tensor, slope: Tensor, state: dict[str, Tensor], lr: float, t: int
) -> tuple[Tensor, dict[str, Tensor]]:
    if optimiser == "sgd":
        return theta - lr * slope, {}
    if optimiser == "momentum":
        velocity = 0.9 * state["momentum"] + slope
        return theta - lr * velocity, {"momentum": velocity}
    mean = 0.9 * state["mean"] + 0.1 * slope
    square = 0.999 * state["square"] + 0.001 * slope**2
    # The root of zero has an infinite derivative; where the square is zero so is its own.
    there = square > 0
    root = torch.where(there, (torch.where(there, square, 1) / (1 - 0.999**t)).sqrt(), 0)
    return theta - lr * mean / (1 - 0.9**t) / (root + 1e-8), {"mean": mean, "square": square}


def plainly_unrolled(case: Case, m: int, lr: float) -> tuple[Tensor, Tensor]:
    """Total and direct derivative by automatic differentiation of everything at once."""
    delta = case.delta.clone().requires_grad_()
    theta = {name: value.clone().requires_grad_() for name, value in case.theta.items()}
    states: dict[str, dict[str, Tensor]] = {name: {} for name in theta}
    for name, value in theta.items():
        for slot in ("momentum", "mean", "square"):
            start = case.state.get(f"{slot}.{name}", torch.zeros_like(value))
            states[name][slot] = start.detach()
    taken = int(case.state.get("step", torch.tensor(0)))
    for step in range(m):
        loss = case.inner(step, delta, theta)
        slope = torch.autograd.grad(loss, list(theta.values()), create_graph=True)
        for (name, value), gradient in zip(list(theta.items()), slope, strict=True):
            theta[name], states[name] = textbook_step(
                case.optimiser, value, gradient, states[name], lr, taken + step + 1
            )
    (total,) = torch.autograd.grad(case.outer(delta, theta), delta)
    fixed = {name: value.detach() for name, value in theta.items()}
    (direct,) = torch.autograd.grad(case.outer(delta, fixed), delta)
    return total, direct


@every
@operator
@pytest.mark.parametrize("m", [1, 2, 4])
def test_against_plain_automatic_differentiation(operator: str, optimiser: str, m: int) -> None:
    case = attack_on(operator, 1, optimiser)
    lr = strong_rate(case, m)
    total, direct = plainly_unrolled(case, m, lr)
    for name in ("unrolled", "checkpointed"):
        result = case.solve(name, m, lr)
        assert_near(result.bilevel, total - direct, 1e-8)


def one_parameter(optimiser: str, steps: int, scale: float = 1.0) -> Hypergradient:
    def inner(step: int, delta: Tensor, p: Parameters) -> Tensor:
        return scale * (p["a"] - delta).square().sum() + 0 * p["dead"].sum()

    return solve(
        "unrolled",
        inner,
        lambda delta, p: p["a"].sum() + p["dead"].sum(),
        torch.tensor([0.3], dtype=torch.float64),
        {name: torch.zeros(1, dtype=torch.float64) for name in ("a", "dead")},
        steps=steps,
        lr=0.1,
        optimiser=optimiser,
    )


@every
@pytest.mark.parametrize("scale", [1.0, 1e-9, 0.0])
def test_gradients_that_are_zero_or_tiny(optimiser: str, scale: float) -> None:
    result = one_parameter(optimiser, 3, scale)
    assert bool(torch.isfinite(result.total).all())
    assert float(result.parameters["dead"]) == 0
    if scale == 0:
        assert result.total.tolist() == [0]


def test_first_step_of_adam_by_hand() -> None:
    """theta_1 = -lr g / (|g| + eps) with g = 2 s (theta_0 - delta), so that eps decides."""
    scale, eps, lr, delta = 1e-8, 1e-8, 0.1, 0.3
    g = -2 * scale * delta
    expected = -lr * eps / (abs(g) + eps) ** 2 * -2 * scale
    result = one_parameter("adam", 1, scale)
    assert float(result.bilevel) == pytest.approx(expected, rel=1e-9)


@every
def test_state_carries_on_between_calls(optimiser: str) -> None:
    case = attack_on("gaussian", 0, optimiser)
    case.state, lr = {}, 0.003
    expected = case.learn(case.delta, 6, lr)
    first = case.solve("unrolled", 3, lr)
    untouched = {key: value.clone() for key, value in first.state.items()}
    case.theta, case.state = first.parameters, first.state
    second = case.solve("checkpointed", 3, lr)
    for key, value in expected.items():
        assert_near(second.parameters[key], value, 1e-12)
    for key, value in untouched.items():
        assert torch.equal(first.state[key], value)
    assert int(second.state.get("step", torch.tensor(6))) == 6
    assert (second.state == {}) == (optimiser == "sgd")
