"""Images as a study wants them: large enough parts of a body, one size, with a phase."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from recondoor.config import Data
from recondoor.core.errors import ConfigError, DataError
from recondoor.core.seeding import numpy_generator
from recondoor.data._images import Images, Labels
from recondoor.data._resample import area_means
from recondoor.data._stack import FloatArray, Part, Stack

LEVEL = 0.1
"""Pixels above this are no background (`data.foreground`)."""

CYCLES = 2
"""Most periods of a synthetic phase along a side."""

BATCH = 64
"""Images that are resampled at a time."""


def prepared(images: Images, settings: Data) -> Images:
    """`images` with `settings.foreground`, `.size` and `.phase`; the same object if none is set.

    Raises ConfigError where a setting does not fit the images, DataError where none is left.
    """
    if not settings.foreground and settings.size is None and settings.phase == "none":
        return images
    train = _one(images, "train", settings)
    test = (None, None) if images.test_stack is None else _one(images, "test", settings)
    return Images.of(
        images.name,
        *(train[0], test[0]),
        train_subjects=train[1],
        test_subjects=test[1],
        is_complex=images.is_complex or settings.phase == "smooth",
    )


def _one(images: Images, role: str, settings: Data) -> tuple[Stack, Labels | None]:
    stack = images.train_stack if role == "train" or not images.test_stack else images.test_stack
    labels = images.train_subjects if role == "train" else images.test_subjects
    rows = np.arange(len(stack))
    if settings.foreground:
        rows = _filled(stack, settings.foreground, f"{images.name}, {role} images")
    if settings.phase == "smooth" and (images.is_complex or stack.shape[0] != 1):
        raise ConfigError(
            "data.phase: smooth given, which makes complex images of real ones with one channel; "
            f"{images.name} has {'complex ones' if images.is_complex else f'{stack.shape[0]}'}"
        )
    changed = [
        _changed(stack.take(rows[at : at + BATCH]), rows[at : at + BATCH], role, settings)
        for at in range(0, len(rows), BATCH)
    ]
    kept = Part(np.concatenate(changed)) if changed else Part(np.empty((0, *stack.shape), "<f4"))
    return Stack.of(kept), None if labels is None else labels[rows]


def _changed(
    images: FloatArray, rows: NDArray[Any], role: str, settings: Data
) -> NDArray[np.float32]:
    found = images if settings.size is None else resized(images, settings.size)
    if settings.phase == "none":
        return found
    phases = np.stack([smooth_phase(found.shape[2:], role, int(row)) for row in rows])
    return np.concatenate([found * np.cos(phases), found * np.sin(phases)], axis=1).astype("<f4")


def resized(images: FloatArray, size: int) -> NDArray[np.float32]:
    """Images (N, C, H, W) on `size` times `size` pixels, each the mean of what it covers.

    They are filled with 0 to a square about their middle. Raises ConfigError where `size` is larger
    than both sides, as pixels would be made up.
    """
    side = max(images.shape[2:])
    if size > side:
        raise ConfigError(
            f"data.size: {size} given; the images have {side} pixels along a side, and none are "
            f"made up: set data.size={side} or less"
        )
    return (
        images
        if images.shape[2:] == (size, size)
        else area_means(images, (1, 1), size, side / size)
    )


def _filled(stack: Stack, share: float, where: str) -> NDArray[np.int64]:
    """Rows of the images of which a share of at least `share` is no background."""
    shares = np.empty(len(stack))
    for at in range(0, len(stack), BATCH):
        rows = np.arange(at, min(at + BATCH, len(stack)))
        strength = np.sqrt((stack.take(rows) ** 2).sum(1))
        shares[rows] = (strength > LEVEL).mean((1, 2))
    found = np.flatnonzero(shares >= share)
    if not len(found):
        raise DataError(
            f"{where}: in none of {len(stack)} are {share:.3g} of the pixels above {LEVEL}, but at "
            f"most {shares.max():.3g}; lower data.foreground"
        )
    return found


def smooth_phase(size: tuple[int, ...], role: str, row: int) -> NDArray[np.float64]:
    """Phase (1, H, W) in [-pi, pi]: a random sum of at most `CYCLES` periods along a side.

    Synthetic: like the slow change that coils and an uneven field leave, of no particular scanner.
    A function of the image's part (`role`) and its row in it alone.
    """
    generator = numpy_generator(0, "phase", role, str(row))
    down, across = (np.arange(n) / n for n in size)
    total = np.zeros(size)
    for v in range(CYCLES + 1):
        for u in range(CYCLES + 1):
            size_of, start = generator.normal() / (1 + u + v), generator.uniform(0, 2 * np.pi)
            total += size_of * np.cos(2 * np.pi * (v * down[:, None] + u * across) + start)
    phase: NDArray[np.float64] = (np.pi * total / np.abs(total).max())[None]
    return phase
