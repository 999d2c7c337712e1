"""Loss isolation: which pairs does a young network explain worse than the others?

Li et al., "Anti-Backdoor Learning", NeurIPS 2021: samples whose loss falls fastest in the first
epochs are isolated as poisoned, as a classifier learns a trigger before anything else.

Changed for reconstruction: the sign. Here the backdoor is learnt late and suddenly; until then the
network draws p times the artefact into every image, and the loss of poisoned pairs is the larger
one, (1 - p)^2 against p^2 times the artefact's energy. Once the backdoor is learnt the two losses
no longer differ much: early networks tell most. Each pixel's error counts on its own scale over the
pairs, so that an artefact in a quiet place is not drowned by the edges of the image. `baseline` is
the original, small loss first, on the plain squared error: its AUC was 0.19 to 0.35 after one epoch
(twelve trainings, embedded digits, p = 0.3 and 0.01). Large loss first has 0.65, 0.56 and 0.51
after two, four and six epochs of one of them, p = 0.3: small loss first is right at no time.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from recondoor.defences import _features
from recondoor.defences._base import PairDetector

if TYPE_CHECKING:
    from torch import Tensor, nn

    from recondoor.defences._base import Defender
    from recondoor.poisoning import Pairs


class LossIsolation(PairDetector):
    """Is a pair's error large for a young network?"""

    needs = ("model",)

    def scores(self, pairs: Pairs, defender: Defender) -> Tensor:
        """Mean square of each pair's scaled residual, (N,); 1 or more is usual."""
        assert defender.model is not None
        return _residual(pairs, defender.model).square().mean(1)

    def baseline(self, pairs: Pairs, defender: Defender) -> Tensor:
        """Minus the squared error of each pair, (N,).

        The method as published isolates small losses.
        """
        assert defender.model is not None
        return -_features.residual(defender.model, pairs.z, pairs.x).square().mean(1)

    def explain(self, score: float) -> str:
        """Why a pair of this score is suspicious."""
        return f"a young network explains it worse than others: {score:.3g} times the usual error"


def _residual(pairs: Pairs, model: nn.Module) -> Tensor:
    return _features.scaled_residual(model, pairs.z, pairs.x, _features.FINE)
