"""Operators in closed form, along boxes and with a mask per slice, against dense algebra."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.stats import kstest
from torch import Tensor

from recondoor import config, operators
from recondoor.audit._pairs import _directions
from recondoor.defences import Physics, SlicePhysics, _decomposition, _physics
from recondoor.operators import LinearOperator

SHAPES = {
    "identity": (2, 5, 6),
    "pixel-mask": (2, 6, 5),
    "fourier": (2, 6, 8),
    "mri": (1, 6, 9),
    "blur": (2, 8, 7),
    "downsample": (1, 7, 8),
}
SETTINGS = {
    "mri": {"acceleration": 2.0, "centre": 0.2},
    "blur": {"width": 0.8},
    "downsample": {"factor": 3},
}


def built(name: str, shape: tuple[int, int, int], **own: object) -> LinearOperator:
    section = {"name": name, "sigma": 0.1, name.replace("-", "_"): SETTINGS.get(name, {}) | own}
    settings = config.from_dict({"operator": {k: v for k, v in section.items() if v != {}}})
    return operators.build(shape, settings.operator, 3, torch.float64)


def dense(operator: LinearOperator) -> Tensor:
    """A_adjoint A as a matrix."""
    pixels = math.prod(operator.shape)
    eye = torch.eye(pixels, dtype=torch.float64).view(-1, *operator.shape)
    return operator.A_adjoint(operator.A(eye)).flatten(1)


@pytest.mark.parametrize(
    ("name", "shape"), [*SHAPES.items(), ("mri", (2, 5, 8)), ("mri", (1, 4, 8))]
)
def test_closed_forms_are_the_operator(name: str, shape: tuple[int, int, int]) -> None:
    operator = built(name, shape)
    found = operator.directions()
    assert found is not None
    singular, basis = found
    columns = basis.back(torch.eye(basis.rank, dtype=torch.float64))
    torch.testing.assert_close(columns @ columns.T, torch.eye(basis.rank).double())
    torch.testing.assert_close((columns.T * singular.square()) @ columns, dense(operator))
    flat = torch.randn(3, basis.pixels, generator=torch.Generator().manual_seed(1)).double()
    torch.testing.assert_close(basis.along(flat), flat @ columns.T)
    torch.testing.assert_close(basis.squares(flat), flat @ columns.square().T)


@pytest.mark.parametrize("name", SHAPES)
def test_large_images_are_judged_as_small_ones(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same energies and tolerances from the closed form as from eigenvectors."""
    operator = built(name, SHAPES[name])
    rng = torch.Generator().manual_seed(2)
    x = torch.rand(20, *operator.shape, generator=rng)
    z = replace(operator, sigma=0.1).measure(x.double(), rng).float()
    whole = Physics.of(operator)
    monkeypatch.setattr(_decomposition, "CLOSED", 0)
    monkeypatch.setattr(_physics, "CHUNK", 100)
    fast = Physics.of(operator)
    assert fast.rank == whole.rank and fast.whole == whole.whole
    torch.testing.assert_close(fast.energies(z, x), whole.energies(z, x))
    torch.testing.assert_close(fast.project(x), whole.project(x))
    assert fast.noise(z, x) == pytest.approx(whole.noise(z, x))
    norms = x.flatten(1).norm(dim=1)
    allowed, expected = fast.tolerance(z, norms), whole.tolerance(z, norms)
    torch.testing.assert_close(allowed, expected, rtol=0.05, atol=0)


@pytest.mark.parametrize("count", [10, 20])
def test_a_wide_matrix_is_taken_apart_by_its_rows(count: int) -> None:
    """Complex rows, fewer than half of the pixels, against a singular value decomposition."""
    rng = torch.Generator().manual_seed(4)
    matrix = torch.randn(count, 48, generator=rng, dtype=torch.complex128)
    operator = operators.of_caller(matrix, (1, 6, 8))
    found = Physics.of(operator)
    rows = torch.cat((matrix.real, matrix.imag))
    values = torch.linalg.svdvals(rows)
    torch.testing.assert_close(found.singular.sort(descending=True).values, values)
    v = torch.randn(2, 1, 6, 8, generator=rng, dtype=torch.float64)
    expected = v.flatten(1) @ torch.linalg.pinv(rows) @ rows
    torch.testing.assert_close(found.project(v).flatten(1), expected)
    assert len(found.dropped) + found.rank == 48


@pytest.mark.parametrize(
    ("name", "way"),
    [
        ("ct-parallel", "fbp"),
        ("ct-parallel", "adjoint"),
        ("mri-multicoil", "adjoint"),
        ("mri-multicoil", "pinv"),
        ("downsample", "pinv"),
    ],
)
def test_residuals_along_boxes_have_the_law_of_noise(
    name: str, way: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whitened residuals of clean pairs are N(0, 1), whatever made z of y."""
    monkeypatch.setattr(_decomposition, "MOST_PIXELS", 0)
    monkeypatch.setattr(_decomposition, "CLOSED", 0)
    monkeypatch.setattr(_decomposition, "BOXES", 4)
    own = {"views": 9} if name == "ct-parallel" else {}
    operator = built(name, (1, 12, 12), **own)
    rng = torch.Generator().manual_seed(5)
    x = torch.rand(60, 1, 12, 12, generator=rng, dtype=torch.float64)
    z = operator.network_input(operator.forward(x, rng), way)
    physics = Physics.of(operator, way, partial=True)
    assert physics.partial
    white = physics.residual(z, x)
    assert kstest(white.flatten().numpy(), "norm").pvalue > 1e-3
    assert abs(float(torch.corrcoef(white.T).fill_diagonal_(0).mean())) < 0.03
    lesion = x.clone()
    lesion[:, :, 4:8, 4:8] += 0.5
    assert float(physics.energies(z, lesion).median()) > 2 * physics.rank
    assert physics.noise(z, x) == pytest.approx(0.1, rel=0.1)


@pytest.mark.parametrize("channels", [1, 2])
def test_each_slice_is_judged_with_its_own_mask(channels: int) -> None:
    """As if each pair had an audit of its own, but for the law that all energies are put on."""
    rng = np.random.default_rng(6)
    masks = torch.from_numpy(rng.random((30, 16)) < 0.5)
    masks[:, 7:10] = True
    shape = (channels, 12, 16)
    x = torch.from_numpy(rng.random((30, *shape)))
    operator = built("mri", shape)
    z, alone = torch.empty_like(x), []
    noise = torch.Generator().manual_seed(7)
    for i, mask in enumerate(masks):
        one = replace(operator, columns=torch.nonzero(mask)[:, 0])
        z[i] = one.measure(x[i : i + 1], noise)[0]
        own = Physics.of(one)
        alone.append(float(own.energies(z[i : i + 1], x[i : i + 1])) / own.rank)
        mine = SlicePhysics.of_masks(masks, shape, 0.1).rows(slice(i, i + 1))
        torch.testing.assert_close(mine.project(x[i : i + 1]), own.project(x[i : i + 1]))
    found = SlicePhysics.of_masks(masks, shape, 0.1)
    energy = found.energies(z, x) / found.rank
    assert np.corrcoef(energy.numpy(), alone)[0, 1] > 0.99
    assert kstest(found.energies(z, x).numpy(), "chi2", args=(found.rank,)).pvalue > 1e-3
    assert found.noise(z, x) == pytest.approx(0.1, rel=0.05)
    outside = z + 0.01 * torch.from_numpy(rng.standard_normal(x.shape))
    norms = x.flatten(1).norm(dim=1)
    assert float(found.outside(z, norms).max()) == 0
    lacking = found.ranks < found.basis.rank
    assert int(lacking.sum()) > 20
    assert torch.equal(found.outside(outside, norms) > 0, lacking)


def test_noise_behind_masks_of_each_has_no_direction_and_one_lesion_has() -> None:
    """The sum of squared cosines against its law, by simulation, and the energy of the mean."""
    rng = np.random.default_rng(8)
    masks = torch.from_numpy(rng.random((40, 16)) < 0.3)
    masks[:, 7:10] = True
    physics = SlicePhysics.of_masks(masks, (1, 12, 16), 1.0)
    lines = physics.lines
    seen = lines.repeat(1, 12)
    tails, energies = [], []
    for _ in range(300):
        white = torch.from_numpy(rng.standard_normal(seen.shape)) * seen
        unit = white / white.norm(dim=1, keepdim=True)
        tails.append(_directions.rarity_along(unit, lines))
        scaled = white * (physics.common / physics.ranks).sqrt()[:, None]
        energies.append(physics.in_common(scaled)[0])
    assert kstest(tails, "uniform").pvalue > 1e-3
    freedom = physics.in_common(seen)[1]
    assert freedom == 12 * int((lines.sum(0) > 0).sum())
    assert kstest(energies, "chi2", args=(freedom,)).pvalue > 1e-3
    lesion = white + 0.5 * seen
    assert _directions.has_directions_along(lesion / lesion.norm(dim=1, keepdim=True), lines)
    alone = torch.eye(2, dtype=torch.float64)
    assert not _directions.has_directions_along(alone, alone)
