"""A stranger's .npy, .npz, .h5 and .png files: claims are checked before memory is taken.

Nothing is ever unpickled, no member of an archive is written anywhere, and nothing outside of the
file is followed. What each number means is one rule for all files (`require_scale`).
"""

from recondoor.arrays._claims import EXPANSION, FREE, UNREADABLE, failure, reason, require_expansion
from recondoor.arrays._hdf5 import hdf5, own_arrays, read_own
from recondoor.arrays._numpy import Head, archive, head, load
from recondoor.arrays._png import read_png
from recondoor.arrays._values import first_not_finite, require_scale, to_float32

__all__ = [
    "EXPANSION",
    "FREE",
    "UNREADABLE",
    "Head",
    "archive",
    "failure",
    "first_not_finite",
    "hdf5",
    "head",
    "load",
    "own_arrays",
    "read_own",
    "read_png",
    "reason",
    "require_expansion",
    "require_scale",
    "to_float32",
]
