"""Activation clustering: do the pairs fall into two groups, and which pairs are in the smaller?

Chen et al., "Detecting Backdoor Attacks on Deep Neural Networks by Activation Clustering", SafeAI
2019 (arXiv 2018): the activations of one class, reduced to 10 dimensions, are split by 2-means;
poisoned samples are the smaller cluster, if the silhouette says that there are two.

Changed for reconstruction: there are no classes; we cluster the scaled residual x - f(z), in which
the artefact splits the pairs, and reduce by principal components. A pair's score is how much nearer
it is to the smaller cluster, which is its silhouette with distances to centres, times the mean of
these, which is near 1 only where there are two clusters. `baseline` clusters bottleneck features.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

from recondoor.core import seeding
from recondoor.defences import _features
from recondoor.defences._base import PairDetector

if TYPE_CHECKING:
    from torch import Tensor, nn

    from recondoor.defences._base import Defender
    from recondoor.poisoning import Pairs


DIMENSIONS = 10
"""Principal components that are clustered, as many as in the paper."""

STARTS = 10
"""Starts of 2-means, of which the best is kept."""


class ActivationClustering(PairDetector):
    """Is a pair in the smaller of two clusters?"""

    needs = ("model", "layers")

    def scores(self, pairs: Pairs, defender: Defender) -> Tensor:
        """Silhouette towards the smaller cluster of scaled residuals, (N,), in [-1, 1]."""
        assert defender.model is not None
        return _towards(_residual(pairs, defender.model), defender.seed)

    def baseline(self, pairs: Pairs, defender: Defender) -> Tensor:
        """The same on bottleneck features, (N,): the method as published, with a single class."""
        assert defender.model is not None
        return _towards(_features.features(defender.model, pairs.z), defender.seed)

    def explain(self, score: float) -> str:
        """Why a pair of this score is suspicious."""
        return "its residual belongs to the smaller of two groups of pairs"


def _towards(values: Tensor, seed: int) -> Tensor:
    # Imported here because it costs half a second that only this defence should pay.
    from sklearn.cluster import KMeans

    reduced = _features.principal(values, DIMENSIONS).numpy()
    if len(np.unique(reduced, axis=0)) < 2:
        return torch.zeros(len(values), dtype=torch.float64)
    state = seeding.derive(seed, "clusters") % 2**32
    found = KMeans(2, n_init=STARTS, random_state=state).fit(reduced)
    distance = found.transform(reduced)
    small = int(np.bincount(found.labels_, minlength=2).argmin())
    nearer = distance[:, 1 - small] - distance[:, small]
    silhouette = nearer / distance.max(1).clip(np.finfo(float).tiny)
    return torch.from_numpy(silhouette * np.abs(silhouette).mean())


def _residual(pairs: Pairs, model: nn.Module) -> Tensor:
    return _features.scaled_residual(model, pairs.z, pairs.x, _features.COARSE)
