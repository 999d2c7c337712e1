"""Hand-made patterns: squares, pluses, blobs and patches of files, placed on an empty image."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from recondoor.config import Pattern
from recondoor.core.errors import ConfigError
from recondoor.io import arrays, gate

Shape = tuple[int, int, int]


def drawn(section: str, settings: Pattern, shape: Shape) -> NDArray[np.float32]:
    """The pattern on an empty image of `shape` (C, H, W), in every channel.

    Raises ConfigError, naming `section`, for a file that is none and a pattern that does not fit.
    """
    patch = None if settings.file is None else _read_patch(section, settings.file)
    channels, height, width = shape
    if patch is not None and patch.shape[0] not in (1, channels):
        raise ConfigError(
            f"{section}.file: {patch.shape[0]} channels given; the data has {channels}"
        )
    rows, columns = (settings.size, settings.size) if patch is None else patch.shape[1:]
    top, left = _corner(settings, (rows, columns), (height, width))
    if top < 0 or left < 0 or top + rows > height or left + columns > width:
        raise ConfigError(
            f"{section}: {rows}x{columns} pixels at row {top}, column {left} do not fit into an "
            f"image of {height}x{width}; "
            + ("give a smaller patch" if patch is not None else f"lower {section}.size")
            + f" or lower {section}.margin, or change {section}.place"
        )
    image = np.zeros(shape, dtype=np.float32)
    pixels = _hand_made(section, settings) if patch is None else patch
    with np.errstate(over="ignore", under="ignore", invalid="ignore"):
        image[:, top : top + rows, left : left + columns] = settings.amplitude * pixels
    if not np.isfinite(image).all() or not image.any():
        raise ConfigError(
            f"{section}.amplitude: {settings.amplitude:g} given; in 32 bits its pixels would be "
            "infinite or all zero"
        )
    return image


def _hand_made(section: str, settings: Pattern) -> NDArray[np.float32]:
    """Return the pixels of a square, blob or plus, (1, size, size)."""
    size = settings.size
    if settings.shape == "square":
        return np.ones((1, size, size), dtype=np.float32)
    if settings.shape == "blob":
        # Half a period of a cosine from the middle to the border.
        along = (np.arange(size) - (size - 1) / 2) / (size / 2)
        radius = np.minimum(1, np.hypot(along[:, None], along))
        blob: NDArray[np.float32] = (0.5 + 0.5 * np.cos(np.pi * radius)).astype(np.float32)[None]
        return blob
    if size % 2 == 0:
        raise ConfigError(f"{section}.size: {size} given; a plus needs an odd size")
    plus = np.zeros((1, size, size), dtype=np.float32)
    plus[:, size // 2, :] = plus[:, :, size // 2] = 1
    return plus


def _read_patch(section: str, path: Path) -> NDArray[np.float32]:
    """Values of an .npy, or the samples of a PNG, as (C, H, W)."""
    try:
        values = _read_array(path) if path.suffix.lower() == ".npy" else _read_image(path)
    except arrays.UNREADABLE as error:
        raise ConfigError(f"{section}.file: {arrays.failure(path, error)}") from None
    values = values[None] if values.ndim == 2 else values
    if values.ndim != 3 or not values.any():
        raise ConfigError(
            f"{section}.file: '{path}' has shape {values.shape}; expected values, not all "
            "zero, of shape (H, W) or (C, H, W)"
        )
    if first := arrays.first_not_finite(values):
        raise ConfigError(
            f"{section}.file: '{path}' is not finite in 32 bits at {first}; expected finite values"
        )
    return values


def _read_array(path: Path) -> NDArray[np.float32]:
    """Values by the rule of `arrays.require_scale`."""
    with gate.opened(path, most=gate.ARRAYS) as stream:
        values = arrays.load(stream)
    if not isinstance(values, np.ndarray):
        raise ValueError("it is an archive of arrays")
    arrays.require_scale(values.dtype)
    return arrays.to_float32(values)


def _read_image(path: Path) -> NDArray[np.float32]:
    """Pixels in [0, 1] of a PNG, (H, W) or (3, H, W)."""
    values = arrays.to_float32(arrays.read_png(path))
    return values if values.ndim == 2 else np.ascontiguousarray(np.moveaxis(values, 2, 0))


def _corner(settings: Pattern, size: tuple[int, int], image: tuple[int, int]) -> tuple[int, int]:
    """Upper left pixel of a patch of `size` in `image`."""
    if size == image:
        return 0, 0
    place, margin = settings.place, settings.margin
    if "," in place:
        row, column = place.split(",")
        return int(row), int(column)
    if place == "centre":
        return (image[0] - size[0]) // 2, (image[1] - size[1]) // 2
    vertical, horizontal = place.split("-")
    top = margin if vertical == "top" else image[0] - margin - size[0]
    left = margin if horizontal == "left" else image[1] - margin - size[1]
    return top, left
