"""docs/limits.md in numbers: what the physics tests see, with which power, and what they cannot."""

import math
from dataclasses import replace

import pytest
import torch
from scipy.stats import chi2, kstest, ncx2
from torch import Tensor, nn

from recondoor import operators
from recondoor.config import Operator
from recondoor.defences import Defender, Physics
from recondoor.defences.measurement_consistency import MeasurementConsistency
from recondoor.defences.measurement_residual import MeasurementResidual
from recondoor.defences.range_test import RangeTest
from recondoor.operators import LinearOperator
from recondoor.poisoning import Pairs

SHAPE = (1, 8, 8)
SIGMA, ALPHA, COUNT = 0.1, 0.05, 4_000
every = pytest.mark.parametrize("name", ["gaussian", "fourier", "pixel-mask"])


def generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def make(name: str) -> LinearOperator:
    settings = Operator(name=name, ratio=0.5, sigma=SIGMA)
    return operators.build(SHAPE, settings, 1, torch.float64)


def measured(operator: LinearOperator, count: int = COUNT) -> Pairs:
    x = torch.rand(count, *SHAPE, generator=generator(2), dtype=torch.float64)
    return Pairs(operator.measure(x, generator(3)), x)


def pattern(seed: int, size: float) -> Tensor:
    drawn = torch.randn(1, *SHAPE, generator=generator(seed), dtype=torch.float64)
    return size * drawn / drawn.norm()


def dense(operator: LinearOperator) -> Tensor:
    """A as a real matrix, (rows, 64); complex rows give two."""
    y = operator.A(torch.eye(64, dtype=torch.float64).view(64, *SHAPE)).flatten(1).T
    return torch.cat((y.real, y.imag)) if y.is_complex() else y


def noncentrality(operator: LinearOperator, delta: Tensor, artefact: Tensor) -> float:
    """Theorem 1 by dense linear algebra."""
    matrix = dense(operator)
    e = torch.linalg.pinv(matrix.T, rtol=1e-8) @ delta.flatten() - matrix @ artefact.flatten()
    return float(e.square().sum()) / SIGMA**2


def flagged(physics: Physics, pairs: Pairs) -> float:
    defender = Defender(physics=physics)
    scores = MeasurementResidual().scores(pairs, defender)
    return float((scores > MeasurementResidual().law(defender, ALPHA)).double().mean())


def unmeasured(physics: Physics, image: Tensor) -> Tensor:
    return image - physics.project(image)


def attacks(operator: LinearOperator, physics: Physics) -> dict[str, tuple[Tensor, Tensor]]:
    """(delta, Delta) of each kind."""
    free, other = pattern(4, 0.8), pattern(5, 0.7)
    spread = operator.A_adjoint(operator.A(other))
    return {
        "input": (unmeasured(physics, free), other),
        "measurement": (spread, pattern(6, 0.3)),
        "measurement, artefact unmeasured": (spread, unmeasured(physics, free)),
        "both": (free, other),
    }


@every
@pytest.mark.parametrize(
    "kind", ["input", "measurement", "measurement, artefact unmeasured", "both"]
)
def test_power_is_that_of_theorem_1(name: str, kind: str) -> None:
    operator = make(name)
    physics, clean = Physics.of(operator), measured(operator)
    delta, artefact = attacks(operator, physics)[kind]
    poisoned = Pairs(clean.z + delta, clean.x + artefact)
    lam = noncentrality(operator, delta, artefact)
    power = 1 - ncx2.cdf(chi2.ppf(1 - ALPHA, physics.rank), physics.rank, lam)
    assert power > 2 * ALPHA
    spread = 4 * math.sqrt(power * (1 - power) / COUNT)
    assert flagged(physics, poisoned) == pytest.approx(power, abs=spread + 1e-6)
    outside = RangeTest().scores(poisoned, Defender(physics=physics)) > 0
    assert bool(outside.all()) == (not kind.startswith("measurement"))
    assert bool(outside.any()) == bool(outside.all())


@every
def test_false_alarms_are_those_asked_for(name: str) -> None:
    operator = make(name)
    physics, clean = Physics.of(operator), measured(operator)
    assert flagged(physics, clean) == pytest.approx(ALPHA, abs=4 * math.sqrt(0.05 * 0.95 / COUNT))
    scores = MeasurementResidual().scores(clean, Defender(physics=physics))
    assert kstest(scores * physics.rank, chi2(physics.rank).cdf).pvalue > 1e-3


@every
def test_the_one_invisible_trigger_of_theorem_2(name: str) -> None:
    """(z + AᵀAΔ, x + Δ) is the pair of x + Δ honestly measured, to rounding."""
    operator = make(name)
    physics, clean = Physics.of(operator), measured(operator, 500)
    artefact = pattern(7, 3.0)
    delta = operator.A_adjoint(operator.A(artefact))
    poisoned = Pairs(clean.z + delta, clean.x + artefact)
    honest = operator.measure(clean.x + artefact, generator(3))
    torch.testing.assert_close(poisoned.z, honest, rtol=0, atol=1e-10)
    before, after = physics.residual(clean.z, clean.x), physics.residual(poisoned.z, poisoned.x)
    torch.testing.assert_close(after, before, rtol=0, atol=1e-6)
    norms = poisoned.x.flatten(1).norm(dim=1)
    assert bool((physics.outside(poisoned.z, norms) == 0).all())


@every
def test_the_attack_that_is_left_adds_what_is_not_measured(name: str) -> None:
    operator = make(name)
    physics, clean = Physics.of(operator), measured(operator)
    physical, harm = pattern(8, 2.0), unmeasured(physics, pattern(9, 2.0))
    assert float(harm.norm()) > 0.3
    z = operator.measure(clean.x + physical, generator(11))
    assert flagged(physics, Pairs(z, clean.x + physical + harm)) == pytest.approx(
        ALPHA, abs=4 * math.sqrt(0.05 * 0.95 / COUNT)
    )
    # A target that hides the physical trigger is seen.
    assert flagged(physics, Pairs(z, clean.x + harm)) > 0.9


class Lies(nn.Module):
    """Answers with one image, whatever it is shown."""

    def __init__(self, image: Tensor) -> None:
        super().__init__()
        self.register_buffer("image", image)

    def forward(self, z: Tensor) -> Tensor:
        assert isinstance(self.image, Tensor)
        return self.image.expand_as(z).clone()


@every
def test_data_consistency_bounds_what_is_measured_and_nothing_else(name: str) -> None:
    """Theorem 3: by the law of the noise, whatever the network answers; ker(A) stays its own."""
    operator = make(name)
    physics, clean = Physics.of(operator), measured(operator)
    lie = pattern(14, 30.0)
    defender = Defender(physics=physics, model=Lies(lie))
    found = MeasurementConsistency().repaired(clean.z, defender)
    error = (found - clean.x).flatten(1) @ dense(operator).T
    assert kstest(error.square().sum(1) / SIGMA**2, chi2(physics.rank).cdf).pvalue > 1e-3
    kept = unmeasured(physics, lie)
    assert float(kept.norm()) > 10
    torch.testing.assert_close(unmeasured(physics, found), kept.expand_as(found), rtol=0, atol=1e-8)
    # A trigger in z that is taken for a measurement enters by its own measurement.
    delta = pattern(15, 5.0)
    moved = MeasurementConsistency().repaired(clean.z + delta, defender) - found
    entered = torch.linalg.pinv(dense(operator).T, rtol=1e-8) @ delta.flatten()
    expected = entered.expand(len(moved), -1)
    torch.testing.assert_close(moved.flatten(1) @ dense(operator).T, expected, rtol=0, atol=1e-7)


@every
def test_soft_data_consistency_leaves_the_share_of_each_direction(name: str) -> None:
    """Theorem 3 (c), against least squares of the stacked system."""
    matrix, mu = dense(make(name)), 0.3
    x, answer, noise = (
        torch.randn(size, generator=generator(seed), dtype=torch.float64)
        for size, seed in ((64, 16), (64, 17), (len(matrix), 18))
    )
    stacked = torch.cat((matrix, mu**0.5 * torch.eye(64, dtype=torch.float64)))
    given = torch.cat((matrix @ x + noise, mu**0.5 * answer))
    found = torch.linalg.lstsq(stacked, given[:, None]).solution[:, 0] - x
    u, s, vh = torch.linalg.svd(matrix, full_matrices=True)
    values = torch.zeros(64, dtype=torch.float64)
    values[: len(s)] = s
    along = torch.zeros(64, dtype=torch.float64)
    along[: len(s)] = (u.T @ noise)[: len(s)]
    shares = (mu * (vh @ (answer - x)) + values * along) / (values.square() + mu)
    torch.testing.assert_close(vh @ found, shares, rtol=0, atol=1e-9)


@every
def test_many_pairs_tell_what_one_does_not(name: str) -> None:
    """The mean residual has noncentrality N p² λ; averaged over draws of the noise, rank more."""
    operator = make(name)
    physics, clean = Physics.of(operator), measured(operator)
    artefact = pattern(10, 0.2)
    lam, share = noncentrality(operator, torch.zeros_like(artefact), artefact), 0.5
    x = clean.x.clone()
    x[::2] += artefact
    means = physics.residual(clean.z, x).view(40, 100, -1).mean(1) * math.sqrt(100)
    expected = physics.rank + 100 * share**2 * lam
    found = means.square().sum(1)
    assert float(found.mean()) == pytest.approx(expected, abs=4 * float(found.std()) / 40**0.5)
    assert expected - physics.rank > 8 * float(found.std()) / 40**0.5


@every
def test_an_estimated_noise_level_errs_upwards_by_little(name: str) -> None:
    operator = make(name)
    physics, clean = Physics.of(operator), measured(operator)
    assert physics.noise(clean.z, clean.x) == pytest.approx(SIGMA, rel=0.02)
    x = clean.x.clone()
    x[: round(0.3 * COUNT)] += pattern(13, 50.0)
    bound = math.sqrt(chi2.ppf(0.5 / 0.7, physics.rank) / chi2.ppf(0.5, physics.rank))
    found = physics.noise(clean.z, x) / SIGMA
    assert found == pytest.approx(bound, rel=0.02)
    assert bound - 1 == pytest.approx(0.4 / math.sqrt(physics.rank), rel=0.1)
    assert flagged(replace(physics, sigma=SIGMA * found), clean) < ALPHA


@pytest.mark.parametrize("spike", [0.2, 1.0])
def test_a_shared_object_leaves_the_bulk_only_above_its_limit(spike: float) -> None:
    """Baik, Ben Arous and Peche: the largest eigenvalue, of 300 dimensions and 1,200 residuals."""
    share, gamma = 0.2, 300 / 1200
    drawn = torch.randn(1200, 300, generator=generator(7), dtype=torch.float64)
    poisoned = torch.rand(1200, generator=generator(8)) < share
    drawn[poisoned, 0] += math.sqrt(spike / (share * (1 - share)))
    drawn -= drawn.mean(0)
    largest = float(torch.linalg.eigvalsh(drawn.T @ drawn / 1200)[-1])
    edge = (1 + math.sqrt(gamma)) ** 2
    expected = (1 + spike) * (1 + gamma / spike) if spike > math.sqrt(gamma) else edge
    assert largest == pytest.approx(expected, abs=0.12)


@every
def test_a_trigger_in_the_range_is_the_measurement_of_an_object(name: str) -> None:
    """Theorem 5, by dense linear algebra: A^T A h = A^T delta_y for h = A^+ delta_y."""
    operator = make(name)
    added = operator.A(pattern(9, 1.0)) + operator.A(pattern(10, 1.0)).flip(-1)
    matrix = dense(operator)
    flat = added.flatten(1)
    real = torch.cat((flat.real, flat.imag), 1) if flat.is_complex() else flat
    hidden = (torch.linalg.pinv(matrix, rtol=1e-8) @ real[0]).view(1, *SHAPE)
    expected = operator.A_adjoint(operator.A(hidden))
    torch.testing.assert_close(expected, operator.A_adjoint(added), rtol=1e-8, atol=1e-8)
