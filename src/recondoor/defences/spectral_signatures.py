"""Spectral signatures: how far does a pair lie along the direction of largest variance?

Tran, Li and Madry, "Spectral Signatures in Backdoor Attacks", NeurIPS 2018: poisoned samples of one
class stand out along the top singular vector of the class's centred features.

Changed for reconstruction: there are no classes, and the top singular vector of the bottleneck of
all pairs says which image it is. We look at the residual x - f(z) instead, each pixel on its own
scale, so that a few bright strokes are not the largest variance. `baseline` is the original on
bottleneck features, all pairs as one class.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from recondoor.defences import _features
from recondoor.defences._base import PairDetector

if TYPE_CHECKING:
    from torch import Tensor, nn

    from recondoor.defences._base import Defender
    from recondoor.poisoning import Pairs


class SpectralSignatures(PairDetector):
    """Does a pair lie along the top singular vector?"""

    needs = ("model", "layers")

    def scores(self, pairs: Pairs, defender: Defender) -> Tensor:
        """Squared projection of each pair's scaled residual on the top singular vector, (N,)."""
        assert defender.model is not None
        return _signature(_residual(pairs, defender.model))

    def baseline(self, pairs: Pairs, defender: Defender) -> Tensor:
        """The same on bottleneck features, (N,): the method as published, with a single class."""
        assert defender.model is not None
        return _signature(_features.features(defender.model, pairs.z))

    def explain(self, score: float) -> str:
        """Why a pair of this score is suspicious."""
        return "its residual lies along the direction in which the pairs differ most"


def _signature(values: Tensor) -> Tensor:
    return _features.principal(values, 1)[:, 0].square()


def _residual(pairs: Pairs, model: nn.Module) -> Tensor:
    return _features.scaled_residual(model, pairs.z, pairs.x, _features.COARSE)
