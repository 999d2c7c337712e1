"""Do pairs share a pattern? Cosines of their whitened residuals, and two tests of them.

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

BULK = 10_000
"""Edges at least, where there are more, that their law below the tail is read off."""

HALF = 0.5
"""Factor on what Gumbel's law adds to the logarithm of a p value."""

EULER = 0.5772156649015329
"""Mean of Gumbel's law."""

CLIQUE = 8
"""Pairs at most of a clique."""


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


@dataclass(frozen=True)
class Strength:
    """What the tests look at, of each pair.

    Args:
        signed: sum of its cubed cosines, (N,).
        size: sum of their absolute values, (N,).
        edges: how many of them there are, (N,).
        chance: the largest signed sum when pairs get random signs, (draws,).
        near: its largest cosines, (N, CLIQUE - 1), the largest first.
        against: the same of the cosines with the other sign.
    """

    signed: Tensor
    size: Tensor
    edges: Tensor
    chance: Tensor
    near: Tensor
    against: Tensor


def strength_of(edges: Edges, signs: Tensor) -> Strength:
    """Of all pairs, in blocks; `signs` are random, +1 or -1, (N, draws)."""
    parts = [_strength(cosines, signs, signs[part]) for part, cosines in edges.blocks()]
    return Strength(
        torch.cat([each.signed for each in parts]),
        torch.cat([each.size for each in parts]),
        torch.cat([each.edges for each in parts]),
        torch.stack([each.chance for each in parts]).amax(0),
        torch.cat([each.near for each in parts]),
        torch.cat([each.against for each in parts]),
    )


def strength_among(cosines: Tensor, signs: Tensor) -> Strength:
    """The same of cosines (n, n) that are all there."""
    return _strength(cosines, signs, signs)


def _strength(cosines: Tensor, signs: Tensor, own: Tensor) -> Strength:
    cubes = cosines * cosines.square()
    chance = (own * (cubes @ signs)).amax(0)
    signed, size = (each.sum(1, dtype=torch.float64) for each in (cubes, cubes.abs()))
    edges = torch.count_nonzero(cosines, dim=1)
    return Strength(signed, size, edges, chance, largest(cosines), largest(cosines.neg()))


def largest(cosines: Tensor) -> Tensor:
    """Of each row, the first being the largest, (n, CLIQUE - 1)."""
    return cosines.topk(min(CLIQUE - 1, cosines.shape[1] - 1), dim=1).values


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


def tail_of(cosines: Tensor, values: int) -> Tail:
    """Of the upper edges of cosines (n, n): the heavier of both sides, without the very largest.

    `values` is the dimension of the residuals: white noise has no lighter tail.
    """
    edges = cosines[_upper(len(cosines))]
    if len(edges) == 0:
        return Tail(0.0, 1.0, 1.0, torch.zeros(1))
    count = max(min(30, len(edges)), int(TAIL * len(edges)))
    skipped = min(int(0.3 * count), CLIQUE * (CLIQUE - 1) // 2)
    sides = (_excess(edges, count, skipped), _excess(-edges, count, 0))
    deviation = 1 / math.sqrt(values)
    start = max(2 * deviation, *(side[0] for side in sides))
    slope = SAFE * max(0.4 * deviation, *(side[1] for side in sides))
    bulk = edges[:: max(1, len(edges) // BULK)].sort().values
    return Tail(start, slope, count / len(edges), bulk)


def _excess(edges: Tensor, count: int, skipped: int) -> tuple[float, float]:
    if len(edges) <= count or count == 0:
        return 0.0, 0.0
    top = edges.topk(count).values
    return float(top[-1]), float((top[skipped:] - top[-1]).mean())


def log_p_signs(found: Strength) -> float:
    """Random signs: a pattern has one sign in all pairs, nuisances have both.

    Beyond all draws, whose number bounds what they can tell, Gumbel's law for their largest values
    goes on, by moments. It is not proved here, so that it counts half.
    """
    most = float(found.signed.max())
    reached = int((found.chance >= most * (1 - 1e-5)).sum())
    log_p = math.log((1 + reached) / (1 + len(found.chance)))
    if reached:
        return log_p
    scale = float(found.chance.std()) * math.sqrt(6) / math.pi
    middle = float(found.chance.mean()) - EULER * scale
    beyond = -(most - middle) / max(scale, 1e-300)
    return log_p + HALF * min(0.0, beyond - log_p)


def log_p_few(near: Tensor, tail: Tail) -> float:
    """Few pairs: an anchor with k - 1 large cosines, `near` (N, CLIQUE - 1); over all cliques."""
    count, best = len(near), 0.0
    for k in range(3, near.shape[1] + 2):
        ways = gammaln(count + 1) - gammaln(k + 1) - gammaln(count - k + 1) + math.log(k)
        beyond = float(((k - 1) * tail.log_beyond(near[:, k - 2])).min())
        best = min(best, beyond + float(ways) + math.log(CLIQUE - 2))
    return best


def _likes(x: Tensor) -> Tensor:
    """Coarse images of mean 0 and L2 1, less what all have in common, of L2 1, (N, d).

    Each in its own unit: pairs that are normalised by an input with a bright trigger have dim
    images, which are no more alike than others.
    """
    side = (min(SIDE, x.shape[2]), min(SIDE, x.shape[3]))
    step = max(1, BLOCK // x[0].numel())
    parts = (x[start : start + step] for start in range(0, len(x), step))
    coarse = [functional.adaptive_avg_pool2d(part, side).flatten(1) for part in parts]
    found = torch.cat(coarse)
    found = found / max(float(found.std(correction=0)), 1e-30)
    found = _unit(found - found.mean(1, keepdim=True))
    return _unit(found - found.mean(0))


def _unit(rows: Tensor) -> Tensor:
    found: Tensor = rows / rows.norm(dim=1, keepdim=True).clamp_min(1e-30)
    return found


def _upper(count: int) -> Tensor:
    return torch.ones(count, count, dtype=torch.bool).triu(1)


def _quantile(values: Tensor, share: float) -> float:
    """As `torch.quantile`, which takes no more than 16 million values."""
    place = share * (len(values) - 1)
    ordered = values.sort().values
    low = float(ordered[int(place)])
    return low + (place - int(place)) * (float(ordered[math.ceil(place)]) - low)
