"""What a model made of the test set, for yardsticks to measure. Imports no torch."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from recondoor.evaluation import metrics

if TYPE_CHECKING:
    from torch import Tensor

OfVolume = Callable[["Tensor", "Tensor"], float | None]
"""A yardstick of one volume: of its reconstruction and its truth, both (n, C, H, W)."""


@dataclass(frozen=True)
class Volumes:
    """Of which subject each test image is, a number each; whether images are complex."""

    subjects: tuple[int, ...]
    are_complex: bool = False


@dataclass(frozen=True, kw_only=True)
class Seen:
    """What a model made of the test set, for a yardstick to measure.

    x, clean, triggered, expected: images, reconstructions f(z) and f(z + delta), and what the
    latter should be but for the artefact, each (N, C, H, W). pattern, delta: Delta and the trigger,
    (C, H, W); one of each image's own is (N, C, H, W). tau counts in units of `scale`, which
    is then (N,); `data_range` is that of the pixel values. `volumes`:
    whose the images are, where that is known.
    """

    x: Tensor
    clean: Tensor
    triggered: Tensor
    expected: Tensor
    pattern: Tensor
    delta: Tensor
    data_range: float
    tau: float
    scale: float | Tensor
    volumes: Volumes | None = None

    @cached_property
    def on_artefact(self) -> Tensor:
        """Mean squared error of each image where Delta is not 0, (N,)."""
        return metrics.artefact_mse(self.triggered, self.expected, self.pattern)

    @cached_property
    def by_subject(self) -> Mapping[int, tuple[Tensor, Tensor]]:
        """Reconstruction and truth of all images of each subject; of complex ones the magnitude."""
        if self.volumes is None:
            return {}
        pair = (self.clean, self.x)
        if self.volumes.are_complex and self.x.shape[1] == 2:
            pair = (_magnitude(self.clean), _magnitude(self.x))
        rows: dict[int, list[int]] = {}
        for row, subject in enumerate(self.volumes.subjects):
            rows.setdefault(subject, []).append(row)
        return {each: (pair[0][rows[each]], pair[1][rows[each]]) for each in sorted(rows)}

    def each_volume(self, of: OfVolume) -> list[float | None] | None:
        """A yardstick of every subject, None where it is not finite; None without subjects."""
        values = [of(*pair) for pair in self.by_subject.values()]
        return [v if v is None or math.isfinite(v) else None for v in values] or None

    def over_volumes(self, of: OfVolume) -> float | None:
        """Its mean over the subjects, infinite if one is; None where it is not defined of all."""
        values = [of(*pair) for pair in self.by_subject.values()]
        known = [value for value in values if value is not None]
        return sum(known) / len(known) if known and len(known) == len(values) else None


def _magnitude(images: Tensor) -> Tensor:
    return images.double().square().sum(1, keepdim=True).sqrt()
