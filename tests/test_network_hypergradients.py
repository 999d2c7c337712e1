"""The hypergradient through every network: central differences, and PyTorch's own derivatives."""

import pytest
import torch

from inner_problems import Case, assert_near, attack_on, difference, strong_rate
from recondoor.core import registry
from recondoor.testing import NetworkContract
from recondoor.training.hypergradient import SOLVERS

NETWORKS = registry.names("models")
every = pytest.mark.parametrize("name", NETWORKS)
# These answer to their input as they are; the size of an eigenvalue is no weight to be scaled.
FRESH = {"modl", "varnet"}


def attack_with(name: str, optimiser: str = "sgd", operator: str = "gaussian") -> Case:
    network = NetworkContract().settings(name, 4)
    louder = {"louder": 1.0} if name in FRESH else {}
    return attack_on(operator, 1, optimiser, network, **louder)


@every
@pytest.mark.parametrize("split", [True, False], ids=["split", "whole"])
@pytest.mark.parametrize("optimiser", ["sgd", "adam"])
def test_against_central_differences(name: str, optimiser: str, split: bool) -> None:
    case, m = attack_with(name, optimiser), 2
    lr = strong_rate(case, m)
    result = case.solve("unrolled", m, lr, split=split)
    bilevel = difference(lambda d: case.outer(case.delta, case.learn(d, m, lr)), case.delta, 1e-5)
    learnt = case.learn(case.delta, m, lr)
    direct = difference(lambda d: case.outer(d, learnt), case.delta, 1e-5)
    assert float(bilevel.norm()) >= 0.05 * float((bilevel + direct).norm())
    assert_near(result.bilevel, bilevel, 1e-5)
    assert_near(result.direct, direct, 1e-6)


@every
@pytest.mark.parametrize("operator", registry.names("operators"))
def test_against_plain_automatic_differentiation(name: str, operator: str) -> None:
    """With `create_graph` and PyTorch's own second derivatives of convolutions."""
    case, m = attack_with(name, operator=operator), 3
    lr = strong_rate(case, m)
    delta = case.delta.clone().requires_grad_()
    theta = {key: value.clone().requires_grad_() for key, value in case.theta.items()}
    for step in range(m):
        slope = torch.autograd.grad(
            case.inner(step, delta, theta), list(theta.values()), create_graph=True
        )
        theta = {n: v - lr * g for (n, v), g in zip(theta.items(), slope, strict=True)}
    (total,) = torch.autograd.grad(case.outer(delta, theta), delta)
    result = case.solve("unrolled", m, lr)
    assert_near(result.total, total, 1e-9)
    for key, value in theta.items():
        assert_near(result.parameters[key], value.detach(), 1e-9)


@every
@pytest.mark.parametrize("solver", SOLVERS)
def test_every_solver_gives_a_finite_hypergradient(name: str, solver: str) -> None:
    result = attack_with(name).solve(solver, 2, 1e-3)
    assert bool(result.total.isfinite().all())
    assert bool(result.direct.any())
    assert bool(result.bilevel.any()) == (solver != "direct")
