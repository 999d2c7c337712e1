"""What a defender has, and the one way in which a score becomes a verdict."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal, Protocol, get_args

import torch
from torch import Tensor

from recondoor.errors import ConfigError
from recondoor.progress import NO_PROGRESS, Progress

if TYPE_CHECKING:
    from torch import nn

    from recondoor.defences._physics import Physics
    from recondoor.poisoning import Pairs

Kind = Literal["pairs", "input", "model", "repair"]
"""What is looked at: training pairs, inputs of a trained network, a network; or mended."""


Attack = Literal["patch", "spread", "measured", "consistent"]

ATTACKS: tuple[Attack, ...] = get_args(Attack)
"""Kinds of attack that a detector may be known to see.

patch: a trigger at one place of z; spread: one all over z; measured: one that enters by the
measurement; consistent: trigger and artefact agree with the measurement (docs/limits.md).

A detector of established power says so itself: `SEES` names the kinds, and `blind(given, defender)`
says why it sees none of them here, or None. Only such a detector can make a verdict clean.
"""


@dataclass(frozen=True)
class Defender:
    """What the defender has. None: it has none of it, and a defence that needs it does not apply.

    Args:
        clean: trusted clean pairs, never any that are looked at; thresholds come from them.
        physics: the measurement operator, taken apart.
        model: the network that is looked at, or one trained on the pairs that are.
        references: networks known to be clean, of the same make as `model`.
        seed: root seed of whatever is drawn.
        progress: where to tell about the work.
    """

    clean: Pairs | None = None
    physics: Physics | None = None
    model: nn.Module | None = None
    references: tuple[nn.Module, ...] = ()
    seed: int = 0
    progress: Progress = NO_PROGRESS


@dataclass(frozen=True)
class Finding:
    """A network under suspicion: how much, and the backdoor that was recovered.

    Args:
        score: the higher, the more suspicious.
        trigger: recovered delta, (C, H, W).
        artefact: what it makes the network add on average, (C, H, W).
        counts: 1 where the answer counts, 0 near the trigger, (C, H, W): an honest network answers
            there too.
    """

    score: float
    trigger: Tensor
    artefact: Tensor
    counts: Tensor


class Scores(Protocol):
    """How a defence of kind "pairs" looks at them."""

    def __call__(self, pairs: Pairs, defender: Defender) -> Tensor:
        """Score of each pair, (N,): the higher, the more suspicious."""


def pooled(scores: Scores, pairs: Pairs, defender: Defender) -> tuple[Tensor, Tensor]:
    """Scores (N,) of `pairs` and (M,) of the defender's clean pairs, found together.

    Directions, clusters and scales are fitted to all of them, no matter which is which. So the
    scores of clean pairs among `pairs` are exchangeable with those that the threshold is made of
    (transductive conformal prediction), which they would not be if `pairs` alone were fitted.

    Raises:
        ConfigError: the defender has no clean pairs.
    """
    clean = defender.clean
    if clean is None or len(clean) == 0:
        raise ConfigError("no clean pairs given; a threshold from clean scores needs some")
    both = replace(pairs, z=torch.cat((pairs.z, clean.z)), x=torch.cat((pairs.x, clean.x)))
    found = scores(both, defender)
    return found[: len(pairs)], found[len(pairs) :]


def threshold(clean: Tensor, alarm: float) -> float:
    """Score above which at most a share `alarm` of clean ones lies, from scores (N,) of clean ones.

    The conformal quantile, the ceil((N + 1)(1 - alarm))-th smallest: a further clean score,
    exchangeable with these, is above it with probability at most `alarm`, whatever the scores'
    law (Vovk, Gammerman and Shafer 2005, "Algorithmic Learning in a Random World", chapter 2).

    Raises:
        ConfigError: `alarm` is outside (0, 1), or N is below 1 / alarm - 1.
    """
    return float(torch.sort(clean.double()).values[rank(len(clean), alarm) - 1])


def rank(count: int, alarm: float) -> int:
    """Which of `count` clean scores, counted from the smallest, is the threshold: 1, 2, ...

    Raises:
        ConfigError: as `threshold`.
    """
    if not 0 < alarm < 1:
        raise ConfigError(f"alarm: {alarm} given; expected a share between 0 and 1")
    place = math.ceil((count + 1) * (1 - alarm) - 1e-9)
    if place > count:
        raise ConfigError(
            f"{count} clean scores given, too few for a false-alarm rate of {alarm:g}; give "
            f"{math.ceil(1 / alarm - 1 - 1e-9)} or more, or allow more false alarms"
        )
    return place
