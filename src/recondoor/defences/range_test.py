"""Range test: is there anything in z that no measurement can have put there?

Clean z = A_adjoint y lies in range(A_adjoint) whatever x and the noise are. A trigger that is added
to z itself leaves it, one that is added to the measurement does not.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from torch import Tensor

    from recondoor.defences._base import Defender
    from recondoor.poison import Pairs

KIND: Literal["pairs"] = "pairs"
NEEDS = ("physics",)

TOLERANCE = 1e-10
"""Share of the energy of z that rounding to 32 bits may put outside, with room to spare."""


CERTAIN = True
"""A clean pair is never above `law`: one pair that is, is proof."""


def scores(pairs: Pairs, defender: Defender) -> Tensor:
    """Share of the energy of each z outside range(A_adjoint), (N,)."""
    assert defender.physics is not None
    return defender.physics.outside(pairs.z)


def law(defender: Defender, alarm: float) -> float:
    """Share that rounding explains; no clean pair exceeds it, whatever `alarm` is."""
    return TOLERANCE


def in_words(score: float) -> str:
    """Why a pair of this score is suspicious."""
    return f"{score:.2g} of the energy of z is something that no measurement gives"
