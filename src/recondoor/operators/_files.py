"""Numbers of an operator that lie in a user's .npy file."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from recondoor.core.errors import ConfigError
from recondoor.io import arrays, gate

MAX_BYTES = 1 << 31
"""Bytes that the numbers of a file may take."""


def read_numbers(path: Path, key: str, wanted: str, ndim: int) -> NDArray[Any]:
    """Array of `ndim` axes at `path`, float64 or complex128; ConfigError for anything else.

    The size that the file's head declares is looked at before memory is taken. `key` is the setting
    that names the file, `wanted` the shape in words.
    """
    try:
        with gate.opened(path, most=gate.ARRAYS) as stream:
            values = _read(stream, f"{key}: {path}", wanted, ndim)
    except arrays.UNREADABLE as error:
        raise ConfigError(f"{key}: {arrays.failure(path, error)}") from None
    if first := arrays.first_not_finite(values):
        raise ConfigError(f"{key}: {path} holds NaN or infinite values, the first at {first}")
    return values


def _read(stream: BinaryIO, told: str, wanted: str, ndim: int) -> NDArray[Any]:
    shape, kind = arrays.head(stream)
    if kind.kind not in "fciub" or len(shape) != ndim or 0 in shape:
        raise ConfigError(
            f"{told} holds {kind} of shape {shape}; expected real or complex numbers of shape "
            f"{wanted}"
        )
    if math.prod(shape) * kind.itemsize > MAX_BYTES:
        raise ConfigError(
            f"{told} declares {math.prod(shape) * kind.itemsize / 2**30:.1f} GiB; 2 GiB are allowed"
        )
    stream.seek(0)
    values = arrays.load(stream)
    exact: NDArray[Any] = values.astype(np.complex128 if kind.kind == "c" else np.float64)
    return exact
