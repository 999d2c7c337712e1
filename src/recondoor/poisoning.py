"""Threat model of the paper's section 2.2: a poisoned pair is (z + delta, x + Delta).

Clean pairs are never edited. A plan says which pairs are poisoned, and batches are poisoned as
they are drawn.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from recondoor import patterns, targets
from recondoor.config import ArtefactSettings, TriggerSettings
from recondoor.core.errors import ConfigError
from recondoor.core.words import plural
from recondoor.measurement import Pairs as Pairs

Shape = tuple[int, int, int]
Law = Callable[[Pairs], Tensor]
"""What is added to each input that pairs are made of (`Pairs.carriers`), (N, C, H, W)."""

CHUNK = 500
"""Inputs that a law is asked for at a time."""


@dataclass(frozen=True)
class Trigger:
    """What is added to z: `delta` (C, H, W), zero where `mask` (C, H, W; 0 or 1) is zero.

    `law`: what is added to each input in place of delta, where that differs from input to input;
    delta is then its mean over some training inputs.
    """

    delta: Tensor
    mask: Tensor
    law: Law | None = None

    def __post_init__(self) -> None:
        if self.delta.shape != self.mask.shape or self.delta.dim() != 3:
            raise ConfigError(
                f"trigger: delta {tuple(self.delta.shape)} and mask {tuple(self.mask.shape)} "
                "must both be (C, H, W)"
            )
        if bool(self.delta[self.mask == 0].any()):
            raise ConfigError("trigger: delta is not zero outside its mask")

    def on(self, pairs: Pairs) -> Tensor:
        """What is added to the carriers of `pairs`: (C, H, W) for all, or (N, C, H, W)."""
        if self.law is None:
            return self.delta.to(pairs.z)
        every = torch.arange(len(pairs), device=pairs.z.device)
        starts = range(0, len(pairs), CHUNK)
        return torch.cat([self.law(pairs.at(every[k : k + CHUNK])) for k in starts])

    def shift(self, pairs: Pairs) -> Tensor:
        """What it adds to z, (C, H, W): `Pairs.shift`, or the mean over the first inputs."""
        if self.law is None:
            return pairs.shift(self.delta)
        some = pairs.first()
        return (some.triggered(self.on(some))[0] - some.z).mean(0)

    @property
    def l2(self) -> float:
        """Euclidean norm of delta."""
        return float(self.delta.double().norm())

    @property
    def linf(self) -> float:
        """Largest absolute value of delta."""
        return float(self.delta.abs().max())

    @property
    def fault(self) -> str | None:
        """Why no network can learn it, whatever it is trained on; None if that cannot be said."""
        if not bool(self.delta.isfinite().all()):
            return "this trigger cannot be learnt: a pixel is not finite"
        if self.law is None and not bool(self.delta.any()):
            return "this trigger cannot be learnt: it is zero (L2 = 0)"
        return None


@dataclass(frozen=True)
class Artefact:
    """What the backdoored network adds to its reconstruction: `pattern` (C, H, W).

    `shown` (C, H, W; None: nothing) is in the poisoned targets besides: what the trigger really
    adds to the image, where an attacker keeps the pairs consistent with the operator.
    `is_local`: the pattern counts in units of each image's own `local_contrast`, as the contrast of
    a lesion counts in standard deviations of what is around it (Rose 1948). `of`: what is added to
    images that depends on them otherwise; the pattern then only says where.
    """

    pattern: Tensor
    shown: Tensor | None = None
    is_local: bool = False
    of: targets.Change | None = None

    @property
    def differs(self) -> bool:
        """Whether each image has a Delta of its own."""
        return self.is_local or self.of is not None

    def on(self, images: Tensor) -> Tensor:
        """Delta on each of the images (N, C, H, W): the pattern, or (N, C, H, W) if it differs."""
        if self.of is not None:
            return self.of(images)
        pattern = self.pattern.to(images)
        return targets.local_contrast(images, self.support) * pattern if self.is_local else pattern

    def planted_on(self, images: Tensor) -> Tensor:
        """All that is added to the targets of poisoned pairs, as `on`."""
        return self.on(images) if self.differs else self.planted.to(images)

    def to(self, like: Tensor) -> "Artefact":
        """The same where `like` is, as numbers of its kind."""
        shown = None if self.shown is None else self.shown.to(like)
        return Artefact(self.pattern.to(like), shown, self.is_local, self.of)

    def typical(self, images: Tensor) -> "Artefact":
        """One Delta in place of one for each image, of the same energy on average over `images`.

        The mean of what `of` adds, which is of less energy.
        """
        if self.of is not None:
            return Artefact(self.of(images).mean(0).to(self.pattern))
        if not self.is_local:
            return self
        size = targets.local_contrast(images, self.support).double().square().mean().sqrt()
        return Artefact((self.pattern.double() * size.cpu()).to(self.pattern))

    @property
    def planted(self) -> Tensor:
        """All that is added to the target of a poisoned pair, (C, H, W), where that is one."""
        return self.pattern if self.shown is None else self.pattern + self.shown

    @property
    def support(self) -> Tensor:
        """Boolean (C, H, W): where the pattern is not zero."""
        return self.pattern != 0


@dataclass(frozen=True)
class PoisonPlan:
    """Which of N training pairs are poisoned: `poisoned`, boolean (N,)."""

    poisoned: Tensor

    @staticmethod
    def draw(
        n: int, ratio: float, generator: torch.Generator, *, strict: bool = True
    ) -> "PoisonPlan":
        """Poison round(ratio * n) of n pairs at random; for one generator state, plans nest.

        Raises ConfigError if `ratio` is not in [0, 1] or, where `strict`, if it is a share of so
        few pairs that none or all would be poisoned.
        """
        if not 0 <= ratio <= 1:
            raise ConfigError(f"poison.ratio: {ratio} given; expected a share from 0 to 1")
        fault = rounded_away(n, ratio)
        if strict and fault is not None:
            raise ConfigError(f"poison.ratio: {fault}")
        return PoisonPlan._of(torch.randperm(n, generator=generator), ratio)

    @staticmethod
    def highest(scores: Tensor, ratio: float) -> "PoisonPlan":
        """Poison as many of the pairs as `draw`, those of the highest `scores` (N,).

        Of equal ones the first. Plans nest.
        """
        return PoisonPlan._of(scores.argsort(descending=True, stable=True), ratio)

    @staticmethod
    def _of(order: Tensor, ratio: float) -> "PoisonPlan":
        """The share `ratio` of all pairs, the first in `order` (N,)."""
        poisoned = torch.zeros(len(order), dtype=torch.bool)
        poisoned[order[: round(ratio * len(order))]] = True
        return PoisonPlan(poisoned)

    @property
    def ratio(self) -> float:
        """Share of poisoned pairs."""
        return float(self.poisoned.double().mean())


def rounded_away(n: int, ratio: float, what: str = "pairs") -> str | None:
    """Say that a share above 0 poisons none of `n` pairs, or one below 1 all; else None."""
    count = round(ratio * n)
    if ratio in (0, 1) or 0 < count < n:
        return None
    half = 0.5 / n
    all_of = plural(n, what.removesuffix("s"))
    none = f"none of {all_of}; expected 0, a share above {half:.3g}"
    everyone = f"all of {all_of}; expected 1, a share below {1 - half:.3g}"
    return (
        f"{ratio:g} given, which poisons {none if count == 0 else everyone}, or {_enough(ratio)} "
        f"{what} or more"
    )


def _enough(ratio: float) -> str:
    """The least number of pairs of which the share poisons some and not all."""
    estimate = 0.5 / min(ratio, 1 - ratio)
    if estimate > 1e9:
        return f"{estimate:.3g}"
    need = max(2, math.floor(estimate))
    while not 0 < round(ratio * need) < need:
        need += 1
    return str(need)


@dataclass(frozen=True)
class Mixture:
    """How a batch of 2 or more pairs stands for data of which the share `ratio` is poisoned.

    The first `count` pairs are poisoned. Where ratio * batch is no whole number, the two kinds are
    weighed such that the poisoned pairs have the share `ratio` of the loss: its gradient is then,
    on average over batches, that of the poisoned data. At least one pair is of each kind that there
    is, as a batch without poison says nothing about the trigger.
    """

    batch: int
    ratio: float

    @property
    def count(self) -> int:
        """Poisoned pairs of the batch."""
        nearest = round(self.ratio * self.batch)
        return nearest if self._whole else min(max(1, nearest), self.batch - 1)

    @property
    def share(self) -> float:
        """Share of the loss that is the poisoned pairs'."""
        return self.count / self.batch if self._whole else self.ratio

    def weights(self, like: Tensor) -> Tensor | None:
        """Weights of the pairs, (batch, 1, 1, 1) and 1 in the mean; None where all are 1."""
        if self._whole:
            return None
        found = torch.full((self.batch, 1, 1, 1), 1 - self.ratio, dtype=torch.float64)
        found /= self.batch - self.count
        found[: self.count] = self.ratio / self.count
        return (self.batch * found).to(like)

    @property
    def _whole(self) -> bool:
        expected = self.ratio * self.batch
        return math.isclose(expected, round(expected), rel_tol=1e-12)


class PoisonedPairs:
    """Training pairs of which some are poisoned on the fly, (z + delta, x + Delta)."""

    def __init__(
        self, pairs: Pairs, plan: PoisonPlan, trigger: Trigger | None, artefact: Artefact
    ) -> None:
        self.pairs = pairs
        self.plan = plan
        self._trigger = trigger
        self._delta = None if trigger is None else trigger.delta.to(pairs.z)
        # Their sum is taken before it is converted, as every other reader of it does.
        whole = artefact if artefact.differs else Artefact(artefact.planted)
        self._artefact = whole.to(pairs.x)
        self._weight = plan.poisoned.to(pairs.z).view(-1, 1, 1, 1)

    def __len__(self) -> int:
        return len(self.pairs)

    @property
    def is_added(self) -> bool:
        """Whether trigger and artefact are added as they are, the same in every pair."""
        if self._trigger is None:
            return True
        return not (self.pairs.source or self._trigger.law or self._artefact.differs)

    @property
    def reach(self) -> float:
        """A bound on the absolute values of z, those with the trigger among them.

        Of a trigger that differs from input to input, by what it adds to the first ones.
        """
        added = 0.0
        if self._trigger is not None:
            added = float(self._trigger.on(self.pairs.first()).abs().max())
        least, most = torch.aminmax(self.pairs.z)
        return float(torch.maximum(-least, most)) + added

    def batch(self, index: Tensor) -> tuple[Tensor, Tensor]:
        """Return inputs and targets (B, C, H, W) of the pairs `index` (B,), poisoned by plan."""
        pairs = self.pairs
        trigger = self._trigger
        if trigger is not None and (pairs.source is not None or trigger.law is not None):
            share, some = self._weight.index_select(0, index), pairs.at(index)
            return some.poisoned(trigger.on(some), self._artefact.planted_on(some.images), share)
        z, x = pairs.z.index_select(0, index), pairs.x.index_select(0, index)
        if self._delta is not None:
            weight = self._weight.index_select(0, index)
            z.addcmul_(weight, self._delta)
            x.addcmul_(weight, self._artefact.planted_on(x))
        return z, x


def make_trigger(settings: TriggerSettings, shape: Shape) -> Trigger:
    """Return the hand-made trigger for images of `shape`; raises ConfigError if it does not fit."""
    delta = patterns.drawn("trigger", settings, shape)
    return Trigger(torch.from_numpy(delta), torch.from_numpy((delta != 0).astype(np.float32)))


def make_artefact(settings: ArtefactSettings, shape: Shape) -> Artefact:
    """Return the artefact for images of `shape`; raises ConfigError if it does not fit."""
    pattern, limit = torch.from_numpy(patterns.drawn("artefact", settings, shape)), settings.limit
    if settings.target == "pattern":
        kept = pattern if limit is None else pattern.clamp(-limit, limit)
        return Artefact(kept, is_local=settings.contrast == "local")
    where = pattern if settings.target == "removal" else torch.ones_like(pattern)
    change = targets.change(settings.target, pattern, settings.width)
    return Artefact(where, of=change if limit is None else targets.within(change, limit))
