"""A stranger's files of arrays and volumes: claims are checked before memory is taken.

Nothing is ever unpickled, no member of an archive is written anywhere, and nothing outside of the
file is followed. What each number means is one rule for all files (`require_scale`).
"""

from recondoor.io.arrays._cfl import read_cfl
from recondoor.io.arrays._claims import (
    EXPANSION,
    FREE,
    UNREADABLE,
    failure,
    reason,
    require_expansion,
)
from recondoor.io.arrays._dicom import MOST_SLICE, Slice, in_order, read_dicom
from recondoor.io.arrays._hdf5 import (
    hdf5,
    own_arrays,
    own_group,
    own_records,
    own_text,
    read_own,
)
from recondoor.io.arrays._nifti import read_nifti
from recondoor.io.arrays._nrrd import read_nrrd
from recondoor.io.arrays._numpy import Head, archive, head, load, mapped
from recondoor.io.arrays._png import read_png
from recondoor.io.arrays._room import room
from recondoor.io.arrays._values import first_not_finite, require_scale, to_float32
from recondoor.io.arrays._voxels import MAPPED, Volume

__all__ = [
    "EXPANSION",
    "FREE",
    "MAPPED",
    "MOST_SLICE",
    "UNREADABLE",
    "Head",
    "Slice",
    "Volume",
    "archive",
    "failure",
    "first_not_finite",
    "hdf5",
    "head",
    "in_order",
    "load",
    "mapped",
    "own_arrays",
    "own_group",
    "own_records",
    "own_text",
    "read_cfl",
    "read_dicom",
    "read_nifti",
    "read_nrrd",
    "read_own",
    "read_png",
    "reason",
    "require_expansion",
    "require_scale",
    "room",
    "to_float32",
]
