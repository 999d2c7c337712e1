"""Arrays of a stranger's .npz or .h5 file: looked at before memory is taken, never unpickled."""

import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from recondoor.core.errors import DataError
from recondoor.io import arrays as files
from recondoor.io import gate

Arrays = dict[str, NDArray[Any]]

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
    if reader is None or not path.exists():
        what = "is no .npz or .h5 file" if path.exists() else "does not exist"
        raise DataError(
            f"'{path}' {what}; expected pairs in an .npz or .h5 file, or the folder of a run"
        )
    try:
        with gate.opened(path, most=gate.ARRAYS) as stream:
            return reader(stream, path, list(names))
    except files.UNREADABLE as error:
        kind = f"{path.suffix.lower()} file"
        raise DataError(files.failure(path, error, kind)) from None


def _read_npz(stream: BinaryIO, path: Path, names: list[str]) -> Arrays:
    with files.archive(stream) as members:
        heads = {}
        for name in names:
            if f"{name}.npy" in members.NameToInfo:
                with members.open(f"{name}.npy") as member:
                    heads[name] = files.head(member)
        _require_fit(path, heads)
        arrays = {}
        for name in heads:
            with members.open(f"{name}.npy") as member:
                arrays[name] = np.lib.format.read_array(member, allow_pickle=False)
        return arrays


def _read_h5(stream: BinaryIO, path: Path, names: list[str]) -> Arrays:
    try:
        with files.hdf5(stream) as file:
            found = files.own_arrays(file, names)
            heads = {name: (values.shape, values.dtype) for name, values in found.items()}
            _require_fit(path, heads)
            return {name: files.read_own(name, values) for name, values in found.items()}
    except ImportError:
        raise DataError(f"'{path}' needs h5py to be read: pip install recondoor[h5]") from None


def names_in(path: Path) -> list[str]:
    """Names of what an .npz or .h5 file holds, of any kind; DataError as `read_arrays`."""
    read_arrays(path, ())
    with gate.opened(path, most=gate.ARRAYS) as stream:
        if path.suffix.lower() == ".npz":
            with files.archive(stream) as members:
                return [name.removesuffix(".npy") for name in members.NameToInfo]
        with files.hdf5(stream) as file:
            return list(file)


def _require_fit(path: Path, heads: Mapping[str, files.Head]) -> None:
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
