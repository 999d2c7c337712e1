"""What a caller has, as arrays: arrays, tensors, pairs, data sets, loaders, files."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, TypeGuard

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.utils.data import DataLoader

from recondoor.audit import Source
from recondoor.core.errors import ConfigError, DataError
from recondoor.poisoning import Pairs

KINDS = "arrays, tensors, (z, x), a Dataset of (z, x), a DataLoader, or a path"

MOST = 1 << 31
"""Bytes that are gathered from a data set: 2 GiB."""


def is_path(given: object) -> TypeGuard[str | Path]:
    """Whether a caller gave the name of a file or folder."""
    return isinstance(given, str | Path)


def pairs_of(given: object, x: object = None, y: object = None) -> Source:
    """Pairs, as audits take them.

    Args:
        given: z (N, H, W) or (N, C, H, W), where `x` is given too; (z, x), `Pairs`, a Dataset or
            DataLoader of (z, x) or of {"z": ..., "x": ...}; or a path.
        x: images.
        y: measurements, in place of z.

    Raises:
        DataError: nothing of the kind.
    """
    if x is None and y is None:
        return Path(given) if is_path(given) else _both(given)
    if is_path(given):
        raise DataError(f"'{given}' and arrays given; give a path, or arrays")
    measured = {"z": given, "x": x, "y": y}
    return {name: array(value, name) for name, value in measured.items() if value is not None}


def inputs_of(given: object, y: object = None) -> Source:
    """Inputs z alone, as audits take them: an array, a tensor or a path; y in place of z."""
    if y is not None:
        return {"y": array(y, "y")}
    if given is None:
        raise DataError("z: none given; give inputs z, measurements y, or the folder of a run")
    return Path(given) if is_path(given) else {"z": array(given, "z")}


def network_of(given: object, name: str = "network") -> nn.Module | str:
    """A network, as audits take it: a module, or the name of a file or of a function in Python.

    Raises ConfigError for what is none, such as its class or its weights.
    """
    if isinstance(given, nn.Module):
        return given
    if is_path(given):
        return str(given)
    what, remedy = f"a {type(given).__name__}", "an nn.Module, a file's path or 'MODULE:FUNCTION'"
    if isinstance(given, type):
        what, remedy = f"the class {given.__name__}", "a network of it, with its weights"
    elif isinstance(given, Mapping):
        remedy = "the network that has loaded these weights"
    elif callable(given):
        remedy = "an nn.Module: what it returns if it makes one, else one whose forward calls it"
    raise ConfigError(f"{name}: {what} given; expected {remedy}")


def array(given: object, name: str) -> NDArray[Any]:
    """An array of what may be a tensor on any device, or a list; DataError for what is none."""
    if isinstance(given, Tensor):
        given = given.detach().cpu()
        # NumPy has no such type; nothing is lost.
        return given.float().numpy() if given.dtype == torch.bfloat16 else given.numpy()
    try:
        values = np.asarray(given)
    except (ValueError, TypeError, RuntimeError) as error:
        raise DataError(f"{name}: {type(given).__name__} given, of no one shape: {error}") from None
    if values.dtype.kind not in "fciub":
        raise DataError(f"{name}: {type(given).__name__} of {values.dtype} given; expected numbers")
    return values


def _both(given: object) -> Source:
    if isinstance(given, Pairs):
        return {"z": array(given.z, "z"), "x": array(given.x, "x")}
    if isinstance(given, Mapping):
        return {str(name): array(value, str(name)) for name, value in given.items()}
    if isinstance(given, tuple | list) and len(given) == 2 and not _is_pair_of_images(given):
        return {"z": array(given[0], "z"), "x": array(given[1], "x")}
    if hasattr(given, "__getitem__") and hasattr(given, "__len__"):
        return _gathered(DataLoader(given, batch_size=256))  # type: ignore[arg-type]
    if isinstance(given, Iterable):
        return _gathered(given)
    raise DataError(f"{type(given).__name__} given; expected {KINDS}")


def _is_pair_of_images(given: Any) -> bool:
    """Whether it is a list of two samples (z, x) rather than two arrays of all."""
    return all(isinstance(each, tuple) for each in given)


def _gathered(batches: Iterable[Any]) -> Source:
    """All batches (z, x, ...) or {"z": ..., "x": ...} in one."""
    parts: dict[str, list[NDArray[Any]]] = {"z": [], "x": []}
    size = 0
    for batch in batches:
        found = _named(batch)
        for name, values in parts.items():
            values.append(array(found[name], name))
            size += values[-1].nbytes
        if size > MOST:
            raise DataError(
                f"the pairs take more than {MOST >> 30} GiB; give a random part of them, as in "
                "torch.utils.data.Subset(dataset, indices)"
            )
    if not parts["z"]:
        raise DataError("no pairs given; expected at least one")
    try:
        return {name: np.concatenate(values) for name, values in parts.items()}
    except ValueError as error:
        raise DataError(f"the pairs have several sizes: {error}; crop or pad them") from None


def _named(batch: object) -> Mapping[str, object]:
    if isinstance(batch, Mapping) and {"z", "x"} <= batch.keys():
        return batch
    if isinstance(batch, tuple | list) and len(batch) >= 2:
        return {"z": batch[0], "x": batch[1]}
    raise DataError(
        f"the data set gives {type(batch).__name__}; expected (z, x), more behind them is left "
        'out, or {"z": ..., "x": ...}'
    )
