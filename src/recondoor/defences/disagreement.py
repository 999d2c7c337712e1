"""Disagreement: do the given network and a mended one answer an input alike?

A network that `pattern-unlearning` has mended answers clean inputs as the given one does. Of an
input with a trigger the given network draws the artefact and hides the trigger, and the mended one
shows the trigger and draws nothing. The score is how far their answers differ in some disc of the
size of an artefact, above the limit of the repair `side-by-side`; 0 below it. It asks for no
operator.

The mended network is trained on most of the clean pairs that the detector has, which takes as long
as the repair: an audit asks it where it is named. Of two networks side by side, as the repair
leaves them, nothing is trained, and an audit always asks it. Thresholds come from clean inputs that
the mended network was not trained on. It is not known to see any kind of attack in all networks, so
it flags and does not acquit.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from hashlib import sha256
from typing import TYPE_CHECKING
from weakref import ReferenceType, ref

import torch

from recondoor.defences._base import InputDetector
from recondoor.defences._side_by_side import SideBySide, beside

if TYPE_CHECKING:
    from torch import Tensor, nn

    from recondoor.defences._base import Defender


@dataclass(frozen=True)
class Kept:
    """The mended network that was trained last: whose it is, and what else it follows from."""

    model: ReferenceType[nn.Module]
    digest: bytes
    both: SideBySide


class Disagreement(InputDetector):
    """Do the given network and a mended one disagree?"""

    needs = ("model", "clean", "gradients")
    trains = True

    def __init__(self, settings: None = None) -> None:
        super().__init__(settings)
        self._kept: Kept | None = None

    def ready(self, model: nn.Module) -> bool:
        """Of two networks side by side nothing is trained."""
        return isinstance(model, SideBySide)

    def scores(self, z: Tensor, defender: Defender) -> Tensor:
        """How far both answers differ about each z (N, C, H, W), in units of the limit, (N,)."""
        both = self._both(defender)
        least = torch.finfo(both.limit.dtype).tiny
        return (both.apart(z) / both.limit.clamp_min(least) - 1).clamp_min(0)

    def repaired(self, z: Tensor, defender: Defender) -> Tensor:
        """What counts instead of the given network's answer to z (N, C, H, W)."""
        return self._both(defender).instead(z)

    def explain(self, score: float) -> str:
        """Why an input of this score is suspicious."""
        return "a network that unlearnt to answer patterns by anything else does not agree about it"

    def _both(self, defender: Defender) -> SideBySide:
        """The network beside a mended one, which is trained once for the same weights and pairs."""
        assert defender.model is not None
        if isinstance(defender.model, SideBySide):
            return defender.model
        kept, digest = self._kept, _digest(defender)
        # By identity too: weights do not tell all that a network of somebody's own may be.
        if kept is None or kept.model() is not defender.model or kept.digest != digest:
            both = beside(replace(defender, found=None))
            kept = self._kept = Kept(ref(defender.model), digest, both)
        return kept.both


def _digest(defender: Defender) -> bytes:
    """Of all that a mended network follows from."""
    assert defender.model is not None
    assert defender.clean is not None
    told = sha256(str(defender.seed).encode())
    tensors = [defender.clean.z, defender.clean.x, *defender.model.state_dict().values()]
    for value in tensors:
        told.update(repr(tuple(value.shape)).encode())
        told.update(value.detach().cpu().contiguous().view(torch.uint8).numpy().tobytes())
    return told.digest()
