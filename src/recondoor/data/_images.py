"""Clean images: checked once, kept in the form they came in, fingerprinted."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from recondoor.core.errors import DataError
from recondoor.data._stack import FloatArray, Part, Stack, chunks
from recondoor.io import arrays

Labels: TypeAlias = NDArray[np.int64]

ROUNDED = 1e-6
"""How far beyond 1 the magnitude of a complex number may be rounded."""


@dataclass(frozen=True, eq=False)
class Images:
    """A set of clean images; build one with `Images.of`, which checks and fingerprints.

    `train` and `test` are float32, (N, C, H, W), in [0, 1]; `test` is None where the set has no
    test images of its own. Complex images have two channels, real and imaginary part, in [-1, 1],
    and a magnitude of at most 1 (`is_complex`). Sources keep their type in here, and may be mapped
    from a file; they are converted as they are taken (`take`), so that a large set is not held
    twice as float32 while it is split. `train_subjects` and `test_subjects` (N,) number the person
    or volume that each image is of, or are None where that is not known. `fingerprint` is a
    SHA-256 (hex) over element types, shapes and bytes of everything loaded.
    """

    name: str
    train_stack: Stack
    test_stack: Stack | None
    fingerprint: str
    train_subjects: Labels | None = None
    test_subjects: Labels | None = None
    is_complex: bool = False

    @classmethod
    def of(
        cls,
        name: str,
        train: NDArray[Any] | Stack,
        test: NDArray[Any] | Stack | None = None,
        *,
        train_subjects: NDArray[Any] | Sequence[int] | None = None,
        test_subjects: NDArray[Any] | Sequence[int] | None = None,
        is_complex: bool = False,
    ) -> Images:
        """Check the arrays of a set called `name` and fingerprint them.

        uint8 arrays have the range 0 to 255, floating-point ones [0, 1]; True is 1. Shapes:
        (N, H, W), (N, C, H, W), or (N, H, W, C) where the last axis is 1 or 3 long and the second
        is neither. `is_complex`: floating-point (N, 2, H, W), real and imaginary part.
        Raises DataError for any other shape or type, no images, NaN, infinity, values out of
        range, test images of another size than the training images, and labels of subjects that
        are no whole number for each image, or that training and test images share.
        """
        parts = [_checked(train, name, is_complex)]
        if test is not None:
            parts.append(_checked(test, f"{name}, test images", is_complex))
            if parts[1].shape != parts[0].shape:
                raise DataError(
                    f"{name}: test images are {_size(parts[1])} but training images "
                    f"{_size(parts[0])}; both must have the same channels, height and width"
                )
        given = (train_subjects, test_subjects)
        labels = [_checked_labels(own, part, name) for own, part in zip(given, parts, strict=False)]
        labels += [None] * (2 - len(labels))
        _require_apart(labels[0], labels[1], name)
        digest = hashlib.sha256(b"complex\n" if is_complex else b"")
        for role, part in zip(("train", "test"), parts, strict=False):
            part.fingerprint(digest, role)
        for role, own in zip(("train", "test"), labels, strict=True):
            if own is not None:
                digest.update(f"{role} subjects {own.shape}\n".encode())
                digest.update(own.data)
        whole = (parts[0], parts[1] if len(parts) > 1 else None)
        return cls(name, *whole, digest.hexdigest(), labels[0], labels[1], is_complex)

    @property
    def shape(self) -> tuple[int, int, int]:
        """(C, H, W) of every image."""
        return self.train_stack.shape

    @property
    def train(self) -> FloatArray:
        """All images but the set's own test images, float32 (N, C, H, W)."""
        return self.train_stack.everything()

    @property
    def test(self) -> FloatArray | None:
        """The set's own test images, float32 (N, C, H, W), or None."""
        return None if self.test_stack is None else self.test_stack.everything()

    @property
    def train_pixels(self) -> NDArray[Any]:
        """The same images as `train`, in the type that they came in."""
        return self.train_stack.stored()

    @property
    def test_pixels(self) -> NDArray[Any] | None:
        """The same images as `test`, in the type that they came in."""
        return None if self.test_stack is None else self.test_stack.stored()


def _checked(given: NDArray[Any] | Stack, where: str, is_complex: bool) -> Stack:
    """The images as they are kept; `where` starts every error."""
    if not isinstance(given, Stack):
        try:
            arrays.require_scale(given.dtype)
        except ValueError as error:
            raise DataError(f"{where}: {error}") from None
    stack = given if isinstance(given, Stack) else Stack.of(Part(shaped(given, where)))
    if is_complex and stack.shape[0] != 2:
        raise DataError(f"{where}: complex images of {stack.shape[0]} channels; expected 2")
    for part in stack.parts:
        if part.gain is not None or part.pixels.dtype.kind == "f":
            _check_range(part, where, is_complex)
        elif is_complex:
            raise DataError(f"{where}: complex images of type {part.pixels.dtype}")
    return stack if isinstance(given, Stack) else Stack.of(Part(_kept(stack.parts[0].pixels)))


def shaped(array: NDArray[Any], where: str) -> NDArray[Any]:
    """The same numbers as (N, C, H, W); raises DataError, begun by `where`, as `Images.of`."""
    return _channels_first(array, where)


def _kept(pixels: NDArray[Any]) -> NDArray[Any]:
    """The same pixels, contiguous, in few bits; what is mapped from a file stays there."""
    if isinstance(pixels, np.memmap):
        return pixels
    small = pixels.dtype in (np.uint8, np.float16)
    return np.ascontiguousarray(pixels, dtype=pixels.dtype if small else "<f4")


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


def _require_finite(pixels: NDArray[Any], where: str) -> None:
    for rows in chunks(pixels):
        if first := arrays.first_not_finite(pixels[rows], rows.start):
            raise DataError(f"{where}: holds NaN or infinite values, the first at {first}")


def _check_range(part: Part, where: str, is_complex: bool) -> None:
    if part.pixels.dtype.kind == "f":
        _require_finite(part.pixels, where)
    low, high = np.inf, -np.inf
    for rows in chunks(part.pixels):
        # Numbers as they are stored: in 32 bits one a little above 1 may be 1.
        numbers = part.pixels[rows] if part.gain is None else part.unit(rows)
        if is_complex:
            high = max(high, float(np.hypot(numbers[:, 0], numbers[:, 1]).max()))
        else:
            low, high = min(low, float(numbers.min())), max(high, float(numbers.max()))
    if is_complex and high > 1 + ROUNDED:
        raise DataError(
            f"{where}: magnitudes up to {high:.4g}; expected at most 1, so divide by it"
        )
    if not is_complex and (low < 0 or high > 1):
        raise DataError(
            f"{where}: values from {low:.4g} to {high:.4g}; floating-point numbers must lie in "
            "[0, 1], so divide by the value that is to be 1 (255 for what were 8 bits)"
        )


def _size(stack: Stack) -> str:
    return "x".join(str(n) for n in stack.shape)


def _checked_labels(
    labels: NDArray[Any] | Sequence[int] | None, stack: Stack, where: str
) -> Labels | None:
    if labels is None:
        return None
    given = np.asarray(labels)
    if given.dtype.kind not in "iu" or given.shape != (len(stack),):
        raise DataError(
            f"{where}: subjects of type {given.dtype} and shape {given.shape}; expected a whole "
            f"number for each of the {len(stack)} images"
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
