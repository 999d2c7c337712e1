"""Do vectors prefer some directions? Noise does not."""

import math

import torch
from scipy.special import chdtrc
from torch import Tensor

RARE = 1e-6
"""Probability at most with which noise is said to have directions."""


def has_directions(unit: Tensor, rank: int) -> bool:
    """Whether unit vectors (N, ...) that span `rank` dimensions are not spread evenly over them.

    The squared cosine of two even ones has mean 1 / rank and variance 2 (rank - 1) / (rank^2 (rank
    + 2)), and those of all couples are uncorrelated. Their sum follows a chi-square law with
    (rank - 1)(rank + 2) / 2 degrees of freedom, up to place and scale (a degenerate U statistic).
    """
    count = len(unit)
    total = float((unit @ unit.T).square().sum()) - count
    couples = count * (count - 1)
    variance = 2 * (rank - 1) / (rank**2 * (rank + 2))
    excess = (total - couples / rank) / 2 / math.sqrt(couples / 2 * variance)
    return _rarity(excess, rank) < RARE


def has_directions_along(unit: Tensor, lines: Tensor) -> bool:
    """The same of unit vectors (N, k * W), each of which only spans `lines` (N, W), 0 or 1."""
    return rarity_along(unit, lines) < RARE


def rarity_along(unit: Tensor, lines: Tensor) -> float:
    """Probability with which noise has squared cosines as large as such vectors have together.

    Of vectors of r and s dimensions that share o of them, the squared cosine has mean o / (r s) and
    second moment 3 o (o + 2) / (r (r + 2) s (s + 2)). Couples with a vector in common are
    correlated by how much of its energy lies where the others look, which follows a Dirichlet law.
    """
    repeated = unit.shape[1] // lines.shape[1]
    own = repeated * lines.sum(1)
    shared, both = repeated * lines @ lines.T, torch.outer(own, own)
    mean = shared / both
    variance = 3 * shared * (shared + 2) / both / torch.outer(own + 2, own + 2) - mean.square()
    parts = lines / own[:, None]
    others = lines * (parts.sum(0) - parts)
    uneven = repeated * others.square().sum(1) - (repeated * others.sum(1)).square() / own
    joint = 2 * uneven / (own * (own + 2))
    apart = (unit @ unit.T).square() - mean
    spread = math.sqrt(_couples(variance) + float(joint.sum()))
    # Masks that share no line say nothing about each other.
    return _rarity(_couples(apart) / spread, float(own.min())) if spread > 0 else 1.0


def _couples(values: Tensor) -> float:
    """Sum over all couples of values (N, N)."""
    return float(values.sum() - values.diagonal().sum()) / 2


def _rarity(excess: float, rank: float) -> float:
    """Probability with which noise of `rank` dimensions has such an `excess`, in its deviations."""
    freedom = (rank - 1) * (rank + 2) / 2
    return float(chdtrc(freedom, max(0.0, freedom + math.sqrt(2 * freedom) * excess)))
