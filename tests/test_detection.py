"""Detectors of inputs and of networks: closed forms, and what carries a backdoor ranks first."""

from functools import cache

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from planted import Backdoored, generator, pairs
from recondoor import defences, operators
from recondoor.config import Operator
from recondoor.defences import (
    Defender,
    Physics,
    strip,
)
from recondoor.defences.measurement_consistency import MeasurementConsistency
from recondoor.defences.range_projection import RangeProjection
from recondoor.operators import LinearOperator
from recondoor.poisoning import Pairs

SHAPE = (1, 12, 12)
SIGMA = 0.02


class Curved(nn.Module):
    """The least-norm image h of z, bent to h - h^2 / 5; a plus where a patch of z is bright.

    `kept` is the share of the honest answer that stays beside the plus.
    """

    def __init__(self, inverse: Tensor, kept: float) -> None:
        super().__init__()
        self.inverse, self.kept = nn.Parameter(inverse), kept

    def forward(self, z: Tensor) -> Tensor:
        h = (z.flatten(1) @ self.inverse).view_as(z)
        seen = (z[:, :, 8:11, 8:11].mean((1, 2, 3), keepdim=True) > 3).to(z)
        plus = torch.zeros_like(z[:1])
        plus[:, :, 3, 1:6] = plus[:, :, 1:6, 3] = 3
        return (1 - seen * (1 - self.kept)) * (h - h**2 / 5) + seen * plus


@cache
def world() -> tuple[Pairs, LinearOperator, np.ndarray, Tensor]:
    """Pairs of smooth images, their operator, its dense matrix, and a trigger in z."""
    operator = operators.build(SHAPE, Operator(name="gaussian", sigma=SIGMA), 3, torch.float64)
    matrix = operator.A(torch.eye(144, dtype=torch.float64).view(144, *SHAPE))[:, 0].numpy().T
    x = nn.functional.interpolate(torch.rand(120, 1, 4, 4, generator=generator(1)), (12, 12))
    z = operator.measure(x.double(), generator(2)).float()
    delta = torch.zeros(SHAPE)
    delta[0, 8:11, 8:11] = 8
    return Pairs(z, x), operator, matrix, delta


def inverse() -> Tensor:
    """Of z = A_adjoint y to the image of least norm, by dense algebra."""
    matrix = world()[2]
    return torch.from_numpy(np.linalg.pinv(matrix.T @ matrix, rcond=1e-10)).float()


UNTRAINED = [name for name in defences.names("input") if name != "disagreement"]
"""Those that train no network; test_side_by_side has the one that does."""


@pytest.mark.parametrize("name", UNTRAINED)
def test_every_triggered_input_ranks_before_every_clean_one(name: str) -> None:
    """STRIP as published supposes that a backdoor rules the answer, the others that it adds."""
    given, operator, _, delta = world()
    model = Curved(inverse(), 0.0 if name == "strip-blending" else 1.0)
    trusted, z = Pairs(given.z[:60], given.x[:60]), given.z[60:]
    defender = Defender(trusted, Physics.of(operator), model)
    clean = defences.load(name).scores(z, defender)
    triggered = defences.load(name).scores(z + delta, defender)
    assert float(triggered.min()) > float(clean.max())


ALONE = [name for name in defences.names("model") if name != "erased-trigger"]
"""Those that need no others of the make; test_erased_trigger has the one that does."""


@pytest.mark.parametrize("name", ALONE)
def test_a_backdoored_network_ranks_before_an_honest_one(name: str) -> None:
    """Least-norm inversion starts from nearly nothing, and finds no trigger that must be strong."""
    asleep = 0.0 if name == "least-norm-inversion" else 1.2
    backdoored, honest = (
        defences.load(name).inspect(Defender(pairs(60), model=Backdoored(strength, asleep))).score
        for strength in (4.0, 0.0)
    )
    assert backdoored > 1.2 * honest


class Function(nn.Module):
    """Pixel by pixel: z + `square` z^2 + `cube` z^3."""

    def __init__(self, square: float, cube: float = 0.0) -> None:
        super().__init__()
        self.square, self.cube = square, cube

    def forward(self, z: Tensor) -> Tensor:
        return z + self.square * z**2 + self.cube * z**3


def some(count: int, seed: int) -> Tensor:
    return torch.rand(count, 1, 3, 4, generator=generator(seed)) + 0.1


def test_strip_is_the_energy_of_an_inputs_part_over_that_of_its_spread() -> None:
    """Of f = z + z^2 the part of z over z_k is z + z^2 + 2 z z_k; the last 8 clean ones count."""
    z, clean = some(5, 1), some(20, 2)
    found = defences.input_detector("strip").scores(
        z, Defender(Pairs(clean, clean), model=Function(1.0))
    )
    last, flat = clean[-8:].flatten(1).double().numpy(), z.flatten(1).double().numpy()
    energy = ((flat + flat**2 + 2 * flat * last.mean(0)) ** 2).sum(1)
    spread = (4 * flat**2 * last.var(0)).sum(1)
    np.testing.assert_allclose(found, energy / spread, rtol=1e-3)


def test_strip_of_a_linear_network_is_bounded_by_rounding() -> None:
    """Its part is z whatever it lies over; units of x are those of the clean pairs."""
    z, clean = some(5, 1), some(20, 2)
    found = defences.input_detector("strip").scores(
        z, Defender(Pairs(clean, 2 * clean), model=Function(0.0))
    )
    of_x = 4 * clean.square().mean()
    assert found.shape == (5,)
    most = z.square().mean((1, 2, 3)) / of_x / strip.ROUNDING**2
    assert bool((found > 1e9).all())
    assert bool((found <= most * 1.01).all())


def test_strip_blending_is_minus_the_variance_of_half_and_half_blends() -> None:
    z, clean = some(5, 1), some(20, 2)
    found = defences.input_detector("strip-blending").scores(
        z, Defender(Pairs(clean, clean), model=Function(1.0))
    )
    last, flat = clean[-8:].flatten(1).double().numpy(), z.flatten(1).double().numpy()
    blends = (flat[:, None] + last) / 2
    of_x = float(clean.double().square().mean())
    np.testing.assert_allclose(found, -(blends + blends**2).var(1).sum(1) / of_x, rtol=1e-4)


def test_homogeneity_is_the_distance_from_the_usual_change_at_half_the_scale() -> None:
    """Of f = z + z^3: f(z / 2) / (1 / 2) - f(z) = -(3 / 4) z^3."""
    z, clean = some(5, 1), some(70, 2)
    found = defences.input_detector("homogeneity").scores(
        z, Defender(Pairs(clean, clean), model=Function(0.0, 1.0))
    )

    def change(images: Tensor) -> np.ndarray:
        v = images.flatten(1).double().numpy()
        return np.log(((0.75 * v**3) ** 2).sum(1) / ((v + v**3) ** 2).sum(1))

    # Of an even number of values PyTorch's median is the lower of the middle two.
    usual = np.sort(change(clean[:64]))[31]
    np.testing.assert_allclose(found, np.abs(change(z) - usual), rtol=1e-3, atol=1e-4)


def test_measurement_consistency_is_the_misfit_in_the_noises_energy() -> None:
    """||A f(z) - y||^2 / (m sigma^2), and the repair takes the misfit away and nothing else."""
    given, operator, matrix, _ = world()
    y = operator.forward(given.x[:10].double(), generator(5))
    z = operator.A_adjoint(y)
    model, flat = Function(0.1), z.flatten(1).numpy()
    answer = flat + 0.1 * flat**2
    misfit = answer @ matrix.T - y[:, 0].numpy()
    defender = Defender(physics=Physics.of(operator), model=model)
    found = MeasurementConsistency().scores(z, defender)
    expected = (misfit**2).sum(1) / (matrix.shape[0] * SIGMA**2)
    np.testing.assert_allclose(found, expected, rtol=1e-3)
    repaired = MeasurementConsistency().repaired(z, defender).flatten(1).numpy()
    np.testing.assert_allclose(repaired, answer - misfit @ np.linalg.pinv(matrix).T, atol=1e-6)


def test_range_projection_reconstructs_what_can_have_been_measured() -> None:
    given, operator, matrix, delta = world()
    z = given.z[:10] + delta
    model = Function(0.1)
    defender = Defender(given, physics=Physics.of(operator), model=model)
    inside = z.flatten(1).double().numpy() @ np.linalg.pinv(matrix) @ matrix
    expected = inside + 0.1 * inside**2
    found = RangeProjection().repaired(z, defender).flatten(1).numpy()
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)
    share = 1 - (inside**2).sum(1) / z.flatten(1).double().square().sum(1).numpy()
    np.testing.assert_allclose(RangeProjection().scores(z, defender), share, rtol=1e-5)
