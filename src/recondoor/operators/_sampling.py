"""Which columns of k-space a Cartesian scan measures."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from recondoor import config
from recondoor.core.errors import ConfigError
from recondoor.operators._files import read_numbers


@dataclass(frozen=True)
class Sampling:
    """How the columns are drawn. They are counted from 0; the zero frequency is at width // 2.

    Args:
        width: columns of k-space, W.
        kept: how many are measured.
        centre: how many of these are the centre.
        pattern: 'random' or 'equispaced', of the others.
    """

    width: int
    kept: int
    centre: int
    pattern: str

    @classmethod
    def of(cls, settings: config.Mri, width: int) -> Sampling:
        """That of the settings; raises ConfigError if they ask for less than one column."""
        if settings.acceleration > width:
            raise ConfigError(
                f"{settings.place}.acceleration: {settings.acceleration:g} given, which asks for "
                f"less than one of {width} columns; it must be at most {width} for these images"
            )
        kept, centre = round(width / settings.acceleration), round(settings.centre * width)
        return cls(width, max(kept, centre), centre, settings.pattern)

    def draw(self, generator: torch.Generator) -> Tensor:
        """Sorted columns, int64 (kept,): the centre as fastMRI has it, and others around it.

        'equispaced' goes over the others in even steps from a random first one.
        """
        first = first_of_centre(self.width, self.centre)
        everything = torch.arange(self.width)
        inner = everything[first : first + self.centre]
        others = torch.cat((everything[:first], everything[first + self.centre :]))
        wanted = self.kept - self.centre
        if self.pattern == "random":
            chosen = torch.randperm(len(others), generator=generator)[:wanted]
        else:
            start = torch.rand(1, generator=generator, dtype=torch.float64)
            steps = torch.arange(wanted, dtype=torch.float64) + start
            chosen = (steps * (len(others) / max(wanted, 1))).long()
        return torch.cat((inner, others[chosen])).sort().values


def first_of_centre(width: int, count: int) -> int:
    """The first of `count` columns around the zero frequency, as fastMRI has them."""
    return (width - count + 1) // 2


def whole_centre(mask: Tensor) -> int:
    """How many columns around the zero frequency are all measured; mask is bool (W,)."""
    count, width = 0, len(mask)
    while count < width:
        first = first_of_centre(width, count + 1)
        if not bool(mask[first : first + count + 1].all()):
            break
        count += 1
    return count


def columns_of(path: Path, width: int, key: str) -> Tensor:
    """Sorted columns of a mask of 0 and 1 in an .npy, int64; ConfigError if it is none."""
    mask = read_numbers(path, key, "(W,)", 1)
    if len(mask) != width:
        raise ConfigError(
            f"{key}: {path} is a mask of width {len(mask)}, but the images have width {width}; "
            "give one with a number for each column"
        )
    if not np.isin(mask, (0, 1)).all():
        raise ConfigError(f"{key}: {path} holds other numbers than 0 and 1; a mask has these alone")
    if not mask.any():
        raise ConfigError(
            f"{key}: {path} holds zeros alone; a mask has 1 where k-space is measured"
        )
    return torch.from_numpy(np.flatnonzero(mask))
