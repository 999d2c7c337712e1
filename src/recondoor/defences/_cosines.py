"""Do pairs share a pattern? Cosines of their whitened residuals, and three tests of them.

Residuals of clean pairs are noise, whose cosines have both signs. A pattern that some pairs share
makes theirs large. Edges between the images that are most alike are left out, as alike anatomy
leaves alike residuals.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from scipy.special import gammaln
from torch import Tensor
from torch.nn import functional

ALIKE = 0.25
"""Share of the edges, those between the most similar images, that are left out."""

SIDE = 64
"""Rows and columns at most of the images whose likeness counts: it is one of coarse structure."""

BLOCK = 1 << 23
"""Cosines at a time."""

TAIL, SAFE = 0.02, 1.25
"""Share of the edges that their tail is fitted to, and a factor on its slope."""

CLIQUE, NEIGHBOURS = 8, 8
"""Pairs at most of a clique, and neighbours of an anchor that must agree among themselves."""


@dataclass(frozen=True)
class Edges:
    """Whitened residuals and what says which images are alike.

    Args:
        rows: residuals of L2 1, (N, D).
        likes: coarse images, centred and of L2 1, (N, d).
        limit: likeness from which an edge is left out.
    """

    rows: Tensor
    likes: Tensor
    limit: float

    @classmethod
    def of(cls, rows: Tensor, x: Tensor, chosen: Tensor) -> Edges:
        """Of residuals and images x (N, C, H, W); the limit is that of those `chosen`."""
        likes = _likes(x)
        some = likes[chosen]
        alike = (some @ some.T)[_upper(len(some))]
        limit = _quantile(alike, 1 - ALIKE) if len(alike) else math.inf
        return cls(rows, likes, limit)

    def among(self, chosen: Tensor) -> Tensor:
        """Cosines (n, n) of some, 0 where they are left out and on the diagonal."""
        whole = len(chosen) == len(self.rows)
        rows = self.rows if whole else self.rows[chosen]
        likes = self.likes if whole else self.likes[chosen]
        found = rows @ rows.T
        found[likes @ likes.T >= self.limit] = 0
        return found.fill_diagonal_(0)

    def blocks(self) -> Iterator[tuple[slice, Tensor]]:
        """Parts of the pairs with their cosines (n, N), as `among`."""
        count = len(self.rows)
        step = max(1, BLOCK // count)
        for start in range(0, count, step):
            part = slice(start, min(start + step, count))
            found = self.rows[part] @ self.rows.T
            found[self.likes[part] @ self.likes.T >= self.limit] = 0
            found[torch.arange(len(found)), torch.arange(part.start, part.stop)] = 0
            yield part, found

    def agreement(self, near: Tensor) -> Tensor:
        """Cosines among the neighbours `near` (n, k) of each anchor, (n, k, k)."""
        rows, likes = self.rows[near], self.likes[near]
        found = rows @ rows.transpose(1, 2)
        found[likes @ likes.transpose(1, 2) >= self.limit] = 0
        return found


@dataclass(frozen=True)
class Strength:
    """What the tests look at, of each pair.

    Args:
        signed: sum of its cubed cosines, (N,).
        size: sum of their absolute values, (N,).
        chance: the largest signed sum when pairs get random signs, (draws,).
        near: its largest cosines, (N, CLIQUE - 1), the largest first.
        agreed: cosine that half of the edges among its strongest neighbours reach, (N,).
    """

    signed: Tensor
    size: Tensor
    chance: Tensor
    near: Tensor
    agreed: Tensor


def strength_of(edges: Edges, signs: Tensor) -> Strength:
    """Of all pairs, in blocks; `signs` are random, +1 or -1, (N, draws)."""
    parts = []
    for part, cosines in edges.blocks():
        neighbours = cosines.abs().topk(min(NEIGHBOURS, len(edges.rows) - 1), dim=1).indices
        inner = torch.cat([edges.agreement(few) for few in neighbours.split(_anchors(edges))])
        parts.append(_strength(cosines, signs, signs[part], neighbours, inner))
    return Strength(
        torch.cat([each.signed for each in parts]),
        torch.cat([each.size for each in parts]),
        torch.stack([each.chance for each in parts]).amax(0),
        torch.cat([each.near for each in parts]),
        torch.cat([each.agreed for each in parts]),
    )


def strength_among(cosines: Tensor, signs: Tensor) -> Strength:
    """The same of cosines (n, n) that are all there."""
    neighbours = cosines.abs().topk(min(NEIGHBOURS, len(cosines) - 1), dim=1).indices
    inner = cosines[neighbours[:, :, None], neighbours[:, None, :]]
    return _strength(cosines, signs, signs, neighbours, inner)


def _anchors(edges: Edges) -> int:
    return max(1, BLOCK // (NEIGHBOURS * edges.rows.shape[1]))


def _strength(
    cosines: Tensor, signs: Tensor, own: Tensor, neighbours: Tensor, inner: Tensor
) -> Strength:
    cubes = cosines * cosines.square()
    near = cosines.topk(min(CLIQUE - 1, cosines.shape[1] - 1), dim=1).values
    towards = cosines.gather(1, neighbours).sign()
    inner = inner * towards[:, :, None] * towards[:, None, :]
    k = neighbours.shape[1]
    first, second = torch.triu_indices(k, k, 1)
    ordered = inner[:, first, second].sort(1, descending=True).values
    agreed = ordered[:, max(len(first) // 2 - 1, 0)] if len(first) else cosines.new_zeros(len(inner))
    chance = (own * (cubes @ signs)).amax(0)
    return Strength(cubes.sum(1), cubes.abs().sum(1), chance, near, agreed)


@dataclass(frozen=True)
class Tail:
    """Law of the edges: beyond `start` a share `rate` of them falls off exponentially, by `slope`.

    Below `start` it is that of the edges found, `bulk`, sorted.
    """

    start: float
    slope: float
    rate: float
    bulk: Tensor

    def log_beyond(self, cosines: Tensor) -> Tensor:
        """Logarithm of the share of edges beyond these."""
        far = math.log(self.rate) - (cosines - self.start).clamp_min(0) / self.slope
        above = len(self.bulk) - torch.searchsorted(self.bulk, cosines.contiguous())
        near = (above / len(self.bulk)).clamp_min(self.rate).log()
        return torch.where(cosines > self.start, far, near)


def tail_of(cosines: Tensor, values: int, either: bool = False) -> Tail:
    """Of the upper edges of cosines (n, n): the heavier of both sides, without the very largest.

    Of their absolute values, and of those only that were not left out, for `either` sign. `values`
    is the dimension of the residuals: white noise has no lighter tail.
    """
    edges = cosines[_upper(len(cosines))]
    skipped = CLIQUE * (CLIQUE - 1) // 2
    edges = edges[edges != 0].abs() if either else edges
    if len(edges) == 0:
        return Tail(0.0, 1.0, 1.0, torch.zeros(1))
    count = max(min(30, len(edges)), int(TAIL * len(edges)))
    sides = [_excess(edges, count, min(int(0.3 * count), skipped))]
    if not either:
        sides.append(_excess(-edges, count, 0))
    deviation = 1 / math.sqrt(values)
    start = max(2 * deviation, *(side[0] for side in sides))
    slope = SAFE * max(0.4 * deviation, *(side[1] for side in sides))
    return Tail(start, slope, count / len(edges), edges.sort().values)


def _excess(edges: Tensor, count: int, skipped: int) -> tuple[float, float]:
    if len(edges) <= count or count == 0:
        return 0.0, 0.0
    top = edges.topk(count).values
    return float(top[-1]), float((top[skipped:] - top[-1]).mean())


def log_p_signs(found: Strength) -> float:
    """Random signs: a pattern has one sign in all pairs, nuisances have both."""
    most = float(found.signed.max())
    reached = int((found.chance >= most * (1 - 1e-5)).sum())
    return math.log((1 + reached) / (1 + len(found.chance)))


def log_p_few(found: Strength, tail: Tail) -> float:
    """Few pairs: an anchor with k - 1 large cosines, k at most `CLIQUE`; over all such cliques."""
    count, best = len(found.near), 0.0
    for k in range(3, found.near.shape[1] + 2):
        weakest = found.near[:, k - 2]
        ways = gammaln(count + 1) - gammaln(k + 1) - gammaln(count - k + 1) + math.log(k)
        beyond = float(((k - 1) * tail.log_beyond(weakest)).min())
        best = min(best, beyond + float(ways) + math.log(CLIQUE - 2))
    return best


def log_p_agreement(found: Strength, tail: Tail) -> float:
    """Any signs: half of the edges among an anchor's strongest neighbours, its star left out."""
    count = len(found.agreed)
    edges = NEIGHBOURS * (NEIGHBOURS - 1) // 2
    half = edges // 2
    if found.near.shape[1] < CLIQUE - 1:
        return 0.0
    # Half of the cosines of one size have the other sign.
    beyond = tail.log_beyond(found.agreed.clamp_min(0)) - math.log(2)
    beyond[found.agreed <= 0] = 0
    ways = gammaln(edges + 1) - gammaln(half + 1) - gammaln(edges - half + 1)
    return min(0.0, float((half * beyond).min()) + float(ways) + math.log(count))


def _likes(x: Tensor) -> Tensor:
    """Coarse images less their mean, of L2 1, (N, d)."""
    side = (min(SIDE, x.shape[2]), min(SIDE, x.shape[3]))
    step = max(1, BLOCK // x[0].numel())
    coarse = [functional.adaptive_avg_pool2d(part, side).flatten(1) for part in x.split(step)]
    found = torch.cat(coarse)
    found = found / max(float(found.std(correction=0)), 1e-30)
    found = found - found.mean(0)
    return found / found.norm(dim=1, keepdim=True).clamp_min(1e-30)


def _upper(count: int) -> Tensor:
    return torch.ones(count, count, dtype=torch.bool).triu(1)


def _quantile(values: Tensor, share: float) -> float:
    """As `torch.quantile`, which takes no more than 16 million values."""
    place = share * (len(values) - 1)
    ordered = values.sort().values
    low = float(ordered[int(place)])
    return low + (place - int(place)) * (float(ordered[math.ceil(place)]) - low)
