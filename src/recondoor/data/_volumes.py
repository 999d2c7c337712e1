"""A team's own volumes: files of scanners and of tools, read to slices with a label each."""

from __future__ import annotations

import math
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, TypeVar

import numpy as np
from numpy.typing import NDArray

from recondoor.core.errors import DataError
from recondoor.core.progress import Progress
from recondoor.core.words import plural
from recondoor.data._hdf5 import read_images
from recondoor.data._images import Images
from recondoor.data._orientation import upright
from recondoor.data._stack import Part, Stack, chunks
from recondoor.io import arrays, gate

Window = tuple[float, float]
Read = TypeVar("Read")

HU: Window = (-1000.0, 1000.0)
"""Values that become 0 and 1 in files that say that they are CT."""
MOST = 16 * 1024 * gate.MIB
"""Bytes that all volumes together may take in memory; what is mapped takes none."""

_NEEDED = {"NIfTI": ("nibabel", "mri"), "NRRD": ("pynrrd", "mri"), "DICOM": ("pydicom", "dicom")}


@dataclass(frozen=True, eq=False)
class Scan:
    """One volume: whose it is, and what it is called in errors."""

    subject: str
    path: Path
    volume: arrays.Volume


def read_volumes(
    name: str,
    form: str,
    files: tuple[tuple[str, Path], ...],
    progress: Progress,
    *,
    window: Window | None = None,
    inside: Path | None = None,
) -> Images:
    """All slices of the volumes in `files` (subject or '', path), as a set called `name`.

    A volume without a named subject is its own; of DICOM series in one folder those with the same
    PatientID belong together. Values of 0 to the volume's maximum become 0 to 1, or those of
    `window`, or of `HU` where a file says that it is CT. Slices of other sizes than the commonest
    are cut or filled with 0 about their middle. Both are told. Raises DataError, one line.
    """
    parts: list[Part] = []
    subjects: list[str] = []
    kinds: dict[str, Path] = {}
    told: Counter[str] = Counter()
    with progress.task(f"reading {plural(len(files), f'{form} file')}", len(files)) as task:
        for scan in _scans(form, files, inside, task.advance):
            part, how = _part(scan, window)
            parts.append(part)
            subjects.append(scan.subject)
            _require_one_kind(kinds, part, scan.path)
            told[how] += 1
            _require_room(parts, name)
    shape = _commonest(parts)
    numbers = {subject: number for number, subject in enumerate(sorted(set(subjects)))}
    labels = np.repeat([numbers[each] for each in subjects], [len(part.pixels) for part in parts])
    images = Images.of(
        name,
        Stack.of(*parts, shape=shape),
        train_subjects=labels,
        is_complex=shape[0] == 2,
    )
    others = sum(len(part.pixels) for part in parts if part.pixels.shape[2:] != shape[1:])
    progress.say(
        f"{name}: {plural(len(parts), 'volume')} of {plural(len(numbers), 'subject')}, "
        f"{plural(len(labels), 'slice')} of "
        f"{shape[1]}x{shape[2]}; {', '.join(f'{how} ({count})' for how, count in told.items())}"
        + (
            f"; {plural(others, 'slice')} of another size {'was' if others == 1 else 'were'} "
            "cut or filled with 0"
            if others
            else ""
        )
    )
    return images


def _scans(
    form: str,
    files: tuple[tuple[str, Path], ...],
    inside: Path | None,
    advance: Callable[[], object],
) -> Iterator[Scan]:
    if form == "DICOM":
        yield from _series(files, inside, advance)
        return
    for subject, path in files:
        # A file in no subject's folder is one itself; its path tells it from every folder's name.
        yield Scan(subject or str(path), path, _read(form, path, inside))
        advance()


def _read(form: str, path: Path, inside: Path | None) -> arrays.Volume:
    if form == "HDF5":
        # Rows, columns and slices as they are; upright is as the scanner's software left them.
        return arrays.Volume(read_images(path, inside).transpose(2, 1, 0))
    if form == "BART":
        head = _bart_head(path, inside)
        return _opened(path, "BART file", inside, lambda stream: arrays.read_cfl(head, stream))
    reader = {"NIfTI": arrays.read_nifti, "NRRD": arrays.read_nrrd}[form]
    return _opened(path, f"{form} file", inside, reader, form)


def _bart_head(path: Path, inside: Path | None) -> str:
    head = path.with_suffix(".hdr")
    try:
        return gate.read_text(head, most=1 << 16, inside=inside)
    except FileNotFoundError:
        raise DataError(f"'{path}' has no {head.name} beside it, which says its shape") from None
    except (OSError, ValueError) as error:
        raise DataError(arrays.failure(head, error, "BART file")) from error


def _opened(
    path: Path,
    kind: str,
    inside: Path | None,
    read: Callable[[BinaryIO], Read],
    form: str = "",
    most: int = gate.MAPPED,
) -> Read:
    """What `read` finds in a file; raises DataError, one line about it."""
    try:
        with gate.opened(path, most=most, inside=inside) as stream, warnings.catch_warnings():
            # Readers warn of what does not matter here, such as a missing time of day.
            warnings.simplefilter("ignore")
            return read(stream)
    except ImportError:
        package, extra = _NEEDED[form]
        raise DataError(
            f"'{path}' needs {package} to be read: pip install recondoor[{extra}]"
        ) from None
    except arrays.UNREADABLE as error:
        raise DataError(arrays.failure(path, error, kind)) from error


def _series(
    files: tuple[tuple[str, Path], ...], inside: Path | None, advance: Callable[[], object]
) -> Iterator[Scan]:
    """DICOM series, each a volume; their slices lie in any number of files of any order."""
    series: dict[tuple[str, str], list[arrays.Slice]] = {}
    first: dict[tuple[str, str], Path] = {}
    for subject, path in files:
        piece = _opened(path, "DICOM file", inside, arrays.read_dicom, "DICOM", arrays.MOST_SLICE)
        key = (subject, piece.series)
        series.setdefault(key, []).append(piece)
        first.setdefault(key, path)
        advance()
    for (subject, uid), pieces in series.items():
        path = first[subject, uid]
        try:
            slices, affine = arrays.in_order(pieces)
        except ValueError as error:
            raise DataError(f"'{path}' and {len(pieces) - 1} others: {error}") from None
        volume = arrays.Volume(
            np.stack([each.values for each in slices]).transpose(2, 1, 0),
            affine,
            unit="HU" if slices[0].modality == "CT" else "",
        )
        pieces.clear()
        yield Scan(subject or slices[0].person or uid, path, volume)


def _part(scan: Scan, window: Window | None) -> tuple[Part, str]:
    """The slices of a volume and, in words, what was made of its values."""
    volume = scan.volume
    try:
        pixels = _slices(volume)[:, None]
        if not (math.isfinite(volume.slope) and math.isfinite(volume.intercept)):
            raise ValueError("the slope and intercept of its values are not finite")
        if pixels.dtype.kind == "c":
            if window is not None or volume.intercept != 0:
                raise ValueError("its values are complex, which no window or intercept can shift")
            top = _extremes(pixels, np.abs)[1]
            _require_something(top, top)
            return Part(pixels, 1 / top), "each volume's largest magnitude became 1"
        limits = window or (HU if volume.unit == "HU" else None)
        if limits is None:
            low, top = _extremes(pixels, lambda k: k * volume.slope + volume.intercept)
            _require_something(low, top)
            gain, offset, how = volume.slope / top, volume.intercept / top, "each maximum became 1"
        else:
            length = limits[1] - limits[0]
            gain, offset = volume.slope / length, (volume.intercept - limits[0]) / length
            how = f"{limits[0]:g} became 0 and {limits[1]:g} became 1"
            how += " as the files are CT" if window is None else ""
    except (ValueError, TypeError) as error:
        raise DataError(f"'{scan.path}': {error}") from None
    return Part(pixels, gain, offset, cut=True), how


def _slices(volume: arrays.Volume) -> NDArray[Any]:
    if volume.affine is None:
        return volume.voxels.transpose(2, 1, 0)
    return upright(volume.voxels, volume.affine).pixels


def _extremes(
    pixels: NDArray[Any], value: Callable[[NDArray[Any]], NDArray[Any]]
) -> tuple[float, float]:
    """Least and largest value; ValueError for the first NaN or infinity."""
    low, high = math.inf, -math.inf
    for rows in chunks(pixels):
        if first := arrays.first_not_finite(pixels[rows], rows.start):
            raise ValueError(f"NaN or infinite values in its slices, the first at {first}")
        numbers = value(pixels[rows].astype(np.complex128 if pixels.dtype.kind == "c" else float))
        low, high = min(low, float(numbers.min())), max(high, float(numbers.max()))
    return low, high


def _require_something(low: float, top: float) -> None:
    if low < 0:
        raise ValueError(
            f"values from {low:.4g} to {top:.4g}; where some are negative, say which become 0 and "
            "1: data.window=LOW,HIGH, as data.window=-1000,1000 for HU of CT"
        )
    if top <= 0:
        raise ValueError("all its values are 0; leave the volume out")


def _require_one_kind(kinds: dict[str, Path], part: Part, path: Path) -> None:
    """Refuse real volumes beside complex ones; `kinds` has the first of each."""
    kinds.setdefault("complex" if part.pixels.dtype.kind == "c" else "real", path)
    if len(kinds) > 1:
        raise DataError(
            f"'{kinds['real']}' is real and '{kinds['complex']}' complex; expected one kind, so "
            "part them"
        )


def _commonest(parts: list[Part]) -> tuple[int, int, int]:
    """Channels, height and width that most slices have, of equally many the largest."""
    counts: Counter[tuple[int, int]] = Counter()
    for part in parts:
        counts[part.pixels.shape[2], part.pixels.shape[3]] += len(part.pixels)
    height, width = max(counts, key=lambda size: (counts[size], size))
    return 2 if parts[0].pixels.dtype.kind == "c" else 1, height, width


def _require_room(parts: list[Part], name: str) -> None:
    held = sum(part.pixels.nbytes for part in parts if not isinstance(part.pixels, np.memmap))
    if held > MOST:
        raise DataError(
            f"{name}: its volumes take more than {MOST / 2**30:g} GiB of memory; give fewer, or "
            "unpack them (.nii, .cfl and .npy are mapped and not read)"
        )
