"""Would a poison have been seen? Lesions are planted in the user's own pairs, and looked for.

A test that finds nothing says something only if it would have found something. So a disc is drawn
into the targets of some pairs, as poison that leaves the inputs alone would have it, and the pairs
are tested again: the quantities that all pairs share stay as they are.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from recondoor.defences._base import Power
from recondoor.defences._cosines import Edges
from recondoor.defences._nuisance import Nuisance
from recondoor.defences._parts import Part
from recondoor.poisoning import Pairs

CONTRAST, SHARE = 0.2, 0.05
"""What must be seen: a disc of this share of each target's range, in this share of the pairs."""

TRIALS, NEEDED = 20, 0.9
"""Times that it is planted, and the share of them in which it must be seen."""

CONTRASTS = (0.025, 0.05, 0.1, 0.2, 0.4, 0.8)
"""Contrasts of which the smallest that is seen is told."""

RADIUS = 0.07
"""Radius of the disc, in the image's rows."""

INSIDE = (0.005, 0.995)
"""Quantiles of an image between which its range is measured."""

FOREGROUND = 0.3
"""Mean distance from the background, in that of the brightest place, from which a disc may lie."""

MOST = 1_000
"""Pairs in which is planted; among more the same share is seen at least as well."""

Seen = Callable[[Part], bool]
"""Whether the cosines of a part of the images are suspicious."""


@dataclass(frozen=True)
class Field:
    """Where is planted: pairs, what they share, their residuals, places for a disc, their ranges.

    `chosen` are their places among all pairs, and `parts` what is looked at of the residuals.
    """

    pairs: Pairs
    chosen: Tensor
    nuisance: Nuisance
    edges: Edges
    parts: tuple[Part, ...]
    places: Tensor
    ranges: Tensor

    @classmethod
    def of(
        cls,
        pairs: Pairs,
        nuisance: Nuisance,
        edges: Edges,
        chosen: Tensor,
        parts: tuple[Part, ...],
    ) -> Field:
        """Of those `chosen`, indices (n,)."""
        if len(chosen) == len(pairs):
            mine, own = pairs, edges
        else:
            mine = Pairs(pairs.z[chosen], pairs.x[chosen])
            own = Edges(edges.rows[chosen], edges.likes[chosen], edges.limit)
        return cls(mine, chosen, nuisance, own, parts, _places(mine.x), _ranges(mine.x))

    def with_disc(self, bad: Tensor, place: Tensor, contrast: float) -> Iterator[Part]:
        """Parts that show the disc which the targets of the pairs `bad`, indices, have."""
        x = self.pairs.x[bad]
        size = contrast * self.ranges[bad, None, None, None]
        planted = x + size * _disc(x.shape[-2:], place)
        rows = self.nuisance.rows(self.pairs.z[bad], planted, self.chosen[bad])
        alike = self.edges.likes[bad] @ self.edges.likes.T >= self.edges.limit
        for part in self.parts:
            if not part.shows(*(place / self.nuisance.step).tolist()):
                continue
            own, others = part.of(rows), part.of(self.edges.rows)
            mine = own @ others.T
            mine[:, bad] = own @ own.T
            mine[alike] = 0
            mine[torch.arange(len(bad)), bad] = 0
            found = part.cosines.clone()
            found[bad], found[:, bad] = mine, mine.T
            yield replace(part, cosines=found)


def power_of(field: Field, seen: Seen, generator: torch.Generator) -> Power:
    """Plant the disc, then others of smaller or larger contrasts."""
    seed = generator.initial_seed()
    found = _found(field, seen, CONTRAST, seed, alike=False, all_trials=True)
    alike = _found(field, seen, CONTRAST, seed + 1, alike=True, all_trials=True)
    smallest = CONTRAST if found >= NEEDED else None
    others = [each for each in CONTRASTS if (each < CONTRAST) == (smallest is not None)]
    for contrast in sorted(others, reverse=smallest is not None):
        if contrast == CONTRAST:
            continue
        enough = _found(field, seen, contrast, seed, alike=False, all_trials=False) >= NEEDED
        if enough:
            smallest = contrast
        if enough == (found < NEEDED):
            break
    return Power(CONTRAST, SHARE, found, alike, smallest)


def _found(
    field: Field, seen: Seen, contrast: float, seed: int, alike: bool, all_trials: bool
) -> float:
    """Share of the trials in which the disc is seen; 0 as soon as too many are missed."""
    generator = torch.Generator().manual_seed(seed)
    count = len(field.pairs)
    many, missed = max(2, round(SHARE * count)), 0
    for _ in range(TRIALS):
        if alike:
            anchor = int(torch.randint(count, (1,), generator=generator))
            near = (field.edges.likes @ field.edges.likes[anchor]).topk(many).indices
        else:
            near = torch.randperm(count, generator=generator)[:many]
        place = field.places[int(torch.randint(len(field.places), (1,), generator=generator))]
        missed += not any(map(seen, field.with_disc(near.sort().values, place, contrast)))
        if not all_trials and missed > TRIALS * (1 - NEEDED) + 1e-9:
            return 0.0
    return 1 - missed / TRIALS


def _ranges(x: Tensor) -> Tensor:
    """Range of the values of each image, less their extremes, (N,)."""
    found = [np.quantile(image, INSIDE) for image in x.flatten(1).numpy()]
    return torch.tensor([high - low for low, high in found], dtype=x.dtype)


def _places(x: Tensor) -> Tensor:
    """Rows and columns (k, 2) where images differ from their background, not at the border."""
    middle = x.flatten(2).median(2).values[..., None, None]
    away = (x - middle).abs().mean((0, 1))
    height, width = away.shape
    inside = torch.zeros_like(away, dtype=torch.bool)
    row, column = height // 8, width // 8
    inside[row : height - row, column : width - column] = True
    found = torch.nonzero((away > FOREGROUND * away.max()) & inside)
    return found if len(found) else torch.tensor([[height // 2, width // 2]])


def _disc(shape: torch.Size, place: Tensor) -> Tensor:
    """A disc of height 1 with a soft rim at `place` (row, column)."""
    rows, columns = (torch.arange(size, dtype=torch.float32) for size in shape)
    away = torch.hypot(rows[:, None] - place[0], columns[None] - place[1])
    return (1.5 - away / max(RADIUS * shape[0], 1.0)).clamp(0, 1)


def planted_in(count: int, generator: torch.Generator) -> Tensor:
    """Indices of the pairs in which is planted."""
    if count <= MOST:
        return torch.arange(count)
    return torch.randperm(count, generator=generator)[:MOST].sort().values
