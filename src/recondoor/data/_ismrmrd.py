"""ISMRMRD's files: images, or raw lines of k-space if all that belong to an image are there."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree

import numpy as np
from numpy.typing import NDArray

from recondoor.core.errors import DataError
from recondoor.io import arrays

if TYPE_CHECKING:
    import h5py

GROUP = "dataset"
"""The group of an ISMRMRD file."""

OWN = "{http://www.ismrm.org/ISMRMRD}"
LONGEST_HEAD = 1 << 22
NO_IMAGE = sum(1 << (flag - 1) for flag in (19, 20, 23, 24, 26, 27, 28, 29, 30, 31))
"""Flags of lines of noise, calibration, navigators, phase correction, dummies and feedback."""
REVERSED = 1 << 21
FIELDS = (
    *("flags", "number_of_samples", "active_channels", "discard_pre", "discard_post"),
    "encoding_space_ref",
)
COUNTERS = (
    *("kspace_encode_step_1", "kspace_encode_step_2", "slice"),
    *("contrast", "phase", "repetition", "set"),
)
ALONE = COUNTERS[3:]
"""Counters of which one value makes one image a slice; averages are averaged."""

_INSTEAD = (
    "reconstruct it first, with the scanner's software or as bart and Gadgetron do, and give the "
    "images"
)

Lines = NDArray[np.void]


def read_ismrmrd(path: Path, group: h5py.Group) -> NDArray[Any]:
    """Images of an ISMRMRD file, (images, H, W): its own, else the root sum of squares of coils.

    Of raw data each coil's image is the inverse FFT of k-space, cut to the field of view of the
    header's reconSpace. ValueError or DataError, one line, where that is no reconstruction: another
    trajectory than Cartesian, lines that were not measured, several images of a slice.
    """
    found = _images(group)
    if found:
        if len({values.shape[1:] for values in found}) > 1:
            raise ValueError("its series of images have different sizes; export one to a file")
        return np.concatenate(found)
    if "data" not in group or "xml" not in group:
        names = ", ".join(sorted(str(name) for name in group)[:8]) or "nothing"
        raise DataError(
            f"'{path}' holds {names} in {GROUP}; expected images (image_*/data), or raw lines with "
            "their header (data and xml)"
        )
    records = arrays.own_records(group, "data", ("head", "data"))
    heads = records.fields("head")[()]
    _require_counters(heads.dtype)
    return _reconstructed(records, heads, _encodings(arrays.own_text(group, "xml", LONGEST_HEAD)))


def _require_counters(kind: np.dtype[Any]) -> None:
    """Refuse heads that lack something of what is read of them, as whole numbers above 0."""
    inside = kind["idx"] if "idx" in (kind.names or ()) else np.dtype([])
    for fields, names in ((kind, FIELDS), (inside, COUNTERS)):
        known = fields.names or ()
        if not all(name in known and fields[name].kind == "u" for name in names):
            raise ValueError(f"its lines' heads do not have {', '.join(names)} as whole numbers")


def _images(group: h5py.Group) -> list[NDArray[Any]]:
    """Images of all series, of one channel, (images, H, W)."""
    found = []
    for name in sorted(str(each) for each in group):
        series = arrays.own_group(group, name) if name.startswith("image") else None
        held = {} if series is None else arrays.own_arrays(series, ("data",))
        if "data" in held:
            values = arrays.read_own("data", held["data"])
            if values.ndim != 5 or values.shape[1] != 1 or values.dtype.kind not in "fiuc":
                raise ValueError(
                    f"{name} has the type {values.dtype} and shape {values.shape}; expected "
                    "(images, 1, slices, H, W)"
                )
            found.append(values.reshape(-1, *values.shape[3:]))
    return found


@dataclass(frozen=True)
class Encoding:
    """What a header says of lines: sides of k-space and of the image cut from it, (z, y, x).

    `centre`: numbers of the lines through the middle of k-space along z and y.
    """

    trajectory: str
    sides: tuple[int, int, int]
    kept: tuple[int, int, int]
    centre: tuple[int, int]
    acceleration: str


def _encodings(text: bytes) -> list[Encoding]:
    if b"<!" in text.replace(b"<!--", b""):
        raise ValueError("its header declares a document type, which is not read")
    try:
        root = ElementTree.fromstring(text)
    except ElementTree.ParseError as error:
        raise ValueError(f"its header is no XML: {error}") from None
    return [_encoding(each) for each in root.iter(f"{OWN}encoding")]


def _encoding(node: ElementTree.Element) -> Encoding:
    sides, kept = [], []
    for axis in "zyx":
        side = _number(node, f"encodedSpace/matrixSize/{axis}")
        whole, wanted = (
            _number(node, f"{space}/fieldOfView_mm/{axis}")
            for space in ("encodedSpace", "reconSpace")
        )
        if not (1 <= side <= 1 << 16 and whole > 0 and wanted > 0):
            raise ValueError(f"its header says {side:g} samples of {whole:g} mm along {axis}")
        sides.append(int(side))
        kept.append(max(1, min(int(side), round(side * wanted / whole))))
    middle = [
        _number(node, f"encodingLimits/kspace_encoding_step_{step}/center", side // 2)
        for step, side in ((2, sides[0]), (1, sides[1]))
    ]
    return Encoding(
        _text(node, "trajectory") or "unknown",
        (sides[0], sides[1], sides[2]),
        (kept[0], kept[1], kept[2]),
        (int(middle[0]), int(middle[1])),
        _text(node, "parallelImaging/accelerationFactor/kspace_encoding_step_1") or "not said",
    )


def _text(node: ElementTree.Element, path: str) -> str | None:
    found = node.findtext("/".join(f"{OWN}{part}" for part in path.split("/")))
    return None if found is None else found.strip()


def _number(node: ElementTree.Element, path: str, default: float | None = None) -> float:
    text = _text(node, path)
    if text is None and default is not None:
        return default
    try:
        value = float(text or "")
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise ValueError(f"its header has no number in encoding/{path}")
    return value


def _reconstructed(
    records: h5py.Dataset, heads: Lines, encodings: list[Encoding]
) -> NDArray[np.float32]:
    used = np.flatnonzero((heads["flags"] & np.uint64(NO_IMAGE)) == 0)
    lines = heads[used]
    encoding = _one_encoding(lines, encodings)
    size = int(lines["number_of_samples"][0]) * int(lines["active_channels"][0]) * 8
    arrays.require_expansion(size * len(lines), records.file.id.get_filesize())
    found = []
    for number in np.unique(lines["idx"]["slice"]):
        own = lines["idx"]["slice"] == number
        kspace = _kspace(records, used[own], lines[own], encoding)
        axes = (1, 2, 3)
        coils = np.fft.ifftn(np.fft.ifftshift(kspace, axes), axes=axes, norm="ortho")
        image = np.sqrt((np.abs(np.fft.fftshift(coils, axes)) ** 2).sum(0))
        found.append(image[tuple(map(_middle, encoding.sides, encoding.kept))])
    return np.concatenate(found).astype(np.float32)


def _one_encoding(lines: Lines, encodings: list[Encoding]) -> Encoding:
    """The encoding of all lines; ValueError where they are no images of full Cartesian k-space."""
    if not len(lines):
        raise ValueError("it holds no line of an image; give the images")
    refs = np.unique(lines["encoding_space_ref"])
    if len(refs) > 1 or refs[0] >= len(encodings):
        raise ValueError(
            f"its lines belong to {len(refs)} encodings, and its header has {len(encodings)}; "
            f"expected one: {_INSTEAD}"
        )
    encoding = encodings[int(refs[0])]
    if encoding.trajectory != "cartesian":
        raise ValueError(f"its trajectory is {encoding.trajectory}, not cartesian; {_INSTEAD}")
    if (lines["flags"] & np.uint64(REVERSED)).any():
        raise ValueError(f"some of its lines were read in reverse (EPI); {_INSTEAD}")
    for counter in ALONE:
        if len(values := np.unique(lines["idx"][counter])) > 1:
            raise ValueError(
                f"it holds {len(values)} images of a slice (idx.{counter}); export one to a file, "
                f"or {_INSTEAD}"
            )
    for key in ("number_of_samples", "active_channels", "discard_pre", "discard_post"):
        if len(np.unique(lines[key])) > 1:
            raise ValueError(f"its lines differ in {key}; {_INSTEAD}")
    kept = _kept(lines[0])
    if kept.stop - kept.start != encoding.sides[2]:
        raise ValueError(
            f"a line has {kept.stop - kept.start} samples and its header says {encoding.sides[2]}; "
            f"k-space is not whole, so {_INSTEAD}"
        )
    return encoding


def _kept(head: np.void) -> slice:
    """Samples of a line that are to be used."""
    return slice(
        int(head["discard_pre"]), int(head["number_of_samples"]) - int(head["discard_post"])
    )


def _kspace(
    records: h5py.Dataset, where: NDArray[np.intp], lines: Lines, encoding: Encoding
) -> NDArray[np.complex64]:
    """k-space of one slice, (coils, z, y, x), the zero frequency in the middle."""
    depth, height, width = encoding.sides
    if depth * height > len(lines):
        raise _lacking(depth * height - len(lines), encoding)
    at = [
        lines["idx"][f"kspace_encode_step_{step}"].astype(int) - centre + side // 2
        for step, centre, side in zip((2, 1), encoding.centre, (depth, height), strict=True)
    ]
    count = np.zeros((depth, height), np.intp)
    inside = (at[0] >= 0) & (at[0] < depth) & (at[1] >= 0) & (at[1] < height)
    if not inside.all():
        raise ValueError(f"a line lies outside of its header's k-space; {_INSTEAD}")
    np.add.at(count, (at[0], at[1]), 1)
    if lacking := int((count == 0).sum()):
        raise _lacking(lacking, encoding)
    coils, samples = int(lines["active_channels"][0]), int(lines["number_of_samples"][0])
    whole = np.zeros((coils, depth, height, width), np.complex64)
    data = records.fields("data")
    for row, z, y in zip(where, *at, strict=True):
        values = np.asarray(data[int(row)])
        if values.size != 2 * coils * samples or values.dtype.kind != "f":
            raise ValueError(f"line {int(row)} does not hold {samples} samples of {coils} coils")
        line = values.astype("<f4").view("<c8").reshape(coils, samples)
        whole[:, z, y] += line[:, _kept(lines[0])]
    return whole / count.astype(np.float32)[None, ..., None]


def _lacking(count: int, encoding: Encoding) -> ValueError:
    return ValueError(
        f"{count} of {math.prod(encoding.sides[:2])} lines of a slice were not measured "
        f"(acceleration {encoding.acceleration}); {_INSTEAD}"
    )


def _middle(side: int, kept: int) -> slice:
    first = side // 2 - kept // 2
    return slice(first, first + kept)
