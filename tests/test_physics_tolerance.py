"""What a clean z may have outside the basis, by docs/limits.md, for hard operators."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.stats import binom
from torch import Tensor

from recondoor import defences
from recondoor.defences import Defender, Physics, Storage
from recondoor.defences._storage import BRAIN, HALF, spacing
from recondoor.operators.matrix import Matrix
from recondoor.poisoning import Pairs

SHAPE, COUNT, ALPHA = (1, 12, 12), 400, 0.01
SIGMAS = (0.0, 0.01, 0.1, 0.3)


def generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def blur(deviation: float) -> Tensor:
    """Gaussian blur of 12 x 12 images, rows of weight 1."""
    places = np.arange(12)
    line = np.exp(-((places[:, None] - places[None]) ** 2) / 2 / deviation**2)
    line /= line.sum(1, keepdims=True)
    return torch.from_numpy(np.kron(line, line))


def hilbert() -> Tensor:
    places = torch.arange(144, dtype=torch.float64)
    return 1 / (places[:, None] + places + 1)


def near_duplicates() -> Tensor:
    rows = torch.randn(40, 144, generator=generator(7), dtype=torch.float64) / 12
    other = torch.randn(40, 144, generator=generator(8), dtype=torch.float64) / 12
    return torch.cat((rows, rows + 1e-5 * other, rows + 1e-7 * other))


def one_heavy_row() -> Tensor:
    """A pixel that is black in all images counts 100,000 times as much as the others."""
    matrix = torch.eye(144, dtype=torch.float64)[60:]
    matrix[0] = 0
    matrix[0, 0] = 1e5
    return matrix


HARD = {
    "blur 0.5": blur(0.5),
    "blur 1.5": blur(1.5),
    "blur 3": blur(3.0),
    "hilbert": hilbert(),
    "near duplicates": near_duplicates(),
    "one heavy row": one_heavy_row(),
}
every = pytest.mark.parametrize("name", HARD)


def images() -> Tensor:
    """Strokes on black, never at the border."""
    x = torch.zeros(COUNT, *SHAPE)
    x[:, :, 2:-2, 2:-2] = (torch.rand(COUNT, 1, 8, 8, generator=generator(1)) - 0.6).clamp_min(0)
    return x / x.amax((1, 2, 3), keepdim=True)


def measured(matrix: Tensor, sigma: float) -> tuple[Physics, Pairs]:
    """The operator taken apart, and clean pairs that were measured in 32 bits, as a study does."""
    x = images()
    z = Matrix(SHAPE, sigma, matrix.float()).measure(x, generator(2))
    return Physics.of(Matrix(SHAPE, sigma, matrix)), Pairs(z, x)


def flagged(name: str, pairs: Pairs, physics: Physics) -> int:
    detector, defender = defences.pair_detector(name), Defender(physics=physics)
    limit = detector.law(defender, ALPHA)
    return int((detector.scores(pairs, defender) > limit).sum())


def require_few_alarms(pairs: Pairs, physics: Physics) -> None:
    assert flagged("range-test", pairs, physics) == 0
    alarms = flagged("measurement-residual", pairs, physics)
    assert binom.sf(alarms - 1, COUNT, ALPHA) > 1e-3


@every
@pytest.mark.parametrize("sigma", SIGMAS)
def test_clean_pairs_of_ill_conditioned_operators_are_not_flagged(name: str, sigma: float) -> None:
    physics, pairs = measured(HARD[name], sigma)
    require_few_alarms(pairs, physics)
    require_few_alarms(pairs, physics.estimated(pairs.z, pairs.x))


STORED = {
    "half": lambda z: z.clamp(-6e4, 6e4).half().float(),
    "brain": lambda z: z.bfloat16().float(),
    "levels": lambda z: (z / (z.abs().max() / 2000)).round() * (z.abs().max() / 2000),
}


@pytest.mark.parametrize("name", ["blur 1.5", "blur 3", "hilbert", "near duplicates"])
@pytest.mark.parametrize("kind", STORED)
def test_rounding_of_stored_inputs_is_allowed_for(name: str, kind: str) -> None:
    physics, pairs = measured(HARD[name], 0.1)
    coarse = Pairs(STORED[kind](pairs.z), pairs.x)
    stored = Storage.of(coarse.z)
    assert stored.coarse
    require_few_alarms(coarse, replace(physics, stored=stored))


@pytest.mark.parametrize("name", ["blur 1.5", "blur 3", "near duplicates"])
def test_a_trigger_above_the_tolerance_is_still_seen(name: str) -> None:
    physics, pairs = measured(HARD[name], 0.1)
    pattern = torch.randn(1, *SHAPE, generator=generator(5), dtype=torch.float64)
    outside = pattern - physics.project(pattern)
    norms = pairs.x.flatten(1).double().norm(dim=1)
    size = 2.5 * float(physics.tolerance(pairs.z, norms).max())
    assert size < 0.01 * float(pairs.z.flatten(1).norm(dim=1).mean())
    triggered = pairs.z + size * outside / outside.norm()
    assert flagged("range-test", Pairs(triggered, pairs.x), physics) == COUNT


@pytest.mark.parametrize("name", ["blur 1.5", "near duplicates"])
def test_the_bound_of_the_noise_holds_and_is_near(name: str) -> None:
    """The noise outside the basis, by dense algebra, against its bound; 64 bits round nothing."""
    matrix, sigma = HARD[name], 0.3
    physics = Physics.of(Matrix(SHAPE, sigma, matrix))
    noise = sigma * torch.randn(20_000, len(matrix), generator=generator(3), dtype=torch.float64)
    z = (noise @ matrix).view(-1, *SHAPE)
    rest = (z - physics.project(z)).flatten(1).norm(dim=1)
    zero = torch.zeros(1, *SHAPE)
    bound = float(physics.tolerance(zero, torch.zeros(1)))
    assert float(rest.max()) < bound < 5 * float(rest.max())


def test_the_noise_level_does_not_depend_on_units() -> None:
    physics, pairs = measured(HARD["blur 1.5"], 0.1)
    found = physics.noise(pairs.z, pairs.x)
    assert found == pytest.approx(0.1, rel=0.02)
    for unit in (1e-5, 1e5):
        assert physics.noise(unit * pairs.z, unit * pairs.x) == pytest.approx(
            unit * found, rel=1e-4
        )


@every
def test_without_noise_none_is_found(name: str) -> None:
    physics, pairs = measured(HARD[name], 0.0)
    assert physics.noise(pairs.z, pairs.x) == 0.0


def test_an_estimated_noise_level_of_few_pairs_is_doubted() -> None:
    physics, pairs = measured(HARD["near duplicates"], 0.1)
    one, all_ = (physics.estimated(pairs.z[:n], pairs.x[:n]).doubt for n in (1, COUNT))
    assert 1 < all_ < 1.2 < one


def test_inversion_leaves_out_what_is_only_rounding() -> None:
    """A^+ of a clean z is an image like the others, where it was thousands of times as large."""
    physics, pairs = measured(HARD["blur 3"], 0.0)
    found = physics.invert(pairs.z).flatten(1).norm(dim=1)
    assert float((found / pairs.x.flatten(1).norm(dim=1)).max()) < 1.5


@pytest.mark.parametrize(
    ("values", "unit", "step"),
    [
        (torch.randn(5000, generator=generator(1)), 0.0, 0.0),
        (torch.randn(5000, generator=generator(1)).half().float(), HALF, 2.0**-24),
        (torch.randn(50_000, generator=generator(1)).bfloat16().float(), BRAIN, None),
        (torch.randint(0, 256, (5000,), generator=generator(2)).float() / 255, 0.0, 1 / 255),
        (torch.randint(-1000, 3000, (50_000,), generator=generator(2)) * 0.37, 0.0, 0.37),
        (torch.tensor([-30_000.0, 17.0, 250.0, 29_001.0]), 0.0, 1.0),
        (torch.ones(100), BRAIN, 1.0),
        (torch.full((100,), 0.3), 0.0, 0.0),
    ],
)
def test_storage_is_read_off_the_values(values: Tensor, unit: float, step: float | None) -> None:
    found = Storage.of(values.view(-1, 1))
    assert found.unit == unit
    if step is not None:
        assert found.step == pytest.approx(step, rel=1e-3)


def test_rounding_errors_keep_to_their_bounds() -> None:
    values = torch.randn(50, 144, generator=generator(4), dtype=torch.float64)
    for stored, rounded in (
        (Storage(HALF, 2.0**-24), values.half().double()),
        (Storage(step=0.01), (values / 0.01).round() * 0.01),
    ):
        error = rounded - values
        assert bool((error.norm(dim=1) <= stored.worst(values) * (1 + 1e-12)).all())
        mean = float(error.square().mean() / stored.variance(values).mean())
        assert mean == pytest.approx(1, abs=0.1)


def test_a_step_is_exact_over_long_distances() -> None:
    places = torch.arange(0, 65_536, 3)
    values = (places * math.pi * 1e-3).float().double()
    assert spacing(values) == pytest.approx(3 * math.pi * 1e-3, rel=1e-6)
