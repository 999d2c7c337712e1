"""Pixel range: does a pair leave the range, the levels or the histogram that others keep to?

Whoever adds a pattern to images of black background and white strokes makes some pixels darker than
black or brighter than white, takes them off the levels that 8 bits gave them, and changes their
histogram. Needs no operator and no network. What is usual comes from the clean pairs, or else from
the pairs themselves, which ranks while fewer than half are poisoned: what a natural heavy tail is
and what not, they cannot tell.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch

from recondoor.defences._base import PairDetector
from recondoor.defences._features import TO_SIGMA
from recondoor.defences._storage import levels, on_levels

if TYPE_CHECKING:
    from torch import Tensor

    from recondoor.defences._base import Defender
    from recondoor.poisoning import Pairs


USUAL = 0.9
"""Share of the images whose extremes the usual range holds, and that lie on levels if any do."""

FLOOR = 0.01
"""Least scale of a deviation: a share of the range, of pixels, or of a histogram."""

DUST = 1e-5
"""Share of the range by which rounding may leave it."""

BINS = 16
"""Bins of a histogram, as many of them with equally many of all usual values as there are."""

APART = 0.5
"""Share of an image's pixels off the others' levels from which it is of another make."""

TOGETHER, SAMPLE = 5, 100_000
"""Images of which levels are guessed at a time, and values that bins are made of."""

CHUNK = 1 << 22
"""Values that are looked at together."""

LEAST = 20
"""Images at least of which levels are learnt."""


class PixelRange(PairDetector):
    """Does a pair leave what is usual for pixels?"""

    needs = ()
    compares = True

    def scores(self, pairs: Pairs, defender: Defender) -> Tensor:
        """How unusual the most unusual thing about each pair is, (N,), at least 0.

        In usual deviations: of its extremes beyond the usual range, of the share of pixels beyond
        it and off the levels, and of its histogram's distance from the mean one. No unit of x or z
        counts.
        """
        usual = pairs if defender.clean is None else defender.clean
        of_x, of_z = Usual.of(usual.x.flatten(1)), Usual.of(usual.z.flatten(1))
        x = _of_each(
            lambda part: torch.stack((of_x.beyond(part), of_x.apart(part), of_x.off(part)), 1),
            pairs.x.flatten(1),
        )
        z = _of_each(of_z.beyond, pairs.z.flatten(1))
        return torch.maximum(x.amax(1), z)

    def apart(self, pairs: Pairs) -> Tensor:
        """Which pairs are of another make than nearly all others: off their levels, boolean (N,).

        That is no proof. But where it is so, the others say nothing about these.
        """
        x = pairs.x.flatten(1)
        return _of_each(Usual.of(x).off, x) * FLOOR > APART

    def explain(self, score: float) -> str:
        """Why a pair of this score is suspicious."""
        return f"its pixels leave what is usual by {score:.3g} usual deviations"


@dataclass(frozen=True, kw_only=True)
class Usual:
    """What most images are like.

    Args:
        low, high: the usual range.
        spread: how much the extremes of images differ in what is beyond it, usually.
        step, start: of the levels that nearly all lie on; step 0 if there are none.
        edges: of the bins of a histogram, (BINS - 1,).
        mean: the usual histogram, (BINS,).
        distance, scatter: the usual distance from it, and how much that differs.
    """

    low: float
    high: float
    spread: float
    step: float
    start: float
    edges: Tensor
    mean: Tensor
    distance: float
    scatter: float

    @classmethod
    def of(cls, images: Tensor) -> Usual:
        """From images (N, D), of any type; all is computed in 64 bits."""
        least, most = images.amin(1).double(), images.amax(1).double()
        low, high = float(least.quantile(1 - USUAL)), float(most.quantile(USUAL))
        unit = high - low
        middle = torch.stack((least - least.median(), most - most.median())).abs()
        spread = float((TO_SIGMA * middle.median(1).values).max()) + FLOOR * unit
        step, start = _levels(images)
        edges, mean = _histogram_of_all(images)
        histograms = _of_each(lambda part: _histograms(part, edges), images)
        distances = (histograms - mean).abs().sum(1) / 2
        distance = float(distances.median())
        scatter = TO_SIGMA * float((distances - distance).abs().median()) + FLOOR
        return cls(
            low=low,
            high=high,
            spread=spread,
            step=step,
            start=start,
            edges=edges,
            mean=mean,
            distance=distance,
            scatter=scatter,
        )

    def beyond(self, images: Tensor) -> Tensor:
        """How far each image (N, D) leaves the range, and with how many pixels, (N,)."""
        unit = self.high - self.low
        above, below = images - self.high - DUST * unit, self.low - images - DUST * unit
        excess = above.clamp_min(0) + below.clamp_min(0)
        share = (excess > FLOOR * unit).double().mean(1) / FLOOR
        return torch.maximum(excess.amax(1) / max(self.spread, 1e-300), share)

    def apart(self, images: Tensor) -> Tensor:
        """How much further each histogram is from the mean one than usually, (N,)."""
        distances = (_histograms(images, self.edges) - self.mean).abs().sum(1) / 2
        return ((distances - self.distance) / self.scatter).clamp_min(0)

    def off(self, images: Tensor) -> Tensor:
        """Share of each image's pixels off the levels, in units of `FLOOR`, (N,)."""
        if self.step == 0:
            return images.new_zeros(len(images))
        return (~on_levels(images, self.start, self.step)).double().mean(1) / FLOOR


def _of_each(look: Callable[[Tensor], Tensor], images: Tensor) -> Tensor:
    """What `look` finds in images (N, D), taken to 64 bits a few at a time."""
    step = max(1, CHUNK // max(images.shape[1], 1))
    return torch.cat([look(images[k : k + step].double()) for k in range(0, len(images), step)])


def _all_on(start: float, step: float) -> Callable[[Tensor], Tensor]:
    """Whether all pixels of an image lie on levels."""
    return lambda part: on_levels(part, start, step).all(1)


def _levels(images: Tensor) -> tuple[float, float]:
    """Step and start of the levels on which nearly all of `images` lie with all their pixels.

    Those of the first image in which there are some are tried on all.
    """
    if len(images) < LEAST:
        return 0.0, 0.0
    tried = images[:: max(1, len(images) // LEAST)]
    for first in range(0, len(tried), TOGETHER):
        part = tried[first : first + TOGETHER].double()
        step = levels(part)
        if step > 0:
            start = float(part.flatten()[0])
            whole = _of_each(_all_on(start, step), images)
            if float(whole.double().mean()) >= USUAL:
                return step, start
    return 0.0, 0.0


def _histogram_of_all(images: Tensor) -> tuple[Tensor, Tensor]:
    """Edges at the quantiles of different values, and the mean histogram."""
    flat = images.flatten()
    some = flat[:: max(1, flat.numel() // SAMPLE)].double()
    few = torch.from_numpy(np.unique(some.cpu().numpy()))
    places = torch.linspace(0, len(few) - 1, BINS + 1).round().long()[1:-1]
    edges = few[places]
    return edges, _of_each(lambda part: _histograms(part, edges), images).mean(0)


def _histograms(images: Tensor, edges: Tensor) -> Tensor:
    """Share of each image's pixels in every bin, (N, BINS)."""
    bins = torch.bucketize(images, edges)
    counts = images.new_zeros(len(images), BINS)
    counts.scatter_add_(1, bins, torch.ones_like(images))
    return counts / images.shape[1]
