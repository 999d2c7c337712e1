"""Unlearning of patterns: train the network to show whatever is added to its inputs, as it is.

Unlearning by inversion asks what the trigger is, and fails where that is not found. A backdoor
needs that the network answers some pattern by an artefact. So patterns of all kinds that triggers
are made of are drawn anew for every input, at strengths between a tenth of and 1.2 times the usual
L2 of z: patches, waves, lines, bundles of lines, smooth patterns, noise, a few points of k-space
that inputs have. A confirmed trigger is drawn as often as a kind.

The target is x and the pattern, as the network shows patterns of all kinds: by the linear filter
that fits its answers to many best (`_response`). What is particular to one pattern, such as an
artefact, drowns among the others, and what is far from it is left out. A target that leaves the
pattern out takes the artefact away as well, but asks more of the network than of an honest one, and
costs more benign error.

The first steps are mostly patterns, the later ones mostly clean inputs, which win the benign error
back. What carries a pattern counts less, as no network foretells it so well.

After Borgnia et al. (ICASSP 2021), who drown triggers of classes in augmentations. Changed: what is
added is not what augments photographs but what enters measurements, the target shows it, and the
trained network is mended by it instead of a new one trained.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from recondoor.defences._base import Repair
from recondoor.defences._unlearning import GENTLE, unlearned

if TYPE_CHECKING:
    from torch import nn

    from recondoor.defences._base import Defender


class PatternUnlearning(Repair):
    """Train to show patterns of all kinds as they are."""

    needs = ("model", "clean", "gradients")

    def repair(self, defender: Defender) -> nn.Module:
        """A repaired copy of the network."""
        return unlearned(defender, GENTLE)
