"""What a defender has, and the one way in which a score becomes a verdict."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, ClassVar, Literal, Protocol, get_args

import torch
from torch import Tensor

from recondoor.core.errors import ConfigError
from recondoor.core.progress import NO_PROGRESS, Progress
from recondoor.core.registry import PlugIn

if TYPE_CHECKING:
    from torch import nn

    from recondoor.defences._physics import Physics
    from recondoor.operators import LinearOperator
    from recondoor.poisoning import Pairs

Kind = Literal["pairs", "scans", "input", "model", "repair"]
"""What is looked at: training pairs, scans with k-space, inputs of a network, a network; or mended.

Detectors of scans get pairs too: z is the reconstruction of all of k-space, x the target.
"""


Need = Literal["model", "physics", "clean", "gradients", "layers"]
"""What a `Defender` has, and what a network may not have: gradients with respect to z, modules."""


Attack = Literal["patch", "spread", "measured", "consistent"]

VISIBLE = 0.2
"""Share of a trigger's largest pixel above which a pixel belongs to its place."""


ATTACKS: tuple[Attack, ...] = get_args(Attack)
"""Kinds of attack that a detector may be known to see.

patch: a trigger at one place of z; spread: one all over z; measured: one that enters by the
measurement; consistent: trigger and artefact agree with the measurement (docs/limits.md).

A detector of established power says so itself: `sees` names the kinds, and `blind` says why it sees
none of them here. Only such a detector can make a verdict clean.
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
        found: the backdoor that is to be undone, where a detector has confirmed one.
        operator: the measurement operator as it was given, of float64.
    """

    clean: Pairs | None = None
    physics: Physics | None = None
    model: nn.Module | None = None
    references: tuple[nn.Module, ...] = ()
    seed: int = 0
    progress: Progress = NO_PROGRESS
    found: Finding | None = None
    operator: LinearOperator | None = None


@dataclass(frozen=True)
class Finding:
    """A network under suspicion: how much, and the backdoor that was recovered.

    Args:
        score: the higher, the more suspicious.
        trigger: recovered delta, (C, H, W); None for a detector that recovers none.
        artefact: what it makes the network add on average, (C, H, W); None without a trigger.
        counts: 1 where the answer counts, 0 near the trigger, (C, H, W), as an honest network
            answers there too; None if it counts everywhere.
        measures: what a detector that compares networks of one make compares, by name.
    """

    score: float
    trigger: Tensor | None = None
    artefact: Tensor | None = None
    counts: Tensor | None = None
    measures: Mapping[str, float] = field(default_factory=dict)

    @property
    def place(self) -> tuple[tuple[int, int], tuple[int, int]] | None:
        """First and last row, and first and last column, of the trigger's pixels that matter."""
        if self.trigger is None or not bool(self.trigger.any()):
            return None
        seen = self.trigger.abs().amax(0)
        rows, columns = torch.nonzero(seen > VISIBLE * seen.max(), as_tuple=True)
        return (int(rows.min()), int(rows.max())), (int(columns.min()), int(columns.max()))

    @property
    def counted(self) -> Tensor | None:
        """The artefact where it counts, (C, H, W)."""
        if self.artefact is None or self.counts is None:
            return self.artefact
        return self.artefact * self.counts


def place_in_words(finding: Finding) -> str:
    """Where the trigger recovered is, as in "rows 3-5, columns 7-9"."""
    if finding.place is None or finding.trigger is None:
        return "no place"
    _, height, width = finding.trigger.shape
    if finding.place == ((0, height - 1), (0, width - 1)):
        return "no one place"
    (top, bottom), (left, right) = finding.place
    return f"rows {top}-{bottom}, columns {left}-{right}"


class Defence(PlugIn):
    """What detectors and repairs share; derive from one of the four classes below.

    Fact: what of a `Defender` it cannot do without, and what of a network besides f(z).
    """

    kind: ClassVar[str] = "defences"
    facts: ClassVar[tuple[str, ...]] = ("needs",)
    looks_at: ClassVar[Kind]
    needs: ClassVar[tuple[Need, ...]]
    sees: ClassVar[tuple[Attack, ...]] = ()
    """Kinds of attack that it is known to see, by proof or by a measurement of such data."""


class Scorer(Defence, ABC):
    """What detectors of pairs and of inputs share: a score for each."""

    certain: ClassVar[bool] = False
    """Whether nothing clean is ever above `law`: what is, is proof."""

    def law(self, defender: Defender, alarm: float) -> float | None:
        """Score that something clean exceeds with probability `alarm`; None if that is not known.

        Of a detector of inputs it counts if that is `certain`.
        """
        return None

    @abstractmethod
    def explain(self, score: float) -> str:
        """Why what has this score is suspicious, as the rest of a sentence."""


class PairDetector(Scorer):
    """Looks at training pairs."""

    looks_at: ClassVar[Kind] = "pairs"
    compares: ClassVar[bool] = False
    """Whether it compares with some clean pairs, so that others give the threshold: see `judge`."""

    @abstractmethod
    def scores(self, pairs: Pairs, defender: Defender) -> Tensor:
        """Score of each pair, (N,): the higher, the more suspicious."""

    def baseline(self, pairs: Pairs, defender: Defender) -> Tensor | None:
        """Scores by the method as published, (N,); None if they are the same."""
        return None

    def blind(self, pairs: Pairs, defender: Defender) -> str | None:
        """Why nothing of what it `sees` can be seen in these pairs; None if it can."""
        return None

    def rate(self, scores: Tensor, defender: Defender, alarm: float) -> float:
        """Probability at most with which a clean pair of these scores exceeds `law` at `alarm`.

        More than `alarm` where the pairs do not follow the law closely enough to tell.
        """
        return alarm

    def apart(self, pairs: Pairs) -> Tensor | None:
        """Which pairs are of another make than nearly all others, boolean (N,)."""
        return None


@dataclass(frozen=True)
class Power:
    """What a test of all pairs would have seen: discs that it planted in the pairs themselves.

    Args:
        contrast: height of the disc, as a share of each target's range.
        share: share of the pairs that got it.
        found: share of the trials in which it was seen.
        alike: the same where only pairs of alike images got it.
        smallest: smallest contrast that was seen often enough; None if none was.
    """

    contrast: float
    share: float
    found: float
    alike: float
    smallest: float | None


@dataclass(frozen=True)
class SetFinding:
    """What a test of all pairs together found.

    Args:
        scores: of each pair, (N,): the higher, the more suspicious.
        threshold: score above which a pair carries what was found; the largest if nothing was.
        p_value: probability of as much in clean pairs; None if the test abstains.
        level: p value up to which the pairs are suspicious.
        lacking: why silence says nothing here, or why the test abstains; None if it says something.
        power: what would have been seen; None if that was not tried.
        pattern: what suspicious pairs share, (C, H, W), in units of z; None if nothing was found.
        notes: what was assumed.
    """

    scores: Tensor
    threshold: float
    p_value: float | None
    level: float
    lacking: str | None = None
    power: Power | None = None
    pattern: Tensor | None = None
    notes: tuple[str, ...] = ()


class SetDetector(PairDetector):
    """Looks at training pairs together: one p value for all of them, and a score for each."""

    @abstractmethod
    def test(self, pairs: Pairs, defender: Defender) -> SetFinding:
        """Whether clean pairs would look like that, and what would have been seen otherwise."""


class InputDetector(Scorer):
    """Looks at inputs of a trained network."""

    looks_at: ClassVar[Kind] = "input"
    trains: ClassVar[bool] = False
    """Whether it trains a network first, which takes minutes: see `ready`."""

    def ready(self, model: nn.Module) -> bool:
        """Whether it looks at inputs of this network where nobody names it."""
        return not self.trains

    @abstractmethod
    def scores(self, z: Tensor, defender: Defender) -> Tensor:
        """Score of each z (N, C, H, W), (N,), which depends on no other: the higher, the worse."""

    def repaired(self, z: Tensor, defender: Defender) -> Tensor | None:
        """Reconstructions (N, C, H, W) without what a trigger does; None if it does not repair."""
        return None

    def blind(self, z: Tensor, defender: Defender) -> str | None:
        """Why nothing of what it `sees` can be seen in these inputs; None if it can."""
        return None


class NetworkDetector(Defence, ABC):
    """Looks at a network."""

    looks_at: ClassVar[Kind] = "model"
    calibrated: ClassVar[Mapping[str, object]] = {}
    """Settings of the runs whose networks `law` is of; empty if it is one of all networks."""
    clean_scores: ClassVar[tuple[float, ...]] = ()
    """Scores of these networks, where `law` is a quantile of them."""
    power_of_a_make: ClassVar[bool] = False
    """Whether what it sees has to be shown anew for each make of networks, by planted backdoors."""
    law_from: ClassVar[str] = "its own law"
    """Where `law` comes from, as in "from clean networks of such a study"."""

    @abstractmethod
    def inspect(self, defender: Defender) -> Finding:
        """How suspicious `defender.model` is, and the backdoor that was recovered, if any."""

    def law(self, defender: Defender, alarm: float) -> float | None:
        """Score that a clean network exceeds with probability `alarm`; None if not known."""
        return None

    def compare(self, findings: Sequence[Finding]) -> list[float]:
        """Scores of networks of one make, seen together: the higher, the more suspicious.

        All are treated alike, so that those of clean networks are exchangeable, whichever of them
        is under suspicion. By default each network's own score.
        """
        return [each.score for each in findings]

    def drawing(self, findings: Sequence[Finding]) -> list[float] | None:
        """The same of how surely each draws an artefact; None if whatever is flagged does."""
        return None

    def sharpen(self, defender: Defender, finding: Finding) -> Finding:
        """The finding of a flagged network, with trigger and artefact looked for more closely.

        Asked of the suspect alone and after all is decided, so that it may take longer. The score
        stays. By default the finding as it is.
        """
        return finding

    @property
    def tells_drawing(self) -> bool:
        """Whether it defines `drawing`, as it flags more than what draws an artefact."""
        return type(self).drawing is not NetworkDetector.drawing

    @property
    def has_law(self) -> bool:
        """Whether it defines `law`."""
        return type(self).law is not NetworkDetector.law

    @abstractmethod
    def explain(self, finding: Finding) -> str:
        """What a network with this finding does, as a whole sentence without its full stop."""


class Repair(Defence, ABC):
    """Mends a network."""

    looks_at: ClassVar[Kind] = "repair"

    @abstractmethod
    def repair(self, defender: Defender) -> nn.Module:
        """A repaired copy of `defender.model`, which stays as it is."""


class Scores(Protocol):
    """How a detector of pairs looks at them."""

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
