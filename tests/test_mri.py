"""Scans of k-space by columns, `mri` and `mri-multicoil`: against NumPy, masks, maps, refusals."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from operator_kit import generator, images
from recondoor import operators
from recondoor.config import Operator, from_dict
from recondoor.core.errors import ConfigError, DataError
from recondoor.operators import LinearOperator, estimate_maps
from recondoor.operators._sampling import whole_centre
from recondoor.operators.mri import Mri
from recondoor.operators.mri_multicoil import Multicoil

SHAPES = [(1, 28, 28), (2, 28, 28), (1, 27, 31), (2, 27, 31), (2, 1, 24), (2, 24, 7)]
every_shape = pytest.mark.parametrize("shape", SHAPES, ids=str)
both = pytest.mark.parametrize("name", ["mri", "mri-multicoil"])


def make(name: str, shape: tuple[int, int, int], **own: Any) -> Any:
    settings = {"name": name, "sigma": 0.0, name.replace("-", "_"): own}
    return operators.build(shape, from_dict({"operator": settings}).operator, 3, torch.float64)


def complex_of(x: Tensor) -> np.ndarray[Any, Any]:
    values = x.numpy()
    return values[:, 0] if x.shape[1] == 1 else values[:, 0] + 1j * values[:, 1]


def real_of(z: np.ndarray[Any, Any], channels: int) -> np.ndarray[Any, Any]:
    return np.stack((z.real, z.imag), 1)[:, :channels]


def to_k(x: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """As fastMRI: the zero frequency and the image's centre are at N // 2."""
    axes = (-2, -1)
    shifted = np.fft.ifftshift(x, axes=axes)
    return np.fft.fftshift(np.fft.fft2(shifted, norm="ortho"), axes=axes)


def to_image(k: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    axes = (-2, -1)
    shifted = np.fft.ifftshift(k, axes=axes)
    return np.fft.fftshift(np.fft.ifft2(shifted, norm="ortho"), axes=axes)


@every_shape
def test_mri_is_numpys_centred_transform(shape: tuple[int, int, int]) -> None:
    operator = make("mri", shape)
    assert isinstance(operator, Mri)
    x, mask = images(shape) - 0.3, operator.mask.numpy()
    k = to_k(complex_of(x))
    y = operator.A(x)
    np.testing.assert_allclose(y[:, 0].numpy(), k[..., mask], atol=1e-13)
    np.testing.assert_allclose(operator.zero_filled(y)[:, 0].numpy(), k * mask, atol=1e-13)
    assert torch.equal(operator.sampled(operator.zero_filled(y)), y)
    z = real_of(to_image(k * mask), shape[0])
    np.testing.assert_allclose(operator.A_adjoint(y).numpy(), z, atol=1e-13)


@every_shape
def test_multicoil_is_a_stack_of_coils(shape: tuple[int, int, int]) -> None:
    operator = make("mri-multicoil", shape, coils=5)
    assert isinstance(operator, Multicoil)
    maps, mask = operator.maps.numpy(), operator.mask.numpy()
    x = images(shape) - 0.3
    coils = [to_k(one * complex_of(x)) * mask for one in maps]
    y = operator.A(x)
    assert y.shape == (4, 5, shape[1], int(mask.sum()))
    np.testing.assert_allclose(operator.zero_filled(y).numpy(), np.stack(coils, 1), atol=1e-13)
    z = sum(one.conj() * to_image(coil) for one, coil in zip(maps, coils, strict=True))
    np.testing.assert_allclose(operator.A_adjoint(y).numpy(), real_of(z, shape[0]), atol=1e-13)
    separate = np.stack([to_image(coil) for coil in coils], 1)
    expected = np.concatenate((separate.real, separate.imag), 1)
    np.testing.assert_allclose(operator.coil_images(y).numpy(), expected, atol=1e-13)


@both
@pytest.mark.parametrize("channels", [1, 2])
def test_a_scan_of_all_columns_is_undone_by_its_adjoint(name: str, channels: int) -> None:
    operator = make(name, (channels, 20, 24), acceleration=1)
    x = images((channels, 20, 24))
    torch.testing.assert_close(operator.A_adjoint(operator.A(x)), x, rtol=1e-12, atol=1e-12)
    assert operator.acceleration == 1


@pytest.mark.parametrize("pattern", ["random", "equispaced"])
@pytest.mark.parametrize("width", [7, 28, 31, 128])
@pytest.mark.parametrize("acceleration", [1.0, 3.0, 4.0])
def test_masks_keep_the_centre_and_as_many_columns_as_asked(
    pattern: str, width: int, acceleration: float
) -> None:
    own = {"pattern": pattern, "acceleration": acceleration, "centre": 0.1}
    operator = make("mri", (1, 4, width), **own)
    columns = operator.columns.tolist()
    kept, centre = round(width / acceleration), round(0.1 * width)
    assert columns == sorted(set(columns)) and set(columns) <= set(range(width))
    assert len(columns) == max(kept, centre)
    assert operator.acceleration == width / len(columns)
    first = (width - centre + 1) // 2  # of fastMRI's masks
    assert set(range(first, first + centre)) <= set(columns)
    assert centre == 0 or width // 2 in columns


def test_equispaced_columns_are_even() -> None:
    operator = make("mri", (1, 4, 256), pattern="equispaced", centre=0, acceleration=4)
    assert set(operator.columns.diff().tolist()) == {4}
    starts = {
        int(operators.build((1, 4, 256), Operator.model_validate(
            {"name": "mri", "mri": {"pattern": "equispaced", "centre": 0}}
        ), seed).columns[0])  # type: ignore[attr-defined]
        for seed in range(20)
    }  # fmt: skip
    assert len(starts) == 4


def test_a_large_centre_counts_in_the_acceleration() -> None:
    assert make("mri", (1, 4, 100), acceleration=20, centre=0.2).acceleration == 5


@both
@pytest.mark.parametrize(("acceleration", "centre"), [(50, 0.0), (300, 0.2), (21, 0.2)])
def test_less_than_one_column_is_refused(name: str, acceleration: float, centre: float) -> None:
    key = f"operator\\.{name.replace('-', '_')}\\.acceleration"
    with pytest.raises(ConfigError, match=rf"{key}: {acceleration} .*at most 20"):
        make(name, (1, 4, 20), acceleration=acceleration, centre=centre)
    assert make(name, (1, 4, 20), acceleration=20, centre=0).acceleration == 20


@both
def test_each_slice_may_have_its_own_mask(name: str) -> None:
    shape = (2, 12, 40)
    operator = make(name, shape, mask_per="slice")
    assert operator.varies
    own = operator.per_sample(5, generator(8))
    assert own.varies and own.mask.shape == (5, 40)
    assert len({tuple(row) for row in own.columns.tolist()}) == 5
    assert torch.equal(own.columns, operator.per_sample(5, generator(8)).columns)
    assert own.acceleration == operator.acceleration == 4
    x, y = images(shape, 5), own.A(images(shape, 5))
    for i, mask in enumerate(own.mask.numpy()):
        alone = own.rows(slice(i, i + 1))
        torch.testing.assert_close(alone.A(x[i : i + 1]), y[i : i + 1], rtol=0, atol=1e-14)
        if name == "mri":
            k = to_k(complex_of(x[i : i + 1]))
            np.testing.assert_allclose(y[i : i + 1, 0].numpy(), k[..., mask], atol=1e-13)
    some = torch.tensor([3, 0])
    torch.testing.assert_close(own.rows(some).A(x[some]), y[some], rtol=0, atol=1e-14)
    v = torch.randn(y.shape, generator=generator(), dtype=y.dtype)
    left, right = (y.conj() * v).sum().real, (x * own.A_adjoint(v)).sum()
    torch.testing.assert_close(left, right, rtol=1e-12, atol=1e-12)
    single = torch.cat([own.rows(slice(i, i + 1)).A_adjoint(y[i : i + 1]) for i in range(5)])
    torch.testing.assert_close(own.measure(x), single, rtol=1e-12, atol=1e-12)
    for wrong in (x[:1], x[:4]):
        with pytest.raises(DataError, match=r"masks for 5, one each; .* rows\(index\)"):
            own.A(wrong)
        with pytest.raises(DataError, match="masks for 5"):
            own.A_adjoint(y[: len(wrong)])


@both
def test_one_mask_for_all_does_not_vary(name: str) -> None:
    operator = make(name, (1, 12, 16))
    assert not operator.varies
    assert operator.per_sample(5, generator()) is operator
    assert operator.rows(slice(2)) is operator


def test_masks_of_slices_are_drawn_in_chunks_as_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    operator = make("mri", (1, 12, 16), mask_per="slice").per_sample(7, generator())
    x = images((1, 12, 16), 7)
    whole = operator.measure(x)
    monkeypatch.setattr("recondoor.operators._base.CHUNK_PIXELS", 2 * 12 * 16)
    torch.testing.assert_close(operator.measure(x), whole, rtol=1e-12, atol=1e-12)


def matrix_of(operator: LinearOperator) -> np.ndarray[Any, Any]:
    """The map from real images to real numbers, (2 * m, C * H * W)."""
    size = int(np.prod(operator.shape))
    unit = torch.eye(size, dtype=torch.float64).reshape(size, *operator.shape)
    y = operator.A(unit).reshape(size, -1).T
    return torch.cat((y.real, y.imag)).numpy()


@pytest.mark.parametrize("shape", [(1, 9, 10), (2, 9, 10), (1, 8, 11)], ids=str)
@pytest.mark.parametrize("own", [{}, {"mask_per": "slice"}])
def test_closed_forms_of_mri_are_those_of_its_matrix(
    shape: tuple[int, int, int], own: dict[str, Any]
) -> None:
    operator = make("mri", shape, acceleration=3, **own).per_sample(1, generator())
    matrix = matrix_of_rows(operator) if own else matrix_of(operator)
    inverse = np.linalg.pinv(matrix, rcond=1e-10)
    x = images(shape, 1)
    y = operator.A(x)
    parts = torch.cat((y.reshape(1, -1).real, y.reshape(1, -1).imag), 1).numpy()
    expected = (parts @ inverse.T).reshape(x.shape)
    np.testing.assert_allclose(operator.network_input(y, "pinv").numpy(), expected, atol=1e-12)
    projected = (x.reshape(1, -1).numpy() @ (inverse @ matrix).T).reshape(x.shape)
    np.testing.assert_allclose(operator.project_range(x).numpy(), projected, atol=1e-12)


def matrix_of_rows(operator: Any) -> np.ndarray[Any, Any]:
    """The same of an operator of one image."""
    size = int(np.prod(operator.shape))
    unit = torch.eye(size, dtype=torch.float64).reshape(size, *operator.shape)
    y = operator.rows(torch.zeros(size, dtype=torch.int64)).A(unit).reshape(size, -1).T
    return torch.cat((y.real, y.imag)).numpy()


def test_of_complex_images_pinv_is_the_adjoint() -> None:
    operator = make("mri", (2, 9, 10))
    y = operator.A(images((2, 9, 10)))
    found = operator.network_input(y, "pinv")
    torch.testing.assert_close(found, operator.network_input(y, "adjoint"), rtol=0, atol=1e-14)


@pytest.mark.parametrize("height", [1, 27, 64])
def test_squares_of_birdcage_maps_add_up_to_1(height: int) -> None:
    maps = make("mri-multicoil", (1, height, 31), coils=6).maps
    assert maps.shape == (6, height, 31)
    total = maps.abs().square().sum(0)
    torch.testing.assert_close(total, torch.ones_like(total), rtol=1e-12, atol=1e-12)
    assert float(maps[0].imag.abs().max()) < 1e-12  # the phase is relative to the first coil's
    assert float(maps.abs().std(dim=(1, 2)).min()) > 0.01 or height == 1


def smooth(height: int, width: int) -> Tensor:
    """A body of smooth intensity with an edge, (1, 2, H, W)."""
    y, x = torch.meshgrid(
        torch.linspace(-1, 1, height), torch.linspace(-1, 1, width), indexing="ij"
    )
    inside = ((x / 0.8) ** 2 + (y / 0.9) ** 2 < 1).double()
    body = inside * (1 + 0.3 * torch.cos(4 * x) * torch.sin(3 * y)).double()
    return torch.stack((body, torch.zeros_like(body)))[None]


def test_maps_estimated_from_the_centre_are_the_true_ones() -> None:
    operator = make("mri-multicoil", (2, 128, 96), centre=0.16)
    x = smooth(128, 96)
    k = operator.zero_filled(operator.A(x))
    found, truth = estimate_maps(k, 15)[0], operator.maps
    inside = x[0, 0] > 0
    agree = (found.conj() * truth).sum(0).abs()[inside]
    assert float(agree.mean()) > 0.999 and float(agree.min()) > 0.98
    assert bool((found.abs().square().sum(0)[inside] - 1).abs().max() < 1e-12)


def test_only_the_centre_counts_in_an_estimate() -> None:
    operator = make("mri-multicoil", (2, 32, 40), centre=0.2)
    k = operator.zero_filled(operator.A(smooth(32, 40)))
    outside = k.clone()
    outside[..., :16], outside[..., 24:] = 5, -3
    assert torch.equal(estimate_maps(outside, 8), estimate_maps(k, 8))


def test_inputs_of_estimated_maps_are_those_of_each_images_own_centre() -> None:
    shape = (2, 48, 40)
    known, operator = (
        make("mri-multicoil", shape, centre=0.2, maps=maps) for maps in ("birdcage", "estimated")
    )
    x = smooth(48, 40).repeat(2, 1, 1, 1) * (1 + images(shape, 2))
    y = operator.A(x)
    assert torch.equal(y, known.A(x)) and operator.varies and not known.varies
    z = operator.network_input(y, "adjoint")
    centre = whole_centre(operator.mask)
    maps = estimate_maps(operator.zero_filled(y), centre)
    coils = operator.coil_images(y)
    separate = torch.complex(coils[:, :8], coils[:, 8:])
    expected = (maps.conj() * separate).sum(1)
    torch.testing.assert_close(torch.complex(z[:, 0], z[:, 1]), expected, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(operator.network_input(y[:1], "adjoint"), z[:1])
    assert not torch.equal(z, known.network_input(y, "adjoint"))
    assert torch.equal(operator.measure(x), z)
    with pytest.raises(ConfigError, match="'rss' given, which is not linear"):
        operator.network_input(y, "rss")


@both
@pytest.mark.parametrize("channels", [3, 4])
def test_images_that_are_neither_real_nor_complex_are_refused(name: str, channels: int) -> None:
    with pytest.raises(ConfigError, match=rf"'{name}' measures images of 1 .* or 2.*{channels}$"):
        make(name, (channels, 8, 8))


@both
@pytest.mark.parametrize(
    ("mask", "said"),
    [
        (np.ones(20), "is a mask of width 20, but the images have width 24"),
        (np.full(24, np.nan), "NaN"),
        (np.full(24, 0.5), "other numbers than 0 and 1"),
        (np.zeros(24), "zeros alone"),
        (np.ones((24, 2)), r"of shape \(W,\)"),
    ],
)
def test_a_mask_that_does_not_fit_is_refused(
    name: str, mask: np.ndarray[Any, Any], said: str, tmp_path: Path
) -> None:
    np.save(tmp_path / "mask.npy", mask)
    key = name.replace("-", "_")
    with pytest.raises(ConfigError, match=rf"^operator\.{key}\.file: .*{said}[^\n]*$"):
        make(name, (1, 8, 24), file=str(tmp_path / "mask.npy"))


@both
def test_a_mask_of_ones_own_is_taken(name: str, tmp_path: Path) -> None:
    mask = np.arange(24) % 5 == 2
    np.save(tmp_path / "mask.npy", mask)
    operator = make(name, (1, 8, 24), file=str(tmp_path / "mask.npy"))
    assert np.array_equal(operator.mask.numpy(), mask)
    assert operator.acceleration == 24 / 5


@pytest.mark.parametrize(
    ("maps", "said"),
    [
        (np.ones((4, 8, 24), complex), r"has 4 coils, but .*coils is 8; set .*coils=4"),
        (np.ones((8, 8, 20), complex), "has maps of 8 x 20, but the images are 8 x 24"),
        (np.full((8, 8, 24), np.nan * 1j), "NaN"),
        (np.zeros((8, 8, 24)), "zeros alone"),
        (np.ones((8, 24)), r"of shape \(coils, H, W\)"),
    ],
)
def test_maps_that_do_not_fit_are_refused(
    maps: np.ndarray[Any, Any], said: str, tmp_path: Path
) -> None:
    np.save(tmp_path / "maps.npy", maps)
    with pytest.raises(ConfigError, match=rf"^operator\.mri_multicoil\.maps: .*{said}[^\n]*$"):
        make("mri-multicoil", (1, 8, 24), maps=str(tmp_path / "maps.npy"))


def test_maps_of_a_file_are_brought_to_squares_that_add_up_to_1(tmp_path: Path) -> None:
    parts = np.random.default_rng(0).standard_normal((2, 3, 8, 24))
    maps = 7 * (parts[0] + 1j * parts[1])
    maps[:, 2] = 0
    np.save(tmp_path / "maps.npy", maps)
    found = make("mri-multicoil", (1, 8, 24), coils=3, maps=str(tmp_path / "maps.npy")).maps
    size = np.sqrt((np.abs(maps) ** 2).sum(0))
    expected = np.where(size > 0, maps / np.where(size > 0, size, 1), 0)
    np.testing.assert_allclose(found.numpy(), expected, atol=1e-14)


def test_no_centre_gives_no_maps() -> None:
    operator = make("mri-multicoil", (1, 8, 24), centre=0, mask_per="slice", maps="estimated")
    y = operator.A(images((1, 8, 24)))
    with pytest.raises(ConfigError, match=r"estimated given, but no centre .*centre$"):
        operator.network_input(y, "adjoint")
    with pytest.raises(DataError, match="centre: 0 columns given"):
        estimate_maps(operator.zero_filled(y), 0)
    with pytest.raises(DataError, match=r"expected complex \(B, coils, H, W\)"):
        estimate_maps(operator.zero_filled(y).real, 4)
