"""Side by side: ask the given network and a mended one, and trust the first where they agree.

Unlearning of patterns takes a backdoor away that nobody has found, and costs benign error. So both
networks are kept. The given one's answer counts, but where the two disagree as they hardly ever do
about a clean input. There the median of the mended one's and of both's to the mirrored input does,
if mirrored images are images like others to them. Only the inputs that fall back pay. So the mended
network may cost more than it could alone, and is asked more than by `pattern-unlearning`.

The limit is a conformal quantile with a margin. A quarter of the clean pairs is kept from the
unlearning, as about those that it saw the two agree too well. A further clean input of the kind of
these exceeds the quantile with a probability of 0.02 at most, or of 1 / (M + 1) where so few, M,
are kept that no rarer rate has one. The limit is twice that, as inputs of another person are of
another kind.

A reject option (Chow, IEEE Transactions on Information Theory 1970) with a second network to fall
back on.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from recondoor.core.errors import ConfigError
from recondoor.defences._base import Repair
from recondoor.defences._side_by_side import SideBySide, beside

if TYPE_CHECKING:
    from torch import nn

    from recondoor.defences._base import Defender


class KeptBeside(Repair):
    """Ask the given network and a mended one, and trust the first where they agree."""

    needs = ("model", "clean", "gradients")

    def repair(self, defender: Defender) -> nn.Module:
        """The given network and a mended one, as one network."""
        assert defender.model is not None
        if isinstance(defender.model, SideBySide):
            raise ConfigError("side-by-side: these are two networks side by side already")
        return beside(defender).train(defender.model.training)
