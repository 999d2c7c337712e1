"""How finely numbers were stored, read off the numbers themselves: half precision, or levels."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

HALF, BRAIN = 2.0**-11, 2.0**-8
"""Largest relative rounding error of float16 and bfloat16."""

HALF_STEP = 2.0**-24
"""Spacing of the smallest numbers of float16."""

LOOKED_AT = 100_000
"""Values from which levels are guessed, before all are compared with them."""

FINEST = 2.0**-20
"""Step, as a share of the largest value, below which 32 bits round as coarsely."""

OFF_LEVEL = 0.1
"""Distance from the nearest level, in steps, up to which a value lies on it."""


@dataclass(frozen=True)
class Storage:
    """What was rounded away beyond 32-bit floating point, where that is seen in the values.

    Args:
        unit: largest relative rounding error of a value; 0 for float32 and finer.
        step: distance of neighbouring levels; 0 if there are none.
    """

    unit: float = 0.0
    step: float = 0.0

    @classmethod
    def of(cls, values: Tensor) -> Storage:
        """Types and levels in which `values` are exact, all of them together.

        Values of a coarser type stay what they were when they are converted to a finer one. Those
        that were rounded and then multiplied are known by their levels, if there are such.
        """
        unit, step = 0.0, levels(values)
        parts = _parts(values.detach().flatten())
        if all(bool((part.bfloat16().to(part) == part).all()) for part in parts):
            unit = BRAIN
        elif all(bool((part.half().to(part) == part).all()) for part in parts):
            unit, step = HALF, max(step, HALF_STEP)
        return cls(unit, step)

    @property
    def coarse(self) -> bool:
        """Whether anything was rounded away beyond 32 bits."""
        return self.unit > 0 or self.step > 0

    def coarser(self, other: Storage) -> Storage:
        """The larger of both roundings."""
        return Storage(max(self.unit, other.unit), max(self.step, other.step))

    def worst(self, values: Tensor) -> Tensor:
        """Largest L2 that the rounding error of each of `values` (N, D) can have, (N,)."""
        norms = values.double().norm(dim=1)
        worst: Tensor = self.unit * norms + self.step / 2 * values.shape[1] ** 0.5
        return worst

    def variance(self, values: Tensor) -> Tensor:
        """Mean square of the rounding error of every value (N, D): even between neighbours."""
        exponent = values.double().frexp().exponent
        # The power of 2 below a value is what its neighbours' distance depends on.
        below = torch.ldexp(torch.ones_like(values, dtype=torch.float64), exponent - 1)
        return (self.unit * below).square() / 3 + self.step**2 / 12


def levels(values: Tensor) -> float:
    """Distance of neighbouring levels k * step + c on which all `values` lie; 0 if on none."""
    flat = values.detach().flatten()
    parts = _parts(flat)
    few = flat[:: max(1, flat.numel() // LOOKED_AT)].double().cpu().numpy()
    step = spacing(torch.from_numpy(np.unique(few)))
    if step == 0 and all(bool((part == part.round()).all()) for part in parts):
        # So few integers that no two are neighbours.
        step = 1.0
    if step <= FINEST * float(flat.abs().max()):
        return 0.0
    start = float(few[0])
    return step if all(bool(on_levels(part, start, step).all()) for part in parts) else 0.0


def _parts(values: Tensor) -> list[Tensor]:
    """Of values (N,), `LOOKED_AT` each."""
    return [values[k : k + LOOKED_AT] for k in range(0, len(values), LOOKED_AT)]


def spacing(values: Tensor) -> float:
    """The step of which sorted, different `values` (N,) are multiples apart; 0 if there is none.

    From the smallest gap, made more exact over ever longer distances, as values of 32 bits leave
    it less exact than a long distance needs.
    """
    if len(values) < 2:
        return 0.0
    offsets = values - values[0]
    step, reach = float(values.diff().min()), 4.0
    while True:
        inside = offsets[offsets <= reach * step]
        far = float(inside[-1])
        if far > 0:
            step = far / round(far / step)
        if len(inside) == len(offsets):
            break
        reach *= 4
    return step if bool(on_levels(values, float(values[0]), step).all()) else 0.0


def on_levels(values: Tensor, start: float, step: float) -> Tensor:
    """Whether each of `values` is a whole number of steps from `start`, boolean."""
    places = (values.double() - start) / step
    return (places - places.round()).abs() < OFF_LEVEL
