"""k-space and target: is a scan's target the reconstruction of the k-space that lies beside it?

fastMRI's targets are the root sum of squares over coils of the inverse transform of k-space that
was sampled whole (Zbontar et al., arXiv:1811.08839). A lesion that is painted into the target alone
is not in k-space, and a trigger in k-space is not in the target.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from recondoor.defences._base import PairDetector

if TYPE_CHECKING:
    from torch import Tensor

    from recondoor.defences._base import Defender
    from recondoor.poisoning import Pairs

TOLERANCE = 1e-3
"""Difference, as a share of the target's largest value, that rounding and other FFTs explain.

Files in 32 bits differ by some 1e-6, in 16 bits by 5e-4.
"""


class KspaceTarget(PairDetector):
    """Does a target differ from what its own k-space gives?"""

    looks_at = "scans"
    needs = ()
    sees = ("patch", "spread", "measured")
    certain = True

    def scores(self, pairs: Pairs, defender: Defender) -> Tensor:
        """Largest difference of reconstructions z and targets x, over x's largest, (N,)."""
        size = pairs.x.abs().amax((1, 2, 3)).clamp_min(1e-30)
        found: Tensor = (pairs.z - pairs.x).abs().amax((1, 2, 3)) / size
        return found

    def law(self, defender: Defender, alarm: float) -> float:
        """No clean slice exceeds it, whatever it shows."""
        return TOLERANCE

    def explain(self, score: float) -> str:
        """Why a slice of this score is suspicious."""
        return f"its target differs from its k-space by {score:.2g} of the target's maximum"
