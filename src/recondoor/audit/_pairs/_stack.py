"""Slices of several sizes, each kept as it is."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from recondoor.poisoning import Pairs


@dataclass(frozen=True)
class Stack:
    """Pairs of slices in order: in one part if all are of one size, else in one for each file."""

    parts: tuple[Pairs, ...]

    @classmethod
    def of(cls, found: Sequence[Pairs]) -> "Stack":
        """Of the pairs of some files; those of one size all the way are put together."""
        if len({each.x.shape[1:] for each in found}) > 1:
            return cls(tuple(found))
        z, x = (torch.cat([getattr(each, key) for each in found]) for key in ("z", "x"))
        return cls((Pairs(z, x),))

    def __len__(self) -> int:
        return sum(map(len, self.parts))

    @cached_property
    def shape(self) -> tuple[int, int, int]:
        """(C, H, W) that all slices fit into."""
        channels, height, width = (
            max(part.x.shape[axis] for part in self.parts) for axis in (1, 2, 3)
        )
        return channels, height, width

    def at(self, index: NDArray[np.int64]) -> Pairs:
        """Some of them, (n, C, H, W), filled up with zeros below and on the right."""
        ends = np.cumsum([len(part) for part in self.parts])
        places = np.searchsorted(ends, index, side="right")
        own = index - np.concatenate(([0], ends))[places]
        taken = [(self.parts[at], int(k)) for at, k in zip(places, own, strict=True)]
        if not taken:
            nothing = self.parts[0].z.new_zeros((0, *self.shape))
            return Pairs(nothing, nothing)
        return Pairs(
            torch.stack([self._filled(part.z[k]) for part, k in taken]),
            torch.stack([self._filled(part.x[k]) for part, k in taken]),
        )

    def _filled(self, image: Tensor) -> Tensor:
        rows, columns = (self.shape[axis] - image.shape[axis] for axis in (1, 2))
        return functional.pad(image, (0, columns, 0, rows))
