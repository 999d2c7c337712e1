"""A user's own images: a file of arrays, a folder of PNGs, or volumes."""

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from recondoor.core.errors import DataError
from recondoor.core.progress import Progress
from recondoor.data._folder import SUFFIXES, Found, form_of, found_in
from recondoor.data._images import Images, shaped
from recondoor.data._stack import Part, Stack, chunks
from recondoor.data._volumes import Window, read_volumes
from recondoor.io import arrays, gate

TRAIN_KEYS = ("x", "images", "x_train", "train")
TEST_KEYS = ("test", "x_test")


def read_path(path: Path, progress: Progress, window: Window | None = None) -> Images:
    """Load the images at `path`, which exists; the set is called like the file.

    uint8 values count from 0 to 255, True is 1, floating-point ones must lie in [0, 1]; of complex
    ones the largest magnitude becomes 1, which is told. An .npz
    holds the images under `x`, `images`, `x_train` or `train`, or as its only array, and may hold
    test images under `test` or `x_test`. A folder holds 8-bit greyscale or RGB PNGs of one size,
    taken in the order of their names, or volumes (`read_volumes`); a volume may also be a file.
    `window`: values of volumes, or of an .npy, that become 0 and 1. Copies are told. Shapes as in
    `Images.of`. Raises DataError for anything else.
    """
    images = _read(path, progress, window)
    if copies := _copies(images):
        what = f"{copies:,} images are copies of earlier ones"
        what = "1 image is a copy of an earlier one" if copies == 1 else what
        progress.say(
            f"{images.name}: {what}, and a copy may be trained on and tested on; leave the copies "
            "out"
        )
    return images


def _read(path: Path, progress: Progress, window: Window | None) -> Images:
    suffix, name = path.suffix.lower(), path.name
    if path.is_dir():
        found, inside, name = found_in(path), path, path.resolve().name
    elif suffix == ".npy":
        read = _read_npy(path, window)
        if isinstance(read, np.ndarray) and read.dtype.kind == "c":
            return _of_complex(name, (read,), progress)
        return Images.of(name, read)
    elif (form := form_of(path)) in (None, "PNG") or suffix == ".npz":
        found, inside = Found("", ()), None
    else:
        found, inside = Found(str(form), (("", path),)), None
    if found.form not in ("PNG", ""):
        return read_volumes(name, found.form, found.files, progress, window=window, inside=inside)
    if window is not None:
        raise DataError(f"data.window: given, but '{path}' holds no volumes; leave it out")
    if found.form == "PNG":
        return _read_pngs(name, path, found, progress)
    if suffix == ".npz":
        given = [each for each in _read_npz(path) if each is not None]
        if any(each.dtype.kind == "c" for each in given):
            return _of_complex(name, tuple(given), progress)
        return Images.of(name, *given)
    raise DataError(
        f"'{path}' is neither an .npz or .npy file nor a folder of PNGs, nor a volume "
        f"({', '.join(suffix for suffix in SUFFIXES if suffix != '.png')})"
    )


def _of_complex(name: str, given: tuple[NDArray[Any], ...], progress: Progress) -> Images:
    """Complex images, all divided by the largest magnitude of any; raises DataError."""
    if any(each.dtype.kind != "c" for each in given):
        raise DataError(f"{name}: training or test images are complex and the others are not")
    stacks, top = [shaped(each, name) for each in given], 0.0
    for pixels in stacks:
        if pixels.shape[1] != 1:
            raise DataError(
                f"{name}: complex images of {pixels.shape[1]} channels; expected (N, H, W), so "
                "combine the coils first"
            )
        for rows in chunks(pixels):
            if first := arrays.first_not_finite(pixels[rows], rows.start):
                raise DataError(f"{name}: holds NaN or infinite values, the first at {first}")
            top = max(top, float(np.abs(pixels[rows].astype(np.complex128)).max()))
    if not (top > 0 and np.isfinite(top)):
        raise DataError(f"{name}: magnitudes up to {top:g}; expected numbers that can be scaled")
    progress.say(f"{name}: complex images, of which the largest magnitude, {top:.4g}, became 1")
    parts = [Stack.of(Part(pixels, 1 / top), shape=(2, *pixels.shape[2:])) for pixels in stacks]
    return Images.of(name, *parts, is_complex=True)


def _copies(images: Images) -> int:
    """How many images are, to the bit, ones that came before; of volumes empty slices are none."""
    volumes = images.train_subjects is not None
    different, count = set(), 0
    for stack in (images.train_stack, images.test_stack):
        for part in () if stack is None else stack.parts:
            for image in part.pixels:
                if volumes and image.min() == image.max():
                    continue
                count += 1
                different.add(hashlib.sha256(np.ascontiguousarray(image).data).digest())
    return count - len(different)


def _read_npy(path: Path, window: Window | None) -> NDArray[Any] | Stack:
    found = _mapped(path)
    array = _load(path) if found is None else found
    if not isinstance(array, np.ndarray):
        raise DataError(f"'{path}' is an archive of arrays; rename it to .npz")
    if window is None:
        return array
    if array.dtype.kind not in "iuf":
        raise DataError(f"data.window: given, but '{path}' holds numbers of type {array.dtype}")
    length = window[1] - window[0]
    return Stack.of(Part(shaped(array, path.name), 1 / length, -window[0] / length, cut=True))


def _mapped(path: Path) -> NDArray[Any] | None:
    """The array of a large .npy, mapped; None for one that is read."""
    try:
        with gate.opened(path, most=gate.MAPPED) as stream:
            return arrays.mapped(stream, arrays.MAPPED)
    except arrays.UNREADABLE as error:
        raise DataError(arrays.failure(path, error, ".npy file")) from error


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


def _read_pngs(name: str, folder: Path, found: Found, progress: Progress) -> Images:
    """Images of all PNGs, (N, H, W) or (N, 3, H, W), with a label for each subfolder."""
    paths = [path for _, path in found.files]
    first = _read_png(paths[0], folder)
    _require_room(folder, paths, first.size)
    pixels = np.empty((len(paths), *first.shape), np.uint8)
    with progress.task(f"reading {len(paths)} PNGs", len(paths)) as task:
        for index, path in enumerate(paths):
            image = _read_png(path, folder)
            if image.shape != first.shape:
                raise DataError(
                    f"'{path}' is {_describe(image)} but '{paths[0].name}' is "
                    f"{_describe(first)}; all images must have one size and be all greyscale or "
                    "all RGB"
                )
            pixels[index] = image
            task.advance()
    subjects = [subject for subject, _ in found.files]
    labels = np.unique(subjects, return_inverse=True)[1] if any(subjects) else None
    moved = pixels if pixels.ndim == 3 else np.ascontiguousarray(np.moveaxis(pixels, 3, 1))
    return Images.of(name, moved, train_subjects=labels)


def _require_room(folder: Path, paths: list[Path], size: int) -> None:
    """Refuse pictures that would expand, together, to suspiciously much."""
    try:
        held = sum(path.lstat().st_size for path in paths)
        arrays.require_expansion(len(paths) * size, held)
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
