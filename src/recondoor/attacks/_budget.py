"""How large a trigger may be and where it may lie; kept by the framework for every attack."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

ROUNDING = 1e-5
LEAK = 1e-3
MOST_ERROR = 0.05


@dataclass(frozen=True)
class Budget:
    """The triggers (C, H, W) that are zero where `mask` is zero and that `kind` allows.

    ``l2`` and ``linf`` bound that norm by `radius`; ``box`` allows pixels in [0, 1]; ``free``
    allows everything, and `radius` is then only the L2 of a pattern without a size of its own.
    `subspace`, an orthogonal projection of (C, H, W), confines triggers further; with ``l2`` and
    ``free``, and a mask of ones, as the projection would leave another one.
    """

    kind: Literal["l2", "linf", "box", "free"]
    radius: float
    mask: Tensor
    subspace: Callable[[Tensor], Tensor] | None = None

    @property
    def length(self) -> float:
        """Largest L2 (free: the L2 of reference); outer steps are a share of it."""
        if self.kind in ("l2", "free"):
            return self.radius
        return self.radius * math.sqrt(float(self.mask.sum()))

    def project(self, delta: Tensor) -> Tensor:
        """Return the allowed trigger that is nearest to `delta`."""
        delta = self._inside(delta)
        if self.kind == "l2":
            factor: Tensor = self.radius / delta.norm()
            return delta * factor.clamp(max=1)
        if self.kind == "linf":
            return delta.clamp(-self.radius, self.radius)
        return delta.clamp(0, 1) if self.kind == "box" else delta

    def fill(self, delta: Tensor) -> Tensor:
        """Return the nearest allowed trigger that uses the whole L2, where that is the budget.

        A weaker trigger is not learnt sooner, but steps can lead inwards.
        """
        return self.scale(delta) if self.kind == "l2" else self.project(delta)

    def scale(self, pattern: Tensor) -> Tensor:
        """Return the largest allowed multiple of what the mask leaves of `pattern`.

        Box: its pixels clipped; free: itself. Nothing stays nothing.
        """
        pattern = self._inside(pattern)
        if self.kind in ("l2", "linf"):
            size = pattern.norm() if self.kind == "l2" else pattern.abs().max()
            pattern = self.radius * (pattern / size.clamp_min(torch.finfo(pattern.dtype).tiny))
        return self.project(pattern)

    def maximise(self, direction: Tensor) -> Tensor:
        """Return the allowed trigger of largest inner product with `direction`.

        Where nothing bounds it, the one of L2 `radius`.
        """
        direction = self._inside(direction)
        if self.kind == "linf":
            return self.radius * direction.sign()
        if self.kind == "box":
            return (direction > 0).to(direction)
        unit: Tensor = direction / direction.norm().clamp_min(torch.finfo(direction.dtype).tiny)
        return self.radius * unit

    def shaped(self, pattern: Tensor) -> Tensor:
        """Return `pattern` as large as is allowed, its shape kept but for the pixels of a box.

        Of a pattern and its negative the one whose sum is positive, as a box leaves only that.
        Where nothing bounds it, the one of L2 `radius`.
        """
        pattern = self._inside(pattern)
        pattern = pattern if float(pattern.sum()) >= 0 else -pattern
        return self.maximise(pattern) if self.kind == "free" else self.scale(pattern)

    def _outside(self, delta: Tensor) -> float:
        """L2 of what `subspace` takes from `delta`, beyond what it takes from its own result.

        A projection by iterations keeps faint directions in part only, and takes from them again
        each time. What it says of a pattern of the subspace is its own error, and no fault of the
        pattern, as long as it is small.
        """
        if self.subspace is None:
            return 0.0
        nearest = self.subspace(delta)
        outside, whole = float((delta - nearest).norm()), float(delta.norm())
        if not LEAK * whole < outside <= MOST_ERROR * whole:
            return outside
        return outside - 2 * float((nearest - self.subspace(nearest)).norm())

    def _inside(self, delta: Tensor) -> Tensor:
        delta = delta * self.mask.to(delta)
        return delta if self.subspace is None else self.subspace(delta)

    def excess(self, delta: Tensor) -> str | None:
        """Say how `delta` leaves the budget; None if it does not. NaN leaves every budget."""
        if self.subspace is not None:
            outside, whole = self._outside(delta), float(delta.norm())
            if not outside <= LEAK * whole:
                return f"{outside:.2g} of its L2 {whole:.2g} is where the injection cannot reach"
        if self.kind == "free":
            return None if bool(delta.isfinite().all()) else "a pixel is not finite"
        if self.kind == "box":
            low, high = float(delta.min()), float(delta.max())
            if low >= -ROUNDING and high <= 1 + ROUNDING:
                return None
            return f"pixels from {low:.4f} to {high:.4f} leave [0, 1]"
        l2 = self.kind == "l2"
        size = float(delta.double().norm()) if l2 else float(delta.abs().max())
        if size <= self.radius * (1 + ROUNDING):
            return None
        return f"{'L2' if l2 else 'L-inf'} {size:.4f} exceeds {self.radius:.4f}"


def near(support: Tensor, distance: int) -> Tensor:
    """Boolean (C, H, W): pixels less than `distance` rows and columns away from `support`."""
    if distance == 0:
        return torch.zeros_like(support, dtype=torch.bool)
    # The distance is one between places, whatever the channel.
    image = support.any(0).float()[None, None]
    grown = F.max_pool2d(image, 2 * distance - 1, stride=1, padding=distance - 1)
    return grown[0].bool().expand_as(support)
