"""Side by side: ask the given network and a mended one, and trust the first where they agree.

`pattern-unlearning` takes a backdoor away that nobody has found, and costs benign error. So both
networks are kept. The given one's answer counts, but where the two disagree as they hardly ever do
about a clean input: there the mended one's does. Only the inputs that fall back pay.

The limit is a conformal quantile. A quarter of the clean pairs is kept from the unlearning, and the
limit is the score that a further clean input, of the kind of these, exceeds with a probability of
`ALARM` at most, or of 1 / (M + 1) where so few, M, are kept that no rarer rate has a quantile.
Pairs that the mended network was trained on would not do: there it agrees too well.

A reject option (Chow, IEEE Transactions on Information Theory 1970) with a second network to fall
back on. Of one network, which `pattern-unlearning` alone gives, it would ask for both to be good.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import torch

from recondoor.core import seeding
from recondoor.core.errors import ConfigError
from recondoor.defences._base import Repair, threshold
from recondoor.defences._side_by_side import SideBySide
from recondoor.defences._unlearning import THOROUGH, unlearned
from recondoor.models import copy_of
from recondoor.poisoning import Pairs

if TYPE_CHECKING:
    from torch import nn

    from recondoor.defences._base import Defender

HELD = 0.25
"""Share of the clean pairs that the limit is made of, and that the unlearning does not see."""

ALARM = 0.02
"""Share of clean inputs that may fall back on the mended network."""


class KeptBeside(Repair):
    """Ask the given network and a mended one, and trust the first where they agree."""

    needs = ("model", "clean", "gradients")

    def repair(self, defender: Defender) -> nn.Module:
        """The given network and a mended one, as one network."""
        assert defender.model is not None
        assert defender.clean is not None
        if isinstance(defender.model, SideBySide):
            raise ConfigError("side-by-side: these are two networks side by side already")
        used, held = _split(defender.clean, defender.seed)
        mended = unlearned(replace(defender, clean=used), THOROUGH).eval()
        both = SideBySide.of(copy_of(defender.model), mended, held.z)
        rate = max(ALARM, 1 / (len(held) + 1))
        both.limit.fill_(threshold(both.apart(held.z), rate))
        return both.train(defender.model.training)


def _split(pairs: Pairs, seed: int) -> tuple[Pairs, Pairs]:
    """Pairs to unlearn with, and those that the limit is made of, drawn by the seed."""
    order = torch.randperm(len(pairs), generator=seeding.torch_generator(seed, "side-by-side"))
    kept = max(1, round(HELD * len(pairs)))
    parts = order[kept:], order[:kept]
    used, held = (Pairs(pairs.z[index], pairs.x[index]) for index in parts)
    return used, held
