"""Clean images in memory: checked once, kept in the form they came in, fingerprinted."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any, TypeAlias, cast

import numpy as np
from numpy.typing import NDArray

from recondoor import arrays
from recondoor.errors import DataError

FloatArray: TypeAlias = NDArray[np.float32]
Pixels: TypeAlias = NDArray[np.uint8] | FloatArray
Labels: TypeAlias = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Images:
    """A set of clean images; build one with `Images.of`, which checks and fingerprints.

    `train` and `test` are float32, (N, C, H, W), in [0, 1]; `test` is None where the set has no
    test images of its own. uint8 sources stay uint8 in here and are divided by 255 on each access
    of `train` or `test`, so that a large set is not held twice as float32 while it is split.
    `train_subjects` and `test_subjects` (N,) number the person or volume that each image is of, or
    are None where that is not known. `fingerprint` is a SHA-256 (hex) over element types, shapes
    and bytes of everything loaded.
    """

    name: str
    train_pixels: Pixels
    test_pixels: Pixels | None
    fingerprint: str
    train_subjects: Labels | None = None
    test_subjects: Labels | None = None

    @classmethod
    def of(
        cls,
        name: str,
        train: NDArray[Any],
        test: NDArray[Any] | None = None,
        *,
        train_subjects: NDArray[Any] | None = None,
        test_subjects: NDArray[Any] | None = None,
    ) -> Images:
        """Check the arrays of a set called `name` and fingerprint them.

        uint8 arrays have the range 0 to 255, floating-point ones [0, 1]; True is 1. Shapes:
        (N, H, W), (N, C, H, W), or (N, H, W, C) where the last axis is 1 or 3 long and the second
        is neither.
        Raises DataError for any other shape or type, no images, NaN, infinity, values out of
        range, test images of another size than the training images, and labels of subjects that
        are no whole number for each image, or that training and test images share.
        """
        train_pixels = check_pixels(train, name)
        test_pixels = None if test is None else check_pixels(test, f"{name}, test images")
        if test_pixels is not None and test_pixels.shape[1:] != train_pixels.shape[1:]:
            raise DataError(
                f"{name}: test images are {_size(test_pixels)} but training images "
                f"{_size(train_pixels)}; both must have the same channels, height and width"
            )
        labels = (
            _checked_labels(train_subjects, train_pixels, name),
            _checked_labels(test_subjects, test_pixels, name),
        )
        _require_apart(*labels, name)
        parts = (("train", train_pixels), ("test", test_pixels))
        whose = (("train subjects", labels[0]), ("test subjects", labels[1]))
        return cls(name, train_pixels, test_pixels, _fingerprint(*parts, *whose), *labels)

    @property
    def shape(self) -> tuple[int, int, int]:
        """(C, H, W) of every image."""
        _, channels, height, width = self.train_pixels.shape
        return channels, height, width

    @property
    def train(self) -> FloatArray:
        """All images but the set's own test images, float32 (N, C, H, W) in [0, 1]."""
        return to_unit(self.train_pixels)

    @property
    def test(self) -> FloatArray | None:
        """The set's own test images, float32 (N, C, H, W) in [0, 1], or None."""
        return None if self.test_pixels is None else to_unit(self.test_pixels)


def to_unit(pixels: Pixels) -> FloatArray:
    """Return `pixels` as float32 in [0, 1]; a float32 array is returned as it is, not copied."""
    if pixels.dtype == np.uint8:
        return np.divide(pixels, np.float32(255), dtype=np.float32)
    return cast(FloatArray, pixels)


def check_pixels(array: NDArray[Any], where: str) -> Pixels:
    """Return `array` as uint8 or float32 (N, C, H, W), contiguous; `where` starts every error."""
    try:
        arrays.require_scale(array.dtype)
    except ValueError as error:
        raise DataError(f"{where}: {error}") from None
    shaped = _channels_first(array, where)
    if array.dtype == np.uint8:
        return np.ascontiguousarray(shaped)
    _check_range(shaped, where)
    return np.ascontiguousarray(shaped, dtype="<f4")


def _channels_first(array: NDArray[Any], where: str) -> NDArray[Any]:
    shape = array.shape
    if array.ndim not in (3, 4):
        raise DataError(f"{where}: shape {shape}; expected (N, H, W) or (N, C, H, W)")
    if 0 in shape:
        raise DataError(f"{where}: shape {shape} holds no pixels; expected at least one image")
    if array.ndim == 3:
        return array[:, None]
    if shape[3] in (1, 3) and shape[1] not in (1, 3):
        return np.moveaxis(array, 3, 1)
    # More channels than rows or columns means that the axes are in another order than they say.
    if shape[1] not in (1, 3) and shape[1] > min(shape[2:]):
        raise DataError(
            f"{where}: shape {shape} read as (N, C, H, W) has more channels than rows or columns; "
            "expected (N, H, W), (N, C, H, W) or, with 1 or 3 channels, (N, H, W, C)"
        )
    return array


def _check_range(array: NDArray[Any], where: str) -> None:
    if first := arrays.first_not_finite(array):
        raise DataError(f"{where}: holds NaN or infinite values, the first at {first}")
    low, high = float(array.min()), float(array.max())
    if low < 0 or high > 1:
        raise DataError(
            f"{where}: values from {low:.4g} to {high:.4g}; floating-point numbers must lie in "
            "[0, 1], so divide by the value that is to be 1 (255 for what were 8 bits)"
        )


def _size(pixels: Pixels) -> str:
    return "x".join(str(n) for n in pixels.shape[1:])


def _checked_labels(
    labels: NDArray[Any] | None, pixels: Pixels | None, where: str
) -> Labels | None:
    if labels is None:
        return None
    given = np.asarray(labels)
    count = 0 if pixels is None else len(pixels)
    if given.dtype.kind not in "iu" or given.shape != (count,):
        raise DataError(
            f"{where}: subjects of type {given.dtype} and shape {given.shape}; expected a whole "
            f"number for each of the {count} images"
        )
    return np.ascontiguousarray(given, dtype="<i8")


def _require_apart(train: Labels | None, test: Labels | None, where: str) -> None:
    if train is None or test is None:
        return
    if len(both := np.intersect1d(train, test)):
        raise DataError(
            f"{where}: subject {both[0]} has training and test images; keep all images of a "
            "subject in one of them"
        )


def _fingerprint(*parts: tuple[str, Pixels | Labels | None]) -> str:
    digest = hashlib.sha256()
    for part, numbers in parts:
        if numbers is not None:
            digest.update(f"{part} {numbers.dtype.str} {numbers.shape}\n".encode())
            digest.update(numbers.data)
    return digest.hexdigest()
