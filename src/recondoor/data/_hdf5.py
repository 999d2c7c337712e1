"""Volumes in HDF5: fastMRI's files, and ISMRMRD's."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from recondoor.core.errors import DataError
from recondoor.data._ismrmrd import GROUP, read_ismrmrd
from recondoor.io import arrays, gate

if TYPE_CHECKING:
    import h5py

TARGETS = ("reconstruction_esc", "reconstruction_rss")
"""fastMRI's reconstructions; a file of one coil has both, and the first is its target."""

_RAW = (
    "k-space without a reconstruction; the image x is the target, so reconstruct it first, and "
    "store it as reconstruction_rss (slices, H, W)"
)


@dataclass(frozen=True, eq=False)
class KSpace:
    """What a scanner's file of one volume holds.

    `kspace` is complex, (slices, coils, H, W), with the zero frequency in the middle, of length 1
    in coils where there was one; `target` (slices, h, w) is the reconstruction that goes with it,
    mostly of its middle, `mask` (W,) says which columns were measured; None where a file has none.
    `maximum` is the file's attribute `max`, else the target's largest value, else None.
    """

    kspace: NDArray[np.complexfloating[Any, Any]]
    target: NDArray[np.floating[Any]] | None
    mask: NDArray[np.bool_] | None
    maximum: float | None


def read_images(path: Path, inside: Path | None = None) -> NDArray[Any]:
    """The images of a file, (slices, H, W): fastMRI's target, else what an ISMRMRD file shows.

    Raises DataError, one line, if there are none; it says which arrays were found.
    """
    with _opened(path, inside) as file:
        found = arrays.own_arrays(file, TARGETS)
        for name in TARGETS:
            if name in found:
                return _stack(name, arrays.read_own(name, found[name]))
        group = arrays.own_group(file, GROUP)
        if group is not None:
            return read_ismrmrd(path, group)
        raise DataError(f"'{path}' {_nothing(file)}")


def read_kspace(path: Path | str) -> KSpace:
    """k-space, target and mask of a fastMRI file, for tests of whether they belong together.

    Raises DataError, one line, if it has no `kspace`, or an array is not what it should be.
    """
    with _opened(Path(path), None) as file:
        found = arrays.own_arrays(file, ("kspace", "mask", *TARGETS))
        if "kspace" not in found:
            raise DataError(f"'{path}' holds {_names(file)}; expected kspace")
        values = {name: arrays.read_own(name, each) for name, each in found.items()}
        kspace = values["kspace"]
        if kspace.dtype.kind != "c" or kspace.ndim not in (3, 4) or 0 in kspace.shape:
            raise ValueError(
                f"kspace has the type {kspace.dtype} and shape {kspace.shape}; expected complex "
                "(slices, H, W) or (slices, coils, H, W)"
            )
        target = next((_stack(name, values[name]) for name in TARGETS if name in values), None)
        if target is not None and len(target) != len(kspace):
            raise ValueError(
                f"it has {len(kspace)} slices of k-space and {len(target)} of a target"
            )
        mask = values.get("mask")
        if mask is not None and mask.shape != kspace.shape[-1:]:
            raise ValueError(f"mask has the shape {mask.shape}; expected {kspace.shape[-1:]}")
        return KSpace(
            kspace=kspace if kspace.ndim == 4 else kspace[:, None],
            target=target,
            mask=None if mask is None else mask.astype(bool),
            maximum=_maximum(file, target),
        )


@contextmanager
def _opened(path: Path, inside: Path | None) -> Iterator[h5py.File]:
    """An HDF5 file whose faults, and those of what is read from it, become one line about it."""
    try:
        with (
            gate.opened(path, most=gate.ARRAYS, inside=inside) as stream,
            arrays.hdf5(stream) as file,
        ):
            yield file
    except ImportError:
        raise DataError(f"'{path}' needs h5py to be read: pip install recondoor[mri]") from None
    except arrays.UNREADABLE as error:
        raise DataError(arrays.failure(path, error, "HDF5 file")) from error


def _stack(name: str, values: NDArray[Any]) -> NDArray[Any]:
    if values.ndim != 3 or values.dtype.kind not in "fiu" or 0 in values.shape:
        raise ValueError(
            f"{name} has the type {values.dtype} and shape {values.shape}; expected real "
            "(slices, H, W)"
        )
    return values


def _nothing(file: h5py.File) -> str:
    if "kspace" in file:
        return f"holds {_names(file)}: {_RAW}"
    return f"holds {_names(file)}; expected {' or '.join(TARGETS)}, or ISMRMRD's images"


def _names(file: Iterable[str]) -> str:
    names = sorted(str(name) for name in file)
    return ", ".join(names[:8]) + (" ..." if len(names) > 8 else "") if names else "nothing"


def _maximum(file: h5py.File, target: NDArray[Any] | None) -> float | None:
    if "max" in file.attrs:
        stored = file.attrs.get_id("max")
        if stored.shape == () and stored.dtype.kind in "fiu":
            return float(file.attrs["max"])
    return None if target is None else float(target.max())
