"""Complex arrays and raw ISMRMRD lines: read as an independent transform has them, or refused."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from recondoor import data
from recondoor.config import Data, from_dict
from recondoor.core.errors import DataError
from recondoor.measurement import build
from volume_files import Array, refused, write_raw_ismrmrd

RNG = np.random.default_rng(0)


def coils_of(shape: tuple[int, ...] = (2, 3, 1, 6, 8)) -> Array:
    """Images of coils, complex (slices, coils, z, y, x)."""
    return RNG.normal(size=shape) + 1j * RNG.normal(size=shape)


def kspace_of(coils: Array) -> Array:
    """By a matrix of centred exponentials along each axis, and no FFT."""
    found = coils
    for axis in (2, 3, 4):
        n = coils.shape[axis]
        at = np.arange(n) - n // 2
        matrix = np.exp(-2j * np.pi * np.outer(at, at) / n) / np.sqrt(n)
        found = np.moveaxis(np.tensordot(matrix, found, (1, axis)), 0, axis)
    return found


def rss(coils: Array) -> Array:
    """(slices x z, y, x), the largest value 1."""
    found = np.sqrt((np.abs(coils) ** 2).sum(1))
    return found.reshape(-1, *found.shape[2:]) / found.max()


@pytest.mark.parametrize("shape", [(2, 3, 1, 6, 8), (1, 2, 4, 5, 7)])
def test_whole_cartesian_lines_become_the_root_sum_of_squares(
    tmp_path: Path, shape: tuple[int, ...]
) -> None:
    coils = coils_of(shape)
    write_raw_ismrmrd(tmp_path / "a.h5", kspace_of(coils))
    images = data.load(str(tmp_path / "a.h5"))
    np.testing.assert_allclose(images.train[:, 0], rss(coils), atol=2e-6)


def test_oversampled_readout_is_cut_to_the_field_of_view(tmp_path: Path) -> None:
    coils = coils_of()
    write_raw_ismrmrd(tmp_path / "a.h5", kspace_of(coils), wide=400, narrow=200)
    expected = np.sqrt((np.abs(coils) ** 2).sum(1))[:, 0, :, 2:6]
    found = data.load(str(tmp_path / "a.h5")).train[:, 0]
    np.testing.assert_allclose(found, expected / expected.max(), atol=2e-6)


def test_lines_go_where_the_header_has_the_middle_and_repeats_are_averaged(tmp_path: Path) -> None:
    coils = coils_of()

    def moved(heads: Array) -> None:
        heads["idx"]["kspace_encode_step_1"][1:] += 10

    write_raw_ismrmrd(tmp_path / "a.h5", kspace_of(coils), change=moved, centre=13)
    write_raw_ismrmrd(tmp_path / "b.h5", kspace_of(coils), lines=(*range(6), 2, 2))
    for name in ("a.h5", "b.h5"):
        found = data.load(str(tmp_path / name)).train[:, 0]
        np.testing.assert_allclose(found, rss(coils), atol=2e-6)


def _set(key: str, value: int, counter: bool = False) -> Callable[[Array], None]:
    def change(heads: Array) -> None:
        (heads["idx"] if counter else heads)[key][-1] = value

    return change


FAULTS: dict[str, tuple[dict[str, Any], str]] = {
    "undersampled": ({"lines": (0, 2, 4), "acceleration": 2}, "3 of 6 lines of a slice were not"),
    "radial": ({"trajectory": "radial"}, "its trajectory is radial, not cartesian; reconstruct it"),
    "epi": ({"change": _set("flags", 1 << 21)}, "in reverse (EPI)"),
    "repetitions": (
        {"change": _set("repetition", 1, True)},
        "2 images of a slice (idx.rep",
    ),
    "asymmetric": ({"x": 12}, "a line has 8 samples and its header says 12"),
    "mixed": ({"change": _set("number_of_samples", 5)}, "differ in number_of_samples"),
    "outside": ({"change": _set("kspace_encode_step_1", 60, True)}, "outside of its header's"),
    "encodings": ({"change": _set("encoding_space_ref", 3)}, "2 encodings, and its header has 1"),
    "entities": ({"trajectory": "<!DOCTYPE x>"}, "declares a document type"),
    "no-xml": ({"trajectory": "<"}, "its header is no XML"),
    "no-number": ({"wide": "wide"}, "no number in encoding/encodedSpace/fieldOfView_mm/x"),
    "huge": ({"y": 60_000, "z": 60_000}, "3599999994 of 3600000000 lines of a slice were not"),
    "claims": (
        {"change": lambda heads: _claims(heads)},
        "does not hold 65535 samples",
    ),
}


def _claims(heads: Array) -> None:
    heads["number_of_samples"] = 65535
    heads["discard_post"] = 65535 - 8


@pytest.mark.parametrize("fault", FAULTS)
def test_raw_data_that_are_no_whole_image_are_refused(tmp_path: Path, fault: str) -> None:
    given, words = FAULTS[fault]
    write_raw_ismrmrd(tmp_path / "a.h5", kspace_of(coils_of()), **given)
    assert words in refused(tmp_path / "a.h5")


# Complex arrays


@pytest.mark.parametrize("kind", ["<c8", ">c16"])
def test_complex_arrays_are_two_channels_of_which_the_largest_magnitude_is_1(
    tmp_path: Path, kind: str
) -> None:
    values = (40 * coils_of((12, 1, 9, 7))[:, 0]).astype(kind)
    np.save(tmp_path / "a.npy", values)
    np.savez(tmp_path / "b.npz", x=values[:, None], test=0.5 * values[:3])
    scaled = values / np.abs(values).max()
    for name in ("a.npy", "b.npz"):
        images = data.load(str(tmp_path / name))
        assert images.is_complex
        assert images.shape == (2, 9, 7)
        found = images.train[:, 0] + 1j * images.train[:, 1]
        np.testing.assert_allclose(found, scaled, atol=1e-6)
    assert images.test is not None
    np.testing.assert_allclose(images.test[:, 0], 0.5 * scaled[:3].real, atol=1e-6)
    smaller = data.read(Data(name=str(tmp_path / "a.npy"), size=4))
    assert smaller.shape == (2, 4, 4)
    assert smaller.is_complex


def test_the_settings_say_whether_a_network_sees_both_channels_or_the_magnitude() -> None:
    for given, channels in (({}, 2), ({"map": "magnitude"}, 1)):
        settings = from_dict({"operator": {"name": "mri"}, "input": given})
        assert build(settings, (2, 16, 16), 0).target_shape == (channels, 16, 16)


@pytest.mark.parametrize(
    ("values", "words"),
    [
        (np.ones((4, 3, 8, 8)) + 1j, "complex images of 3 channels"),
        (np.zeros((4, 8, 8), complex), "magnitudes up to 0"),
        (
            np.full((4, 8, 8), np.nan + 1j),
            "NaN or infinite values, the first at [0, 0, 0, 0]",
        ),
        (np.ones((4, 8)) + 1j, "shape (4, 8)"),
    ],
)
def test_complex_arrays_that_are_no_images(tmp_path: Path, values: Array, words: str) -> None:
    np.save(tmp_path / "a.npy", values)
    assert words in refused(tmp_path / "a.npy")


def test_complex_and_real_images_are_not_mixed_and_have_no_window(tmp_path: Path) -> None:
    values = np.ones((4, 8, 8)) + 1j
    np.savez(tmp_path / "a.npz", x=values, test=np.ones((2, 8, 8)))
    assert "are complex and the others are not" in refused(tmp_path / "a.npz")
    np.save(tmp_path / "b.npy", values)
    with pytest.raises(DataError, match="numbers of type complex128"):
        data.load(str(tmp_path / "b.npy"), window=(0, 1))
