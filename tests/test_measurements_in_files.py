"""Measurements y in a file of pairs: their types, and what of k-space they may be."""

from pathlib import Path

import numpy as np
import pytest

from recondoor import config
from recondoor.audit._pairs._source import Measured, read_pairs
from recondoor.core.errors import DataError


@pytest.mark.parametrize("kind", [">f8", "<f4", "<i2", "|u1", ">c16"])
def test_measurements_of_any_type_are_numbers_as_they_are(tmp_path: Path, kind: str) -> None:
    """z = A^T y by hand; a measurement is no pixel, so that 8 bits are not divided."""
    generator = np.random.default_rng(0)
    matrix = generator.normal(size=(6, 20)) + (1j if "c" in kind else 0)
    np.save(tmp_path / "A.npy", matrix)
    settings = config.from_dict({"operator": {"name": "matrix", "file": tmp_path / "A.npy"}})
    y = generator.integers(0, 100, (3, 6)).astype(kind)
    np.savez(tmp_path / "pairs.npz", x=np.zeros((3, 4, 5)), y=y)
    pairs, _ = read_pairs(tmp_path / "pairs.npz", Measured.by(settings))
    expected = (y.astype(complex) @ matrix.conj()).real.reshape(3, 1, 4, 5)
    np.testing.assert_allclose(pairs.z.numpy(), expected, rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize("per_slice", [False, True])
@pytest.mark.parametrize("channel", [(), (1,)])
def test_k_space_of_all_columns_is_measured_where_the_mask_says(
    tmp_path: Path, channel: tuple[int, ...], per_slice: bool
) -> None:
    """By hand: the adjoint of centred k-space times the mask, whatever lies elsewhere."""
    rng = np.random.default_rng(0)
    y = rng.normal(size=(3, *channel, 6, 8)) + 1j * rng.normal(size=(3, *channel, 6, 8))
    mask = np.array([[0, 1, 0, 1, 1, 0, 0, 0], [1, 0, 0, 1, 1, 0, 0, 0], [0, 0, 0, 1, 1, 0, 1, 0]])
    mask = mask if per_slice else mask[0]
    np.savez(tmp_path / "pairs.npz", x=np.zeros((3, 6, 8)), y=y, mask=mask)
    settings = config.from_dict({"operator": {"name": "mri"}})
    pairs, _ = read_pairs(tmp_path / "pairs.npz", Measured.by(settings))
    k = y.reshape(3, 6, 8) * (mask[:, None] if per_slice else mask)
    axes = (-2, -1)
    image = np.fft.fftshift(np.fft.ifft2(np.fft.ifftshift(k, axes=axes), norm="ortho"), axes=axes)
    np.testing.assert_allclose(pairs.z.numpy()[:, 0], image.real, atol=1e-6)


def test_measurements_of_another_shape_are_refused_with_the_right_one(tmp_path: Path) -> None:
    y = np.zeros((3, 6, 7), complex)
    np.savez(tmp_path / "pairs.npz", x=np.zeros((3, 6, 8)), y=y, mask=np.arange(8) % 2)
    settings = config.from_dict({"operator": {"name": "mri"}})
    with pytest.raises(DataError, match=r"operator need \(3, 1, 6, 4\), or .* all 8 columns"):
        read_pairs(tmp_path / "pairs.npz", Measured.by(settings))
