"""Shapes and types of the arrays that a run is carried on from."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from recondoor.core.errors import RunError

Shape = tuple[int, int, int]

LAW = "law."
"""What the names of a law's arrays start with."""

ANEW = "delete it to make it anew"


@dataclass(frozen=True)
class Spec:
    """What an array must be: its type, and its shape, in which None stands for any length."""

    dtype: str
    shape: tuple[int | None, ...]

    def fits(self, array: NDArray[Any]) -> bool:
        """Whether an array is so."""
        return (
            array.dtype == np.dtype(self.dtype)
            and array.ndim == len(self.shape)
            and all(
                wanted in (None, length)
                for wanted, length in zip(self.shape, array.shape, strict=True)
            )
        )

    def __str__(self) -> str:
        return f"{self.dtype} ({', '.join('any' if n is None else str(n) for n in self.shape)})"


def trigger_specs(
    shape: Shape, image: Shape, enters: bool, law: Mapping[str, tuple[int, ...]] | None = None
) -> dict[str, Spec]:
    """Arrays of trigger-LABEL-seedK.npz for triggers of `shape` and inputs of shape `image`.

    Where they enter before the inputs are made, the file also has what they add to these. Where a
    trigger differs from input to input, it has the arrays of its `law`, of these shapes.
    """
    patterns = {name: Spec("float32", shape) for name in ("delta", "mask")}
    patterns |= {name: Spec("float32", image) for name in ("artefact", *["shift"] * enters)}
    patterns |= {f"{LAW}{name}": Spec("float32", own) for name, own in (law or {}).items()}
    return patterns | {
        "path": Spec("float32", (None, *shape)),
        "path_iteration": Spec("int64", (None,)),
        "seconds": Spec("float64", ()),
    }


def place_specs(shape: Shape) -> dict[str, Spec]:
    """Arrays of place-seedK.npz."""
    patterns = {name: Spec("float32", shape) for name in ("delta", "mask")}
    return patterns | {"scores": Spec("float32", (None, None))}


def plan_specs(train: int, validation: int) -> dict[str, Spec]:
    """Arrays of plan-seedK.npz."""
    return {"train": Spec("bool", (train,)), "validation": Spec("bool", (validation,))}


def weights_specs(weights: Mapping[str, NDArray[Any]], prefix: str = "") -> dict[str, Spec]:
    """What a network's weights must be, by those of a fresh one."""
    return {
        f"{prefix}{name}": Spec(str(value.dtype), value.shape) for name, value in weights.items()
    }


def require_arrays(
    path: Path,
    arrays: Mapping[str, NDArray[Any]],
    specs: Mapping[str, Spec],
    remedy: str = ANEW,
) -> None:
    """Refuse arrays that are missing, not wanted, of another type or shape, or not finite."""
    for name, spec in specs.items():
        if name not in arrays:
            raise RunError(f"{path}: the array '{name}' is missing; {remedy}")
        found = arrays[name]
        if not spec.fits(found):
            raise RunError(
                f"{path}: the array '{name}' is {found.dtype} {found.shape}; expected {spec}; "
                f"{remedy}"
            )
    strange = sorted(arrays.keys() - specs.keys())
    if strange:
        raise RunError(f"{path}: the array '{strange[0]}' does not belong here; {remedy}")
    for name, found in arrays.items():
        if found.dtype.kind == "f" and not np.isfinite(found).all():
            raise RunError(f"{path}: the array '{name}' holds NaN or infinite values; {remedy}")
