"""A user's own images: an .npz or .npy file, or a folder of PNGs."""

import hashlib
import os
from collections.abc import Mapping
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from recondoor import arrays, gate
from recondoor.data._images import Images
from recondoor.errors import DataError
from recondoor.progress import Progress

TRAIN_KEYS = ("x", "images", "x_train", "train")
TEST_KEYS = ("test", "x_test")
MOST_FILES = 1_000_000
"""Files that a folder of PNGs may hold."""


def read_path(path: Path, progress: Progress) -> Images:
    """Load the images at `path`, which exists; the set is called like the file.

    uint8 values count from 0 to 255, True is 1, floating-point ones must lie in [0, 1]. An .npz
    holds the images under `x`, `images`, `x_train` or `train`, or as its only array, and may hold
    test images under `test` or `x_test`. A folder holds 8-bit greyscale or RGB PNGs of one size,
    taken in the order of their names. Copies are told. Shapes as in `Images.of`. Raises
    DataError for anything else.
    """
    if path.is_dir():
        images = Images.of(path.resolve().name, _read_folder(path, progress))
    elif path.suffix.lower() == ".npy":
        images = Images.of(path.name, _read_npy(path))
    elif path.suffix.lower() == ".npz":
        images = Images.of(path.name, *_read_npz(path))
    else:
        raise DataError(f"'{path}' is neither an .npz or .npy file nor a folder of PNGs")
    if copies := _copies(images):
        progress.say(
            f"{images.name}: {copies} images are copies of earlier ones, and a copy may be trained "
            "on and tested on; leave the copies out"
        )
    return images


def _copies(images: Images) -> int:
    """How many images are, to the bit, ones that came before."""
    parts = [part for part in (images.train_pixels, images.test_pixels) if part is not None]
    different = {hashlib.sha256(image).digest() for part in parts for image in part}
    return sum(map(len, parts)) - len(different)


def _read_npy(path: Path) -> NDArray[Any]:
    array = _load(path)
    if not isinstance(array, np.ndarray):
        raise DataError(f"'{path}' is an archive of arrays; rename it to .npz")
    return array


def _read_npz(path: Path) -> tuple[NDArray[Any], NDArray[Any] | None]:
    found = _load(path)
    if isinstance(found, np.ndarray):
        raise DataError(f"'{path}' is a single array; rename it to .npy")
    return found["train"], found.get("test")


def _load(path: Path) -> NDArray[Any] | dict[str, NDArray[Any]]:
    """The array of an .npy; those of an .npz under `train` and, if it has any, `test`."""
    # A stream of our own, because np.load leaves a file open that is no archive.
    try:
        with gate.opened(path, most=gate.ARRAYS) as stream:
            content = arrays.load(stream)
            if isinstance(content, np.ndarray):
                return content
            roles = zip(("train", "test"), _keys(content.files, path), strict=True)
            return {role: _member(content, key, path) for role, key in roles if key}
    except arrays.UNREADABLE as error:
        raise DataError(arrays.failure(path, error, f"{path.suffix.lower()} file")) from error


def _member(archive: Mapping[str, Any], key: str, path: Path) -> NDArray[Any]:
    array = archive[key]
    if not isinstance(array, np.ndarray):
        raise DataError(f"'{path}': '{key}' is not a NumPy array")
    return array


def _keys(found: list[str], path: Path) -> tuple[str, str | None]:
    train = [key for key in TRAIN_KEYS if key in found]
    test = [key for key in TEST_KEYS if key in found]
    if not train:
        train = [key for key in found if key not in test]
    if len(train) != 1 or len(test) > 1:
        raise DataError(
            f"'{path}' holds {', '.join(sorted(found)) or 'no arrays'}; expected the images under "
            f"one of {', '.join(TRAIN_KEYS)}, and at most one of {', '.join(TEST_KEYS)}"
        )
    return train[0], test[0] if test else None


def _read_folder(folder: Path, progress: Progress) -> NDArray[np.uint8]:
    """Pixels of all PNGs directly in `folder`, (N, H, W) or (N, 3, H, W)."""
    names = _names(folder)
    first = _read_png(folder / names[0], folder)
    _require_room(folder, names, first.size)
    pixels = np.empty((len(names), *first.shape), np.uint8)
    with progress.task(f"reading {len(names)} PNGs", len(names)) as task:
        for index, name in enumerate(names):
            image = _read_png(folder / name, folder)
            if image.shape != first.shape:
                raise DataError(
                    f"'{folder / name}' is {_describe(image)} but '{names[0]}' is "
                    f"{_describe(first)}; all images must have one size and be all greyscale or "
                    "all RGB"
                )
            pixels[index] = image
            task.advance()
    return pixels if pixels.ndim == 3 else np.ascontiguousarray(np.moveaxis(pixels, 3, 1))


def _names(folder: Path) -> list[str]:
    with os.scandir(folder) as entries:
        found = [entry.name for entry in islice(entries, MOST_FILES + 1)]
    if len(found) > MOST_FILES:
        raise DataError(
            f"'{folder}' holds more than {MOST_FILES:,} files; put the images into an .npy file"
        )
    names = [name for name in found if name[-4:].lower() == ".png" and not name.startswith(".")]
    if not names:
        raise DataError(
            f"'{folder}' holds no PNG; expected a folder with .png files directly in it"
        )
    return sorted(names)


def _require_room(folder: Path, names: list[str], size: int) -> None:
    """Refuse pictures that would expand, together, to suspiciously much."""
    try:
        held = sum((folder / name).lstat().st_size for name in names)
        arrays.require_expansion(len(names) * size, held)
    except (OSError, ValueError) as error:
        raise DataError(arrays.failure(folder, error, "folder of PNGs")) from error


def _read_png(path: Path, folder: Path) -> NDArray[np.uint8]:
    try:
        return arrays.read_png(path, inside=folder)
    except arrays.UNREADABLE as error:
        raise DataError(arrays.failure(path, error, "PNG")) from error


def _describe(image: NDArray[np.uint8]) -> str:
    kind = "greyscale" if image.ndim == 2 else "RGB"
    return f"{image.shape[0]}x{image.shape[1]} {kind}"
