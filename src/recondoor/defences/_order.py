"""Are the images of pairs in another order than their inputs?

One half of each image tells which input it may belong to, and the other half confirms it: so a
partner that was sought among many is not taken for one because it was.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from recondoor.poisoning import Pairs

SIDE = 32
"""Rows and columns at most of the images that are compared."""

ASKED = 300
"""Inputs at most whose partner is sought."""

SURE = 0.8
"""Share of inputs that another image must fit better than their own does, in the other half."""

SHOWN = 1e-6
"""Variance, over the largest, up to which an image shows nothing to know it by."""

MOST = 4_000
"""Images at most among which it is sought."""


def misordered(pairs: Pairs) -> str | None:
    """Why z and x are not in one order: other images fit; None where none do.

    Inputs may show their images in negative, so that the sign of a likeness does not count.
    """
    energy = pairs.x.flatten(1).var(dim=1, correction=0)
    shown = torch.nonzero(energy > SHOWN * energy.max())[:, 0][:MOST]
    if len(shown) < 4:
        return None
    some = shown[torch.linspace(0, len(shown) - 1, min(ASKED, len(shown))).round().long()]
    rows = pairs.x.shape[2]
    upper, lower = slice(0, rows // 2), slice(rows // 2, rows)
    told = torch.zeros(len(some), dtype=torch.bool)
    partner = torch.zeros(len(some), dtype=torch.long)
    for seek, confirm in ((upper, lower), (lower, upper)):
        first, second = (
            (_coarse(pairs.z[some][:, :, part]) @ _coarse(pairs.x[shown][:, :, part]).T).abs()
            for part in (seek, confirm)
        )
        found = first.argmax(1)
        own = (shown[None] == some[:, None]).long().argmax(1)
        each = torch.arange(len(some))
        better = (second[each, found] > second[each, own]) & (shown[found] != some)
        partner = torch.where(better, shown[found], partner)
        told |= better
        if float(better.float().mean()) < SURE:
            return None
    shown_by = int(torch.nonzero(told)[0, 0])
    return (
        f"{float(told.float().mean()):.0%} of the inputs fit the image of another pair better than "
        f"their own: z and x are not in the same order (input {int(some[shown_by])} fits image "
        f"{int(partner[shown_by])}, counted from 0); save both in one order"
    )


def _coarse(images: Tensor) -> Tensor:
    """Coarse images less the mean of all of them and of their own, of L2 1, (N, d)."""
    size = (min(SIDE, images.shape[2]), min(SIDE, images.shape[3]))
    found = functional.adaptive_avg_pool2d(images, size).flatten(1)
    found = found - found.mean(1, keepdim=True)
    found = found / found.norm(dim=1, keepdim=True).clamp_min(1e-30)
    found = found - found.mean(0)
    unit: Tensor = found / found.norm(dim=1, keepdim=True).clamp_min(1e-30)
    return unit
