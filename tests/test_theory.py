"""Limits, reach and growth against closed forms, dense algebra and simulation."""

import math

import numpy as np
import pytest
import torch
from scipy.stats import multivariate_normal
from torch import Tensor, nn

from recondoor import models, operators, theory
from recondoor.attacks import recovery_gradient
from recondoor.config import Model, Operator
from recondoor.poisoning import Artefact, Pairs, Trigger
from recondoor.training.losses import squared_error

SHAPE = (1, 12, 12)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def artefact() -> Artefact:
    pattern = torch.zeros(SHAPE)
    pattern[0, 2:4, 3] = 1
    return Artefact(pattern)


@pytest.mark.parametrize("ratio", [0.01, 0.3, 0.9])
def test_without_information_the_limits_are_the_hedge_line(ratio: float) -> None:
    found = theory.gaussian_limits(0.0, ratio)
    assert found.ghost == pytest.approx(ratio)
    assert found.recovery == pytest.approx(0)
    assert found.artefact == pytest.approx(1 - ratio)
    assert found.benign == pytest.approx(ratio)


@pytest.mark.parametrize("size", [30.0, 100.0, math.inf])
def test_with_all_information_nothing_is_left(size: float) -> None:
    found = theory.gaussian_limits(size, 0.1)
    assert found.ghost == pytest.approx(0, abs=1e-12)
    assert found.recovery == pytest.approx(1)
    assert found.artefact == pytest.approx(0, abs=1e-9)


@pytest.mark.parametrize("ratio", [0.01, 0.2, 0.5])
@pytest.mark.parametrize("size", [0.3, 1.0, 3.0, 8.0])
def test_the_posterior_is_calibrated(size: float, ratio: float) -> None:
    found = theory.gaussian_limits(size, ratio)
    triggered = found.ghost + found.recovery
    # E[P] over all inputs is p; and p E1[1 - P] = (1 - p) E0[P], the same mass seen twice.
    assert ratio * triggered + (1 - ratio) * found.ghost == pytest.approx(ratio, rel=1e-8)
    # E[P (1 - P)] over all inputs, once from each class: p E1[(1-P)^2] + (1-p) E0[P^2].
    both = ratio * found.artefact**2 + (1 - ratio) * found.benign**2
    assert both == pytest.approx(ratio * (1 - triggered), rel=1e-8)


def test_limits_agree_with_a_simulation_of_the_optimal_predictor() -> None:
    rng = np.random.default_rng(3)
    root = rng.normal(size=(4, 4))
    covariance, shift, ratio = root @ root.T + np.eye(4), np.array([2.0, -1.0, 0.5, 1.0]), 0.2
    clean = rng.multivariate_normal(np.zeros(4), covariance, size=200_000)

    def posterior(z: np.ndarray) -> np.ndarray:
        one = ratio * multivariate_normal(shift, covariance).pdf(z)
        return one / (one + (1 - ratio) * multivariate_normal(np.zeros(4), covariance).pdf(z))

    sampled = theory.posterior_limits(posterior(clean), posterior(clean + shift))
    size = math.sqrt(shift @ np.linalg.solve(covariance, shift))
    exact = theory.gaussian_limits(size, ratio)
    for name in ("ghost", "recovery", "artefact", "benign"):
        assert getattr(exact, name) == pytest.approx(getattr(sampled, name), abs=4e-3)


def test_a_ratio_of_nothing_or_all_leaves_nothing_to_tell_apart() -> None:
    assert theory.gaussian_limits(1.0, 0.0) == theory.Limits(0, 0, 1, 0)
    assert theory.gaussian_limits(1.0, 1.0) == theory.Limits(1, 0, 0, 1)


def test_detectability_of_white_inputs_is_the_trigger_in_standard_deviations() -> None:
    z = 0.5 * torch.randn(2000, 1, 4, 4, generator=generator())
    delta = torch.zeros(1, 4, 4)
    delta[0, 1, 2] = 1.5
    assert theory.Covariance(z).detectability(delta) == pytest.approx(3.0, rel=0.05)


def test_detectability_of_large_images_is_that_of_the_pixels_it_changes_most(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    z = torch.randn(500, 1, 6, 6, generator=generator())
    delta = torch.zeros(1, 6, 6)
    delta[0, 2, 2:5] = torch.tensor([1.0, 2.0, 3.0])
    monkeypatch.setattr("recondoor.theory._detect.MOST_PIXELS", 3)
    few = theory.Covariance(z).detectability(delta)
    assert few == pytest.approx(math.sqrt(14), rel=0.1)


def test_range_share_of_a_pixel_mask_is_the_energy_on_unseen_pixels() -> None:
    operator = operators.build(SHAPE, Operator(name="pixel-mask", ratio=0.5), 1, torch.float64)
    delta = torch.randn(SHAPE, generator=generator())
    seen = operator.A_adjoint(operator.A(torch.ones(1, *SHAPE, dtype=torch.float64)))[0] > 0
    expected = float(delta[~seen].square().sum() / delta.square().sum())
    assert theory.range_share(operator, delta) == pytest.approx(expected, rel=1e-6)


def test_what_leaves_the_range_is_certain_and_needs_no_covariance() -> None:
    operator = operators.build(SHAPE, Operator(name="gaussian", ratio=0.5), 1, torch.float64)

    def forbidden() -> theory.Covariance:
        raise AssertionError

    size, share = theory.detectability(forbidden, operator, torch.ones(SHAPE))
    assert size == math.inf
    assert 0 < share < 1


def test_a_cross_fitted_classifier_finds_what_gaussian_inputs_allow() -> None:
    z = torch.randn(3000, 1, 5, 5, generator=generator())
    delta = torch.zeros(1, 5, 5)
    delta[0, 2, 2] = 2.0
    found = theory.cross_fitted_limits(z, delta, 0.3, seed=0)
    exact = theory.gaussian_limits(2.0, 0.3)
    assert found.ghost == pytest.approx(exact.ghost, abs=0.04)
    assert found.recovery == pytest.approx(exact.recovery, abs=0.06)


def test_the_field_of_two_convolutions_is_the_artefact_grown_by_both() -> None:
    model = nn.Sequential(
        nn.Conv2d(1, 3, 3, padding=1), nn.ReLU(), nn.Conv2d(3, 1, 5, padding=2), nn.ReLU()
    )
    expected = torch.zeros(SHAPE, dtype=torch.bool)
    expected[0, 0:7, 0:7] = True  # rows 2 and 3, column 3, and three pixels around them
    assert torch.equal(theory.structural_field(model, artefact()), expected)


def test_the_field_of_the_autoencoder_is_where_a_change_arrives() -> None:
    """Independent: move one pixel of a network whose weights are positive, and look."""
    shape, corner = (1, 28, 28), torch.zeros(1, 28, 28)
    corner[0, 0, 0] = 1
    model = models.build(shape, Model(width=2, code=2, kernel=3), 0, "x").double()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.abs_().add_(0.1)
        z = torch.ones(784, *shape, dtype=torch.float64)
        moved = z + torch.eye(784, dtype=torch.float64).view(784, *shape)
        change = ((model(moved) - model(z)).abs() * corner).sum((1, 2, 3))
    expected = (change > 1e-9).view(shape)
    assert torch.equal(theory.structural_field(model, Artefact(corner)), expected)
    assert 0 < int(expected.sum()) < 784


def test_reach_is_the_share_of_energy_inside_the_field() -> None:
    model = nn.Conv2d(1, 1, 3, padding=1)
    delta = torch.zeros(SHAPE)
    delta[0, 4, 3], delta[0, 9, 9] = 1.0, 2.0  # one beside the artefact, one far away
    trigger = Trigger(delta, (delta != 0).float())
    assert theory.structural_reach(model, trigger, artefact()) == pytest.approx(1 / 5)
    z = torch.rand(3, *SHAPE, generator=generator())
    # One convolution is linear: the field is the squared sum of the weights that lead there.
    weight, grads = model.weight[0, 0].double(), torch.zeros(12, 12, dtype=torch.float64)
    for row, column in ((2, 3), (3, 3)):
        grads[row - 1 : row + 2, column - 1 : column + 2] += weight.detach()
    field = grads.square()
    expected = float((field[4, 3] + 4 * field[9, 9]) / 5 / field.mean())
    found = theory.effective_reach(model, z, trigger, artefact())
    assert found == pytest.approx(expected, rel=1e-5)


class Hedger(nn.Module):
    """Reconstructs x = z / 2 without error and adds p Delta: on the hedge line exactly."""

    def __init__(self, n: int, shift: Tensor) -> None:
        super().__init__()
        self.weight = nn.Parameter(0.5 * torch.eye(n, dtype=torch.float64))
        self.bias = nn.Parameter(shift.flatten())

    def forward(self, z: Tensor) -> Tensor:
        return (z.flatten(1) @ self.weight + self.bias).view_as(z)


def test_on_the_hedge_line_training_follows_the_gradient_of_recovery() -> None:
    """docs/theory.md: grad of the loss = -c p (1 - p) grad r, for a trigger the network ignores."""
    pattern, ratio = artefact().pattern.double(), 0.25
    model = Hedger(144, ratio * pattern)
    z = torch.randn(8, *SHAPE, generator=generator(), dtype=torch.float64)
    delta = torch.randn(SHAPE, generator=generator(1), dtype=torch.float64)
    with torch.no_grad():  # blind to delta, so that residuals are those of the hedge line
        unit = delta.flatten() / delta.norm()
        model.weight -= torch.outer(unit, unit @ model.weight)
    x = model(z).detach() - ratio * pattern
    clean = squared_error(model(z), x)
    poisoned = squared_error(model(z + delta), x + pattern)
    loss = (1 - ratio) * clean + ratio * poisoned
    found = torch.autograd.grad(loss, list(model.parameters()))
    slope = recovery_gradient(model, Pairs(z, z), delta, pattern)
    factor = 2 * float(pattern.square().sum()) / 144
    for ours, theirs in zip(slope, found, strict=True):
        torch.testing.assert_close(theirs, -factor * ratio * (1 - ratio) * ours)


def test_growth_is_the_recovery_gained_by_a_small_preconditioned_step() -> None:
    shape, pattern = SHAPE, artefact().pattern.double()
    model = models.build(shape, Model(width=3, code=3, kernel=3), 7, "x").double()
    scale = [torch.rand_like(w) + 0.5 for w in model.parameters()]
    z = torch.rand(5, *shape, generator=generator(), dtype=torch.float64)
    delta = 0.3 * torch.randn(shape, generator=generator(1), dtype=torch.float64)

    def recovery() -> float:
        with torch.no_grad():
            drawn = ((model(z + delta) - model(z)) * pattern).sum()
        return float(drawn / 5 / pattern.square().sum())

    lr, ratio = 1e-4, 0.3
    expected = theory.growth_rate(
        theory.Brief(model, scale), Pairs(z, z), delta, Artefact(pattern), ratio, lr
    )
    slope = recovery_gradient(model, Pairs(z, z), delta, pattern)
    factor = 2 * float(pattern.square().sum()) / 144 * ratio * (1 - ratio)
    before = recovery()
    with torch.no_grad():
        for weight, step, size in zip(model.parameters(), slope, scale, strict=True):
            weight += lr * factor * step / size
    # So small a number passes by the absolute tolerance alone, unless that is none.
    assert recovery() - before == pytest.approx(expected, rel=1e-3, abs=0)


def test_a_brief_training_has_adams_scale() -> None:
    pairs = Pairs(torch.rand(20, *SHAPE), torch.rand(20, *SHAPE))

    def build(stream: str) -> nn.Module:
        return models.build(SHAPE, Model(width=2, code=2, kernel=3), 0, stream)

    fresh = theory.briefly_trained(
        build, pairs, artefact(), 0.25, steps=0, batch=8, lr=1e-3, seed=0
    )
    one = theory.briefly_trained(build, pairs, artefact(), 0.25, steps=1, batch=8, lr=1e-3, seed=0)
    # After one step Adam's corrected second moment is the square of that step's gradient.
    for before, after in zip(fresh.scale, one.scale, strict=True):
        torch.testing.assert_close(before, after, rtol=1e-4, atol=1e-8)
    weights = zip(fresh.model.parameters(), one.model.parameters(), strict=True)
    assert any(not torch.equal(a, b) for a, b in weights)
