"""Do vectors prefer some directions? Noise does not."""

import math

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
    freedom = (rank - 1) * (rank + 2) / 2
    return bool(chdtrc(freedom, max(0.0, freedom + math.sqrt(2 * freedom) * excess)) < RARE)
