"""What numbers in a file mean as pixels: one rule for data sets, pairs, triggers and artefacts."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

ALLOWED = "expected uint8 (255 is 1), bool, or floating-point numbers"


def require_scale(kind: "np.dtype[Any]") -> None:
    """Refuse numbers of which nobody says which one is 1.

    uint8 counts from 0 to 255, True is 1, and floating-point numbers are what they are. Other
    integers have no such rule: 16 bits often hold 12 that were measured, or negative numbers.

    Raises:
        ValueError: another type, with the remedy.
    """
    if kind == np.uint8 or kind.kind in "fb":
        return
    hint = (
        "; which number is 1 is for you to say: save values.astype('float32') / that number"
        if kind.kind in "iu"
        else ""
    )
    raise ValueError(f"numbers of type {kind}; {ALLOWED}{hint}")


def to_float32(values: NDArray[Any]) -> NDArray[np.float32]:
    """Values as contiguous float32, uint8 divided by 255; what is too large becomes infinite."""
    with np.errstate(over="ignore"):
        numbers: NDArray[np.float32] = np.ascontiguousarray(values, dtype=np.float32)
    return numbers / np.float32(255) if values.dtype == np.uint8 else numbers


def first_not_finite(values: NDArray[Any], start: int = 0) -> str:
    """Index of the first NaN or infinity in row order, as '[3, 0, 7]'; empty if there is none.

    `start` is the row of the whole at which these values begin.
    """
    finite = np.isfinite(values)
    if finite.all():
        return ""
    index = [int(each) for each in np.unravel_index(np.argmin(finite), finite.shape)]
    return str([start + index[0], *index[1:]] if index else index)
