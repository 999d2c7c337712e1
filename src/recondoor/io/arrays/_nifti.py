"""NIfTI-1 and NIfTI-2 in one file, `.nii` or `.nii.gz`: nibabel reads the head, we the voxels."""

import io
from typing import Any, BinaryIO

import numpy as np

from recondoor.io.arrays._voxels import Volume, gzipped, plain, unpacked

_HEAD = 540
"""Bytes of the longer head, NIfTI-2's."""
_GZIP = b"\x1f\x8b"
MOST_OFFSET = 1 << 24
"""Bytes that extensions may take in front of the voxels."""


def read_nifti(stream: BinaryIO) -> Volume:
    """The volume in an open file; a fourth and further axes of length 1 are dropped.

    Raises ImportError without nibabel, one of `UNREADABLE` for what is damaged, not one volume, or
    claims more than it holds.
    """
    from nibabel import Nifti1Header, Nifti2Header
    from nibabel.spatialimages import HeaderDataError

    packed = stream.read(2) == _GZIP
    stream.seek(0)
    start = bytes(unpacked(stream, _HEAD)) if packed else stream.read(_HEAD)
    if len(start) < 348:
        raise ValueError("it is cut short: it holds no head")
    second = 540 in (int.from_bytes(start[:4], order) for order in ("little", "big"))
    head_type, length = (Nifti2Header, 540) if second else (Nifti1Header, 348)
    magic = start[4:8] if second else start[344:348]
    if magic not in (b"n+1\0", b"n+2\0"):
        raise ValueError("it does not start like one; voxels in a file of their own are not read")
    try:
        head: Any = head_type.from_fileobj(io.BytesIO(start[:length]), check=False)  # type: ignore[no-untyped-call]
        shape = tuple(int(side) for side in head.get_data_shape())
        kind = np.dtype(head.get_data_dtype())
        at = int(head.get_data_offset())
        slope, intercept = head.get_slope_inter()
        affine = np.asarray(head.get_best_affine(), dtype=np.float64)
    except HeaderDataError as error:
        raise ValueError(str(error)) from None
    if not length <= at <= MOST_OFFSET:
        raise ValueError(f"its voxels are said to begin at byte {at}")
    while len(shape) > 3 and shape[-1] == 1:
        shape = shape[:-1]
    voxels = gzipped(stream, 0, at, shape, kind) if packed else plain(stream, at, shape, kind)
    return Volume(
        voxels, affine, 1.0 if slope is None else slope, 0.0 if intercept is None else intercept
    )
