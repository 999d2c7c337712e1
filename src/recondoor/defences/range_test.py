"""Range test: is there anything in z that no measurement can have put there?

Clean z = A_adjoint y lies in range(A_adjoint) whatever x and the noise are. A trigger that is added
to z itself leaves it, one that is added to the measurement does not.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from recondoor.defences._base import PairDetector

if TYPE_CHECKING:
    from torch import Tensor

    from recondoor.defences._base import Defender
    from recondoor.poisoning import Pairs


class RangeTest(PairDetector):
    """Is a part of z outside range(A_adjoint)?"""

    needs = ("physics",)
    sees = ("patch", "spread")
    certain = True

    def scores(self, pairs: Pairs, defender: Defender) -> Tensor:
        """Share of the energy of each z that its image's measurement cannot have made, (N,)."""
        assert defender.physics is not None
        return defender.physics.outside(pairs.z, pairs.x.flatten(1).double().norm(dim=1))

    def law(self, defender: Defender, alarm: float) -> float:
        """Nothing: what rounding and noise explain does not count, and no clean pair exceeds it."""
        return 0.0

    def blind(self, pairs: Pairs, defender: Defender) -> str | None:
        """Why nothing can be seen here: nothing is outside of all of space."""
        assert defender.physics is not None
        if not defender.physics.knows_range:
            return "what the operator leaves out is not known of such images or inputs"
        return (
            "the operator measures everything, so that any z can be"
            if defender.physics.whole
            else None
        )

    def explain(self, score: float) -> str:
        """Why a pair of this score is suspicious."""
        return f"{score:.2g} of the energy of z is something that no measurement gives"
