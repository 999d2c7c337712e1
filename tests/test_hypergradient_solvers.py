"""The solvers against each other, closed forms and the theory of what they cost."""

import weakref
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.func import functional_call
from torch.utils.flop_counter import FlopCounterMode

from inner_problems import Case, assert_near, attack_on, strong_rate
from recondoor import models
from recondoor.config import Model
from recondoor.core import registry
from recondoor.core.errors import ConfigError, RecondoorError
from recondoor.core.seeding import torch_generator
from recondoor.training.hypergradient import SOLVERS, Hypergradient, Parameters, Split, solve

operator = pytest.mark.parametrize("operator", registry.names("operators"))
solver = pytest.mark.parametrize("name", SOLVERS)
EXACT = {
    "checkpointed": {},
    "truncated": {"truncation": 3},
}


@operator
@pytest.mark.parametrize("optimiser", ["sgd", "momentum", "adam"])
@pytest.mark.parametrize("split", [True, False])
def test_exact_solvers_agree(operator: str, optimiser: str, split: bool) -> None:
    case = attack_on(operator, 2, optimiser)
    lr = strong_rate(case, 3)
    expected = case.solve("unrolled", 3, lr, split=False)
    assert float(expected.bilevel.norm()) >= 0.05 * float(expected.total.norm())
    for name, settings in {"unrolled": {}, **EXACT}.items():
        found = case.solve(name, 3, lr, split=split, **settings)
        assert_near(found.bilevel, expected.bilevel, 1e-9)
        assert_near(found.direct, expected.direct, 1e-9)
        for key, value in expected.state.items():
            torch.testing.assert_close(found.state[key], value, rtol=1e-9, atol=1e-15)


@solver
def test_every_solver_takes_the_same_steps_to_the_bit(name: str) -> None:
    case = attack_on("gaussian", 0, "adam")
    expected, found = case.solve("unrolled", 3, 0.01), case.solve(name, 3, 0.01)
    assert torch.equal(found.direct, expected.direct)
    assert torch.equal(found.inner_loss, expected.inner_loss)
    assert torch.equal(found.outer_loss, expected.outer_loss)
    for key, value in {**expected.parameters, **expected.state}.items():
        assert torch.equal({**found.parameters, **found.state}[key], value)
    assert torch.equal(case.solve(name, 3, 0.01).bilevel, found.bilevel)


def test_truncation_at_one_step_by_hand() -> None:
    """Through the last step only: -lr partial_delta <grad g(theta_{m-1}), grad f(theta_m)>."""
    case, lr = attack_on("fourier"), 0.05
    before, after = case.learn(case.delta, 2, lr), case.learn(case.delta, 3, lr)
    delta = case.delta.clone().requires_grad_()
    before = {name: value.requires_grad_() for name, value in before.items()}
    after = {name: value.requires_grad_() for name, value in after.items()}
    slope = torch.autograd.grad(
        case.inner(2, delta, before), list(before.values()), create_graph=True
    )
    adjoint = torch.autograd.grad(case.outer(case.delta, after), list(after.values()))
    inner_product = sum((a * b).sum() for a, b in zip(slope, adjoint, strict=True))
    assert isinstance(inner_product, Tensor)
    (expected,) = torch.autograd.grad(-lr * inner_product, delta)
    assert_near(case.solve("truncated", 3, lr, truncation=1).bilevel, expected, 1e-10)


def test_direct_has_no_bilevel_part() -> None:
    assert not bool(attack_on("identity").solve("direct", 2, 0.5).bilevel.any())


def quadratic(
    name: str, m: int, lr: float, **settings: Any
) -> tuple[Hypergradient, Tensor, Tensor]:
    """Inner 1/2 theta' H theta - theta' B delta, outer 1/2 |theta - d|^2; also returns H and B."""
    generator = torch_generator(0, "quadratic")
    root = torch.randn(5, 5, generator=generator, dtype=torch.float64)
    h = root @ root.T / 5 + 0.5 * torch.eye(5, dtype=torch.float64)
    b, d = (torch.randn(5, n, generator=generator, dtype=torch.float64) for n in (3, 1))
    result = solve(
        name,
        lambda step, delta, p: p["a"] @ h @ p["a"] / 2 - p["a"] @ b @ delta,
        lambda delta, p: (p["a"] - d[:, 0]).square().sum() / 2,
        torch.ones(3, dtype=torch.float64),
        {"a": torch.zeros(5, dtype=torch.float64)},
        steps=m,
        lr=lr,
        **settings,
    )
    return result, h, torch.cat([b, result.parameters["a"][:, None] - d], dim=1)


@pytest.mark.parametrize("m", [0, 4])
def test_conjugate_gradient_solves_the_linear_system(m: int) -> None:
    result, h, known = quadratic("implicit-cg", m, 0.1, terms=8, damping=0.3)
    b, slope = known[:, :3], known[:, 3]
    expected = b.T @ torch.linalg.solve(h + 0.3 * torch.eye(5, dtype=torch.float64), slope)
    torch.testing.assert_close(result.bilevel, expected, rtol=1e-10, atol=1e-12)


def test_neumann_series_is_summed() -> None:
    result, h, known = quadratic("implicit-neumann", 4, 0.1, terms=6, damping=0.3)
    b, slope = known[:, :3], known[:, 3]
    decay = (1 - 0.1 * 0.3) * torch.eye(5, dtype=torch.float64) - 0.1 * h
    v = 0.1 * sum(torch.linalg.matrix_power(decay, j) @ slope for j in range(6))
    torch.testing.assert_close(result.bilevel, b.T @ v, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("name", ["implicit-cg", "implicit-neumann"])
def test_implicit_solvers_end_where_unrolling_does(name: str) -> None:
    unrolled, *_ = quadratic("unrolled", 400, 0.2)
    implicit, *_ = quadratic(name, 400, 0.2, terms=400, damping=0.0)
    torch.testing.assert_close(implicit.bilevel, unrolled.bilevel, rtol=1e-9, atol=1e-12)


def test_conjugate_gradient_stops_at_negative_curvature() -> None:
    result, *_ = quadratic("implicit-cg", 2, 0.1, damping=-100.0)
    assert result.bilevel.tolist() == [0, 0, 0]


@solver
def test_implicit_and_other_solvers_take_the_split(name: str) -> None:
    case = attack_on("pixel-mask")
    whole, parts = (case.solve(name, 2, 0.05, split=split) for split in (False, True))
    assert_near(parts.total, whole.total, 1e-10)
    assert float(parts.inner_loss) == pytest.approx(float(whole.inner_loss), rel=1e-12)


@solver
def test_sides_of_a_batch_without_rows(name: str) -> None:
    case, nothing = attack_on("identity"), torch.zeros((), dtype=torch.float64)
    plain = case.solve(name, 2, 0.05, split=False)
    case.split = lambda step, delta, theta: Split(nothing, case.inner(step, delta, theta))
    assert_near(case.solve(name, 2, 0.05).total, plain.total, 1e-10)
    fixed = case.delta.clone()
    case.split = lambda step, delta, theta: Split(case.inner(step, fixed, theta), nothing)
    assert not bool(case.solve(name, 2, 0.05).bilevel.any())


def test_free_part_that_depends_on_delta_is_refused() -> None:
    case = attack_on("identity")
    case.split = lambda step, delta, theta: Split(
        case.inner(step, delta, theta), case.inner(step, delta, theta)
    )
    with pytest.raises(RecondoorError, match="rows that do belong to Split.bound"):
        case.solve("unrolled", 2, 0.05)


def test_unknown_names_are_refused() -> None:
    case = attack_on("identity")
    with pytest.raises(ConfigError, match="did you mean 'unrolled'"):
        case.solve("unroled", 1, 0.1)
    with pytest.raises(ConfigError, match="did you mean 'adam'"):
        case.solve("direct", 1, 0.1, optimiser="adm")


def paper_case(poisoned: int, batch: int) -> tuple[Case, int]:
    """The network of the paper; also returns the operations of one forward pass."""
    shape = (1, 28, 28)
    model = models.build(shape, Model(), 0)
    z = torch.rand(batch, *shape, generator=torch_generator(0, "images"))
    theta = {name: value.detach() for name, value in model.named_parameters()}

    def loss(z: Tensor, theta: Parameters) -> Tensor:
        return functional_call(model, theta, (z,)).square().sum() / (batch * 784)

    def split(step: int, delta: Tensor, theta: Parameters) -> Split:
        return Split(loss(z[poisoned:], theta), loss(z[:poisoned] + delta, theta))

    case = Case(
        lambda step, delta, theta: loss(torch.cat([z[:poisoned] + delta, z[poisoned:]]), theta),
        split,
        lambda delta, theta: loss(z + delta, theta),
        torch.zeros(shape),
        theta,
    )
    return case, operations(lambda: model(z))


def operations(call: Any) -> int:
    counter = FlopCounterMode(display=False)
    with counter:
        call()
    return int(counter.get_total_flops())


@pytest.mark.parametrize(("poisoned", "bar"), [(1, 16.5), (3, 17.5)])
def test_passes_as_many_as_theory_says(poisoned: int, bar: float) -> None:
    """3 forward passes a step, 3 for the outer loss, 6 a step back, 4 p for the last one back."""
    case, forward = paper_case(poisoned, 10)
    p = poisoned / 10
    for m in (1, 2, 3):
        passes = operations(lambda m=m: case.solve("unrolled", m, 0.01)) / forward
        assert passes == pytest.approx(9 * m - 3 + 4 * p, rel=0.02)
        passes = operations(lambda m=m: case.solve("direct", m, 0.01)) / forward
        assert passes == pytest.approx(3 * m + 3, rel=0.02)
    assert operations(lambda: case.solve("unrolled", 2, 0.01)) <= bar * forward


class Saved:
    """Counts the bytes that autograd holds, through its hooks, and their largest sum."""

    def __init__(self) -> None:
        self.now = self.peak = 0

    def free(self, size: int) -> None:
        self.now -= size

    def pack(self, tensor: Tensor) -> list[Tensor]:
        class Box(list[Tensor]):
            pass

        box, size = Box([tensor]), tensor.numel() * tensor.element_size()
        self.now += size
        self.peak = max(self.peak, self.now)
        weakref.finalize(box, self.free, size)
        return box


def held(case: Case, name: str, m: int) -> int:
    saved = Saved()
    with torch.autograd.graph.saved_tensors_hooks(saved.pack, lambda box: box[0]):
        case.solve(name, m, 0.01)
    return saved.peak


def test_checkpoints_hold_one_graph_at_a_time() -> None:
    case = attack_on("identity")
    assert held(case, "checkpointed", 20) <= 1.2 * held(case, "checkpointed", 5)
    assert held(case, "unrolled", 20) >= 3 * held(case, "unrolled", 5)
    assert held(case, "truncated", 20) <= 1.2 * held(case, "truncated", 5)


@solver
@pytest.mark.parametrize("optimiser", ["sgd", "momentum", "adam"])
def test_memory_layout_is_kept(name: str, optimiser: str) -> None:
    case, _ = paper_case(1, 3)
    result = case.solve(name, 2, 0.01, optimiser=optimiser)
    for key, value in case.theta.items():
        assert result.parameters[key].stride() == value.stride()
    assert result.direct.shape == result.bilevel.shape == (1, 28, 28)
