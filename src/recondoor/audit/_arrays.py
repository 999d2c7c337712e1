"""Arrays of a stranger's .npz or .h5 file: looked at before memory is taken, never unpickled."""

import math
import zipfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from recondoor import arrays as files
from recondoor.errors import DataError

Arrays = dict[str, NDArray[Any]]
Head = tuple[tuple[int, ...], "np.dtype[Any]"]

LIMIT = 1 << 30
"""Bytes that the arrays of one file may take together: 1 GiB."""


def read_arrays(path: Path, names: Iterable[str]) -> Arrays:
    """Those of the arrays `names` that an .npz or .h5 file holds.

    Raises:
        DataError: no such file, another kind of file, one that cannot be read, Python objects in
            it, or more than `LIMIT` declared. Nothing is unpickled; sizes are read first.
    """
    readers = {".npz": _read_npz, ".h5": _read_h5, ".hdf5": _read_h5}
    reader = readers.get(path.suffix.lower())
    if reader is None or not path.is_file():
        what = "is no .npz or .h5 file" if path.exists() else "does not exist"
        raise DataError(
            f"'{path}' {what}; expected pairs in an .npz or .h5 file, or the folder of a run"
        )
    try:
        return reader(path, list(names))
    except files.UNREADABLE as error:
        reason = getattr(error, "strerror", None) or " ".join(str(error).split())
        raise DataError(
            f"'{path}' is not a readable {path.suffix.lower()} file "
            f"({reason or type(error).__name__})"
        ) from None


def _read_npz(path: Path, names: list[str]) -> Arrays:
    with path.open("rb") as file, zipfile.ZipFile(file) as archive:
        members = set(archive.namelist())
        found = [name for name in names if f"{name}.npy" in members]
        heads = {}
        for name in found:
            with archive.open(f"{name}.npy") as stream:
                heads[name] = files.head(stream)
        _require_fit(path, heads)
        files.require_archive(file)
        arrays = {}
        for name in found:
            with archive.open(f"{name}.npy") as stream:
                arrays[name] = np.lib.format.read_array(stream, allow_pickle=False)
        return arrays


def _read_h5(path: Path, names: list[str]) -> Arrays:
    try:
        import h5py
    except ImportError:
        raise DataError(f"'{path}' needs h5py to be read: pip install recondoor[h5]") from None
    with h5py.File(path, "r") as file:
        found = {}
        for name in names:
            # A link may lead into any other file of this machine.
            if isinstance(file.get(name, getlink=True), h5py.HardLink):
                found[name] = file[name]
        for name, values in found.items():
            plain = isinstance(values, h5py.Dataset) and not (values.is_virtual or values.external)
            if not plain:
                raise DataError(f"'{path}': '{name}' is no array that lies in the file itself")
        _require_fit(path, {name: (values.shape, values.dtype) for name, values in found.items()})
        return {name: values[()] for name, values in found.items()}


def _require_fit(path: Path, heads: Mapping[str, Head]) -> None:
    for name, (_, kind) in heads.items():
        if kind.hasobject or kind.kind not in "fciub":
            what = "Python objects" if kind.hasobject else str(kind)
            raise DataError(f"'{path}': '{name}' holds {what}; expected an array of numbers")
    size = sum(math.prod(shape) * kind.itemsize for shape, kind in heads.values())
    if size > LIMIT:
        raise DataError(
            f"'{path}' declares {size / 2**30:.3g} GiB of pairs; at most {LIMIT / 2**30:g} GiB are "
            "read: audit a random part of them"
        )
