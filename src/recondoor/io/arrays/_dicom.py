"""Series of DICOM files, one slice each: pydicom reads them, after their claims are checked."""

import io
import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from recondoor.io import gate
from recondoor.io.arrays._voxels import require_numbers

MOST_SLICE = 256 * gate.MIB
"""Bytes of one file."""
GAP = 0.1
"""Share by which the distance of two slices may differ from the series' usual one."""
_DEFLATED = "1.2.840.10008.1.2.1.99"


@dataclass(frozen=True, eq=False)
class Slice:
    """One file of a series: `values` (H, W) are those of its rescale slope and intercept."""

    series: str
    person: str
    modality: str
    values: NDArray[Any]
    position: tuple[float, float, float] | None
    axes: tuple[float, ...] | None
    spacing: tuple[float, float]
    number: int | None


def read_dicom(stream: BinaryIO) -> Slice:
    """The slice in an open file.

    Raises ImportError without pydicom, one of `UNREADABLE` for what is damaged, has several frames
    or colours, or claims more than it holds.
    """
    from pydicom.errors import BytesLengthException, InvalidDicomError

    try:
        # From a file pydicom takes as much memory as an element claims; from memory what is there.
        return _slice(io.BytesIO(stream.read()))
    except InvalidDicomError:
        raise ValueError("it does not start like one") from None
    except BytesLengthException:
        raise ValueError("an element has a length that its type cannot have") from None


def _slice(held: io.BytesIO) -> Slice:
    import pydicom

    head = pydicom.dcmread(held, stop_before_pixels=True)
    if head.file_meta.get("TransferSyntaxUID") == _DEFLATED:
        raise ValueError("it is deflated as a whole, which is not read; save it anew")
    _require_slice(head)
    held.seek(0)
    file = pydicom.dcmread(held)
    pixels = file.pixel_array
    if pixels.shape != (head.Rows, head.Columns):
        raise ValueError(f"it declares {head.Rows}x{head.Columns} pixels and holds {pixels.shape}")
    slope = float(file.get("RescaleSlope", None) or 1.0)
    intercept = float(file.get("RescaleIntercept", None) or 0.0)
    number = file.get("InstanceNumber", None)
    down, across = (float(step) for step in (file.get("PixelSpacing", None) or (1.0, 1.0)))
    return Slice(
        series=str(file.get("SeriesInstanceUID", "")),
        person=str(file.get("PatientID", "") or ""),
        modality=str(file.get("Modality", "")),
        values=_values(pixels, slope, intercept),
        position=_numbers(file.get("ImagePositionPatient", None), 3),
        axes=_numbers(file.get("ImageOrientationPatient", None), 6),
        spacing=(down, across),
        number=None if number is None else int(number),
    )


def _require_slice(head: Any) -> None:
    """Refuse by the head alone what is no single slice of grey, or too large."""
    if "Rows" not in head or "Columns" not in head:
        raise ValueError("it holds no picture")
    if int(head.get("NumberOfFrames", None) or 1) != 1:
        raise ValueError(
            f"it holds {head.NumberOfFrames} frames; expected one slice a file, so export it so"
        )
    if (
        head.get("SamplesPerPixel", 1) != 1
        or head.get("PhotometricInterpretation") == "MONOCHROME1"
    ):
        raise ValueError("it holds colours or inverted grey; expected MONOCHROME2")
    bits = int(head.get("BitsAllocated", 16))
    if bits not in (8, 16, 32):
        raise ValueError(f"its pixels take {bits} bits; expected 8, 16 or 32")
    claim = require_numbers((int(head.Rows), int(head.Columns), 1), np.dtype(f"i{bits // 8}"))
    if claim > MOST_SLICE:
        raise ValueError(f"it declares {claim / 2**20:.3g} MiB for one slice")


def _values(pixels: NDArray[Any], slope: float, intercept: float) -> NDArray[Any]:
    """Values in a type of few bits: 16 where they are whole and fit, as HU do."""
    if slope == 1 and intercept == 0:
        return pixels
    values = pixels.astype(np.float64) * slope + intercept
    whole = slope == int(slope) and intercept == int(intercept)
    if whole and np.abs(values).max() < 2**15:
        return values.astype(np.int16)
    return values.astype(np.float32)


def _numbers(given: Any, count: int) -> tuple[Any, ...] | None:
    if not given:
        return None
    found = tuple(float(each) for each in given)
    if len(found) != count or not np.isfinite(found).all():
        raise ValueError("its place in space is no list of finite numbers")
    return found


def in_order(slices: Sequence[Slice]) -> tuple[list[Slice], NDArray[np.float64] | None]:
    """The slices of one series along their normal, and the affine (4, 4) of their stack, if known.

    The stack is (columns, rows, slices), as NIfTI's voxels. Without positions the instance numbers
    give the order. Raises ValueError if sizes differ, a slice is missing, or two lie at one place.
    """
    sizes = sorted({each.values.shape for each in slices})
    if len(sizes) > 1:
        shown = " and ".join(f"{height}x{width}" for height, width in sizes[:3])
        raise ValueError(f"its slices have {shown} pixels; expected one size in a series")
    if len({each.axes for each in slices}) > 1:
        raise ValueError("its slices lie in different directions; expected one stack in a series")
    first = slices[0]
    positions = [each.position for each in slices if each.position is not None]
    if first.axes is None or len(positions) < len(slices):
        return _by_number(slices), None
    across, down = np.array(first.axes[:3]), np.array(first.axes[3:])
    normal = np.cross(across, down)
    places = np.array(positions) @ normal
    order = np.argsort(places, kind="stable")
    step = _require_even(places[order])
    affine = np.eye(4)
    affine[:3, 0], affine[:3, 1] = across * first.spacing[1], down * first.spacing[0]
    affine[:3, 2] = normal * step
    affine[:2] *= -1  # DICOM counts to the left and to the back
    return [slices[at] for at in order], affine


def _require_even(places: NDArray[np.float64]) -> float:
    """The distance of neighbouring slices (1 of a single one); ValueError if it is not one."""
    if len(places) == 1:
        return 1.0
    steps = np.diff(places)
    if steps.min() <= 1e-3:
        raise ValueError(
            f"two of its slices lie at one place, {places[int(np.argmin(steps))]:.4g} mm"
        )
    usual = float(np.median(steps))
    wide = np.flatnonzero(np.abs(steps - usual) > GAP * usual)
    if len(wide):
        a, b = places[wide[0]], places[wide[0] + 1]
        raise ValueError(
            f"a slice is missing between {a:.4g} and {b:.4g} mm, where others are {usual:.3g} mm "
            "apart; add it, or split the series there"
        )
    return usual


def _by_number(slices: Sequence[Slice]) -> list[Slice]:
    numbers = [each.number for each in slices]
    if None in numbers:
        raise ValueError("its slices have neither positions nor instance numbers")
    found = sorted(slices, key=lambda each: each.number or 0)
    for before, after in itertools.pairwise(found):
        if after.number != (before.number or 0) + 1:
            raise ValueError(
                f"instance {before.number} is followed by {after.number}: a slice is missing or "
                "there twice; mend the series"
            )
    return found
