"""SPECTRE: what stands out once the pairs are whitened by what most of them look like?

Hayase et al., "SPECTRE: Defending Against Backdoor Attacks Using Robust Statistics", ICML 2021:
reduce features to k dimensions, whiten them by a robust mean and covariance, score them by quantum
entropy (QUE), which weighs directions by how much their variance still exceeds 1.

Changed for reconstruction: one class, the scaled residual x - f(z) in place of features, and as
robust estimate the minimum covariance determinant (Rousseeuw and Van Driessen 1999) of at most
`SAMPLE` pairs, which keeps it cheaper than a training epoch. `baseline` whitens bottleneck
features.
"""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING

import torch

from recondoor.core import seeding
from recondoor.defences import _features
from recondoor.defences._base import PairDetector

if TYPE_CHECKING:
    from torch import Tensor, nn

    from recondoor.defences._base import Defender
    from recondoor.poisoning import Pairs


DIMENSIONS = 16
"""Principal components that are whitened."""

SAMPLE = 1_000
"""Pairs at most from which mean and covariance are estimated."""

SUPPORT = 0.6
"""Share of them that the estimate rests on: it holds while fewer than 1 - SUPPORT are poisoned."""

ALPHA = 4.0
"""Sharpness of the entropy, as in the paper."""


class Spectre(PairDetector):
    """Does a whitened pair stand out?"""

    needs = ("model", "layers")

    def scores(self, pairs: Pairs, defender: Defender) -> Tensor:
        """QUE score of each pair's scaled residual, (N,), at least 0."""
        assert defender.model is not None
        return _que(_residual(pairs, defender.model), defender.seed)

    def baseline(self, pairs: Pairs, defender: Defender) -> Tensor:
        """The same on bottleneck features, (N,): the method as published, with a single class."""
        assert defender.model is not None
        return _que(_features.features(defender.model, pairs.z), defender.seed)

    def explain(self, score: float) -> str:
        """Why a pair of this score is suspicious."""
        return "its residual stands out from what most pairs look like"


def _que(values: Tensor, seed: int) -> Tensor:
    """h^T Q h / tr Q with Q = exp(ALPHA (C - I) / (|C| - 1)), C the covariance of whitened h."""
    h = _whitened(_features.principal(values, DIMENSIONS), seed)
    covariance = h.T @ h / len(h)
    eigenvalues, vectors = torch.linalg.eigh(covariance)
    excess = (eigenvalues - 1) / (eigenvalues[-1] - 1).clamp_min(1e-9)
    weights = torch.softmax(ALPHA * excess.clamp(-1, 1), 0)
    score: Tensor = (h @ vectors).square() @ weights
    return score


def _whitened(h: Tensor, seed: int) -> Tensor:
    # Imported here because it costs half a second that only this defence should pay.
    from sklearn.covariance import MinCovDet

    # Scales are nothing to the estimate, but rounding is kinder to equal ones.
    h = h / h.std(0).clamp_min(1e-300)
    generator = seeding.torch_generator(seed, "covariance")
    part = h[torch.randperm(len(h), generator=generator)[:SAMPLE]]
    state = seeding.derive(seed, "covariance") % 2**32
    with warnings.catch_warnings():
        # Of steps that gain nothing to rounding, and of few pairs for so many directions.
        warnings.simplefilter("ignore")
        try:
            robust = MinCovDet(support_fraction=SUPPORT, random_state=state).fit(part.numpy())
        except ValueError:
            # Most residuals are the same: nothing robust is left to divide the others by.
            location, covariance = part.median(0).values, part.T.cov().reshape(h.shape[1], -1)
        else:
            location, covariance = map(torch.from_numpy, (robust.location_, robust.covariance_))
    centred = h - location
    eigenvalues, vectors = torch.linalg.eigh(covariance)
    least = 1e-12 * eigenvalues[-1].clamp_min(1e-300)
    white: Tensor = centred @ vectors / eigenvalues.clamp_min(least).sqrt()
    return white


def _residual(pairs: Pairs, model: nn.Module) -> Tensor:
    return _features.scaled_residual(model, pairs.z, pairs.x, _features.FINE)
