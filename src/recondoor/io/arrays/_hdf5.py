"""HDF5: arrays that lie in the file itself, whole, in plain numbers that are the values."""

from __future__ import annotations

import fcntl
import math
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from recondoor.io.arrays._claims import MOST_MEMBERS, require_expansion
from recondoor.io.arrays._numpy import spelling

if TYPE_CHECKING:
    import h5py

_BUSY = "is open for writing in another program; close it there or copy it"
_FILTERS = {1: "gzip", 2: "shuffle", 3: "checksum", 4: "szip", 32000: "lzf"}
"""Filters that HDF5 and h5py bring along and that give back what was stored."""
_FLOATS = {2: (5, 10), 4: (8, 23), 8: (11, 52)}
"""Bits of exponent and mantissa of IEEE 754's types, by size in bytes."""
_PACKED = ("scale_factor", "add_offset", "_Unsigned")
"""With one of these the numbers are not the values (netCDF's convention)."""
_MISSING = ("_FillValue", "missing_value")


@contextmanager
def hdf5(stream: BinaryIO) -> Iterator[h5py.File]:
    """The HDF5 file in `stream`: that very file, whatever its name leads to by now.

    Raises ImportError without h5py, ValueError if somebody is writing to it, or what h5py raises.
    """
    import h5py

    try:
        fcntl.flock(stream, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        raise ValueError(_BUSY) from None
    except OSError:
        pass  # some network file systems have no locks
    try:
        with h5py.File(f"/proc/self/fd/{stream.fileno()}", "r", locking=False) as file:
            yield file
    except OSError as error:
        if "already open for write" in str(error):
            raise ValueError(f"{_BUSY}, or mend it with h5clear -s") from None
        raise


def own_arrays(file: h5py.Group, names: Iterable[str]) -> dict[str, h5py.Dataset]:
    """Those of the arrays `names` that an HDF5 file holds, checked but not read.

    Raises one of `UNREADABLE`: ValueError for a link, for what is not in the file itself or was
    never written, for other things than plain numbers, and for what expands too much.
    """
    if len(file) > MOST_MEMBERS:
        raise ValueError(f"it holds {len(file):,} names; at most {MOST_MEMBERS:,} are read")
    found = {}
    for name in names:
        same = [each for each in file if spelling(each) == spelling(name)]
        if len(same) > 1:
            raise ValueError(f"it holds {' and '.join(same)}; an array has one name")
        if name in same:
            found[name] = _own(file, name)
    expanded = sum(_expanded(name, values) for name, values in found.items())
    require_expansion(expanded, file.file.id.get_filesize())
    return found


def own_group(file: h5py.Group, name: str) -> h5py.Group | None:
    """The group `name` in the file itself; None if there is none, ValueError if it is a link."""
    import h5py

    if name not in file:
        return None
    if not isinstance(file.get(name, getlink=True), h5py.HardLink):
        raise ValueError(f"{name} is a link, which is not followed")
    found = file[name]
    return found if isinstance(found, h5py.Group) else None


def read_own(name: str, values: h5py.Dataset) -> NDArray[Any]:
    """Numbers of an array that `own_arrays` gave; ValueError if some are marked as missing."""
    numbers = np.asarray(values[()])
    for mark in _marks(name, values, _MISSING).values():
        gone = np.equal(numbers, mark)
        if gone.any():
            first = [int(index) for index in np.unravel_index(np.argmax(gone), gone.shape)]
            raise ValueError(f"{name} is marked as missing at {first} (fill value {mark:g})")
    return numbers


def own_records(file: h5py.Group, name: str, fields: tuple[str, ...]) -> h5py.Dataset:
    """A list of records in the file itself that have `fields`; none is read yet.

    Raises ValueError for a link, for what is not in the file itself, and for anything else.
    """
    values = _in_file(file, name)
    if values.ndim != 1 or not values.size or not set(fields) <= set(values.dtype.names or ()):
        raise ValueError(f"{name} is no list of records with {' and '.join(fields)}")
    return values


def own_text(file: h5py.Group, name: str, most: int) -> bytes:
    """A text in the file itself, of at most `most` bytes; ValueError for anything else."""
    values = _in_file(file, name)
    found = values[()] if values.size == 1 else b""
    found = found.flat[0] if isinstance(found, np.ndarray) else found
    if not isinstance(found, bytes) or not found or len(found) > most:
        raise ValueError(f"{name} is no text of at most {most:,} bytes")
    return found


def _own(file: h5py.Group, name: str) -> h5py.Dataset:
    values = _in_file(file, name)
    _require_plain(name, values.id.get_type(), values.dtype)
    if packed := _marks(name, values, _PACKED):
        raise ValueError(f"{name} is packed ({', '.join(packed)}); store the values themselves")
    return values


def _in_file(file: h5py.Group, name: str) -> h5py.Dataset:
    """What lies in the file itself, of whatever type, stored through filters that are known."""
    import h5py

    # A link may lead into any other file of this machine.
    if not isinstance(file.get(name, getlink=True), h5py.HardLink):
        raise ValueError(f"{name} is a link, which is not followed; store the array itself")
    values = file[name]
    if not isinstance(values, h5py.Dataset) or values.is_virtual or values.external:
        raise ValueError(f"{name} is no array that lies in the file itself")
    _require_filters(name, values.id.get_create_plist())
    return values


def _require_plain(name: str, stored: Any, kind: np.dtype[Any]) -> None:
    """Refuse all but IEEE floating-point numbers, their complex pairs, whole integers and bool."""
    import h5py

    size = stored.get_size()
    plain = False
    if isinstance(stored, h5py.h5t.TypeFloatID):
        _, _, exponent, _, mantissa = stored.get_fields()
        plain = (exponent, mantissa) == _FLOATS.get(size)
    elif isinstance(stored, h5py.h5t.TypeIntegerID):
        plain = (stored.get_precision(), stored.get_offset()) == (8 * size, 0)
    elif isinstance(stored, h5py.h5t.TypeCompoundID) and kind.kind == "c":
        part = stored.get_member_type(0)
        return _require_plain(name, part, part.dtype)
    elif isinstance(stored, h5py.h5t.TypeEnumID):
        plain = kind.kind == "b"
    if not plain:
        what = type(stored).__name__.removeprefix("Type").removesuffix("ID").lower()
        raise ValueError(
            f"{name} holds numbers of the HDF5 type '{what}' in {8 * size} bits; expected an array "
            "of IEEE floating-point numbers or whole integers"
        )
    return None


def _require_filters(name: str, plan: Any) -> None:
    for index in range(plan.get_nfilters()):
        number = plan.get_filter(index)[0]
        if number not in _FILTERS:
            raise ValueError(
                f"{name} is stored through HDF5 filter {number}; only "
                f"{', '.join(_FILTERS.values())} are read: repack it with h5repack -f GZIP=4"
            )


def _expanded(name: str, values: h5py.Dataset) -> int:
    """Bytes that reading an array takes; ValueError if a part of it was never written."""
    stored = values.id.get_storage_size()
    if values.size and not stored:
        raise ValueError(f"{name} was never written, so that only a fill value would be read")
    if values.chunks is None:
        if stored < values.nbytes:
            raise ValueError(f"{name} declares {values.nbytes} bytes but {stored} were written")
        return int(values.nbytes)
    needed = math.prod(
        -(-length // step) for length, step in zip(values.shape, values.chunks, strict=True)
    )
    written = values.id.get_num_chunks()
    if written < needed:
        raise ValueError(f"{needed - written} of the {needed} chunks of {name} were never written")
    return int(needed * math.prod(values.chunks) * values.dtype.itemsize)


def _marks(name: str, values: h5py.Dataset, marks: tuple[str, ...]) -> Mapping[str, Any]:
    """Those of the attributes `marks` that an array has, each a single number."""
    found = {}
    for mark in marks:
        if mark not in values.attrs:
            continue
        attribute = values.attrs.get_id(mark)
        number = mark == "_Unsigned" or attribute.dtype.kind in "fciub"
        if math.prod(attribute.shape) != 1 or not number:
            raise ValueError(f"the attribute {mark} of {name} is no single number")
        found[mark] = values.attrs[mark]
    return found
