"""A user's own images: an .npz or .npy file, or a folder of PNGs."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from recondoor import arrays
from recondoor.data._images import Images
from recondoor.errors import DataError
from recondoor.progress import Progress

TRAIN_KEYS = ("x", "images", "x_train", "train")
TEST_KEYS = ("test", "x_test")


def read_path(path: Path, progress: Progress) -> Images:
    """Load the images at `path`, which exists; the set is called like the file.

    uint8 values count from 0 to 255, floating-point ones must lie in [0, 1]. An .npz holds the
    images under `x`, `images`, `x_train` or `train`, or as its only array, and may hold test
    images under `test` or `x_test`. A folder holds 8-bit greyscale or RGB PNGs of one size, taken
    in the order of their names. Shapes as in `Images.of`. Raises DataError for anything else.
    """
    if path.is_dir():
        return Images.of(path.resolve().name, _read_folder(path, progress))
    if path.suffix.lower() == ".npy":
        return Images.of(path.name, _read_npy(path))
    if path.suffix.lower() == ".npz":
        return Images.of(path.name, *_read_npz(path))
    raise DataError(f"'{path}' is neither an .npz or .npy file nor a folder of PNGs")


def _read_npy(path: Path) -> NDArray[Any]:
    try:
        with path.open("rb") as stream:
            array = arrays.load(stream)
    except arrays.UNREADABLE as error:
        raise _unreadable(path, error) from error
    if not isinstance(array, np.ndarray):
        raise DataError(f"'{path}' is an archive of arrays; rename it to .npz")
    return array


def _read_npz(path: Path) -> tuple[NDArray[Any], NDArray[Any] | None]:
    # A stream of our own, because np.load leaves a file open that is no archive.
    try:
        with path.open("rb") as stream:
            archive = arrays.load(stream)
            if isinstance(archive, np.ndarray):
                raise DataError(f"'{path}' is a single array; rename it to .npy")
            train, test = _keys(archive.files, path)
            return _member(archive, train, path), _member(archive, test, path) if test else None
    except arrays.UNREADABLE as error:
        raise _unreadable(path, error) from error


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


def _unreadable(path: Path, error: BaseException) -> DataError:
    reason = " ".join(str(error).split())
    if isinstance(error, MemoryError):
        return DataError(f"'{path}' does not fit into memory ({reason})")
    if "Object arrays" in reason:
        return DataError(f"'{path}' holds Python objects; expected an array of numbers")
    if isinstance(error, ValueError) and "pickle" in reason:
        reason = "it does not start like one"
    return DataError(
        f"'{path}' is not a readable {path.suffix.lower()} file ({reason or type(error).__name__})"
    )


def _read_folder(folder: Path, progress: Progress) -> NDArray[np.uint8]:
    """Pixels of all PNGs directly in `folder`, (N, H, W) or (N, 3, H, W)."""
    paths = sorted(
        path
        for path in folder.iterdir()
        if path.suffix.lower() == ".png" and not path.name.startswith(".")
    )
    if not paths:
        raise DataError(
            f"'{folder}' holds no PNG; expected a folder with .png files directly in it"
        )
    first = _read_png(paths[0])
    pixels = np.empty((len(paths), *first.shape), np.uint8)
    with progress.task(f"reading {len(paths)} PNGs", len(paths)) as task:
        for index, path in enumerate(paths):
            image = _read_png(path)
            if image.shape != first.shape:
                raise DataError(
                    f"'{path}' is {_describe(image)} but '{paths[0].name}' is {_describe(first)}; "
                    "all images must have one size and be all greyscale or all RGB"
                )
            pixels[index] = image
            task.advance()
    return pixels if pixels.ndim == 3 else np.ascontiguousarray(np.moveaxis(pixels, 3, 1))


def _read_png(path: Path) -> NDArray[np.uint8]:
    """One PNG as uint8, (H, W) if greyscale or (H, W, 3) if RGB."""
    # Imported here because it costs 30 ms that only users of PNGs should pay.
    from PIL import Image

    try:
        arrays.require_chunks(path)
        with Image.open(path, formats=["PNG"]) as image:
            arrays.require_decodable(image.size)
            image.verify()  # decoding alone checks no checksums
        with Image.open(path, formats=["PNG"]) as image:
            mode = image.mode
            if mode in ("L", "RGB", "1"):
                return np.array(image.convert("L") if mode == "1" else image, dtype=np.uint8)
    except (
        *arrays.UNREADABLE,
        Image.DecompressionBombError,
        Image.DecompressionBombWarning,
    ) as error:
        reason = " ".join(str(error).split())
        raise DataError(f"'{path}' is not a readable PNG ({reason})") from error
    raise DataError(
        f"'{path}' has the pixel format {mode}; expected 8-bit greyscale or RGB without "
        "transparency or palette"
    )


def _describe(image: NDArray[np.uint8]) -> str:
    kind = "greyscale" if image.ndim == 2 else "RGB"
    return f"{image.shape[0]}x{image.shape[1]} {kind}"
