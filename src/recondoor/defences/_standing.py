"""Do some pairs stand apart from all others, or from the other half?

Random signs make a test ignore a pattern whose own sign changes from pair to pair. What is left of
it is size: pairs with the pattern have large cosines, of both signs, and all others have those of
noise. What images leave in residuals is in all pairs, in some more than in others: it makes the
bulk of the sizes wide, not a few of them large.

A pattern in half of the pairs makes no few of them large either. The mean takes half of it, and the
other half is left in all of them, with two signs. So the pairs are two groups along it.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

LOW, MIDDLE = 0.1, 0.5
"""Quantiles of the sizes that the law of clean ones is read off: below half, where poison is not.

Poison has the larger ones, of fewer than half of the pairs.
"""

FEWEST = 4
"""Pairs at least that stand apart: two or three may be scans of one object."""

OPEN = 0.5
"""Share of the pairs, at least, that a sum is divided by: a mean of few cosines is no mean."""

TWO = 1.5
"""Kurtosis below which what pairs have of their chief direction comes in two sizes.

Of clean CT of two people it was 1.59 and more, behind a dense matrix 1.53, and of other clean
pipelines of the design half 2.4; fifty normal values have less than 1.95 with a probability of
0.01.
"""

LEAST = 1e-3
"""Slope of the law, in the median, that is never fallen short of."""


def log_p_apart(size: Tensor, edges: Tensor) -> float:
    """Logarithm of a p value for k pairs of large sizes, over all k up to half of the pairs.

    `size` (N,) are sums of absolute cubed cosines, of so many `edges` (N,). The root of their mean
    is taken for exponential above its median, with the slope that it has below: k of N values are
    beyond a place of probability q with probability C(N, k) q^k at most. That law is not proved. It
    asks more than noise does, whose sizes fall off faster. Pairs without residuals do not count.
    """
    shown = size > 0
    count = int(shown.sum())
    if count < 2 * FEWEST:
        return 0.0
    mean = size[shown] / edges[shown].clamp_min(OPEN * count)
    root = mean.double().pow(1 / 3).sort(descending=True).values
    low, middle = torch.quantile(root, torch.tensor([LOW, MIDDLE], dtype=torch.float64))
    slope = (middle - low) / math.log((1 - LOW) / (1 - MIDDLE))
    k = torch.arange(FEWEST, count // 2 + 1, dtype=torch.float64)
    far = (root[FEWEST - 1 : count // 2] - middle).clamp_min(0) / slope.clamp_min(LEAST * middle)
    ways = math.lgamma(count + 1) - torch.lgamma(k + 1) - torch.lgamma(count - k + 1)
    return min(0.0, float((ways + k * (math.log(1 - MIDDLE) - far) + math.log(len(k))).min()))


ROUNDS = 15
"""Steps of the power method: what two groups have in common leads by far."""


def kurtosis_along(rows: Tensor) -> float:
    """Fourth moment over the squared second one of what rows (N, D) have of their chief direction.

    Noise has 3, a direction of which all rows have equally much in two signs has 1, and a uniform
    law has 1.8. Rows without residuals do not count.
    """
    some = rows[rows.any(1)]
    if len(some) < 2 * FEWEST:
        return 3.0
    along = torch.randn(len(some), generator=torch.Generator().manual_seed(0)).to(rows)
    for _ in range(ROUNDS):
        along = some @ (along @ some)
        along -= along.mean()
        along /= along.norm().clamp_min(1e-30)
    values = along.double()
    return float(len(values) * values.pow(4).sum() / values.square().sum().square())
