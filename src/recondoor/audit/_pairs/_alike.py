"""Are trusted pairs drawn from what is judged? If not, what sets them apart is no sign of poison.

A threshold from trusted pairs holds if clean pairs under audit could be exchanged with them. Then
an image has no more neighbours of its own set than chance gives (Schilling, Journal of the American
Statistical Association 81, 1986). Of those under audit only pairs that nothing flags count here:
most of these are clean even where some are poisoned.
"""

import torch
from scipy.special import ndtr
from torch import Tensor

NEIGHBOURS = 5
"""Nearest other images that are looked at."""

FEW = 8
"""Images of a set below which nothing is said: of 8 slices of another head, or of other chests, 40
of 40 sets were told apart from 290 trusted ones, and of 5 slices 34."""

MOST = 1_000
"""Images of each set that are compared, evenly taken from all."""

SHUFFLES = 200
"""Random exchanges of the two sets from which the law of chance is estimated."""

RARE = 1e-6
"""Probability at most with which sets that were drawn alike are said not to be."""


def unlike(judged: Tensor, flagged: Tensor, trusted: Tensor) -> str | None:
    """Why `trusted` images (M, C, H, W) do not stand for the clean ones of `judged` (N, C, H, W).

    None if they may. Where more than half are `flagged`, boolean (N,), what is left was picked by
    its likeness to the trusted ones, and says nothing. Nor do a few.
    """
    if 2 * int(flagged.sum()) > len(flagged):
        return f"{int(flagged.sum())} of {len(flagged)} are flagged, which is more than half"
    first, second = _some(judged[~flagged]), _some(trusted)
    if min(len(first), len(second)) < FEW:
        return (
            f"{len(first)} that nothing flags and {len(second)} trusted ones are too few to tell, "
            f"which takes {FEW} of each"
        )
    near = _neighbours(torch.cat((first, second)))
    own = torch.arange(len(near)) < len(first)
    generator = torch.Generator().manual_seed(0)
    mixed = [own[torch.randperm(len(own), generator=generator)] for _ in range(SHUFFLES)]
    usual = torch.tensor([_together(near, labels) for labels in mixed], dtype=torch.float64)
    excess = (_together(near, own) - float(usual.mean())) / max(float(usual.std()), 1e-9)
    if ndtr(-excess) >= RARE:
        return None
    return "their images differ from the trusted ones also where nothing is flagged"


def _some(images: Tensor) -> Tensor:
    flat = images.flatten(1).double()
    count = min(MOST, len(flat))
    return flat[torch.linspace(0, len(flat) - 1, count).round().long()]


def _neighbours(images: Tensor) -> Tensor:
    """Indices of the nearest others of each of `images` (N, D), (N, k)."""
    distance = torch.cdist(images, images)
    distance.fill_diagonal_(torch.inf)
    return distance.topk(min(NEIGHBOURS, len(images) - 1), largest=False).indices


def _together(near: Tensor, own: Tensor) -> float:
    """Share of the neighbours that are of the same set."""
    return float((own[near] == own[:, None]).double().mean())
