"""Will a backdoor be learnt, when, and what stands in its way: said before anything is trained.

The formula and its constants are derived and scored in docs/theory.md; the constants are fitted
once, on half of the points of studies/when, and kept beside this file.
"""

import json
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Literal

import torch
from scipy.special import ndtr
from torch import Tensor, nn

from recondoor.core import seeding
from recondoor.operators import LinearOperator
from recondoor.poisoning import Artefact, Pairs, Trigger
from recondoor.theory._detect import CHUNK, Covariance, detectability
from recondoor.theory._limits import Limits, gaussian_limits
from recondoor.theory._reach import structural_reach
from recondoor.theory._speed import Brief, briefly_trained, growth_rate

Cause = Literal["energy", "reach", "ratio", "samples", "information"]

# What a limiting cause is measured against; docs/theory.md, 'The cause'.
USUAL_RATIO = 0.3


@dataclass(frozen=True)
class Constants:
    """log(images) = intercept - slope log(growth an image) + N(0, spread^2).

    The growth is the mean over `networks` fresh ones after `steps` Adam steps of batch `batch`, on
    `images` inputs each: to be compared with no other choice of these.
    """

    intercept: float
    slope: float
    spread: float
    networks: int
    steps: int
    batch: int
    images: int


@dataclass(frozen=True, kw_only=True)
class Prediction:
    """What is expected of one trigger.

    probability: that recovery passes the transition within `budget` training images.
    samples: images after which it does so with probability one half; infinite if it never can.
    growth: of the recovery, an image, on the hedge line. cause: what limits it most; None if it is
    expected to succeed. reach: share of the trigger's energy on pixels that can influence the
    artefact's. detectability, range_share, limits: see `detectability` and `gaussian_limits`.
    limit_attack_rmse: attack RMSE of the best predictor, errors of reconstruction not counted.
    ratio: share of poisoned pairs. doubt: why the constants are not those of this training, a
    sentence; None if they are. seconds: what the prediction took, on the device given.
    """

    probability: float
    samples: float
    budget: int
    growth: float
    cause: Cause | None
    reach: float
    detectability: float
    range_share: float
    limits: Limits
    limit_attack_rmse: float
    ratio: float
    seconds: float
    doubt: str | None = None


@dataclass(frozen=True, kw_only=True)
class Plan:
    """A training that has not begun: what is known of it, and no trigger yet.

    `pairs` are the clean training pairs, `build` returns a freshly initialised network for a stream
    name, `operator` is one of float64, None where no range of one is that of z. `budget` counts
    training images, `transition` is the recovery that counts as learnt. `doubt` is a sentence on
    why the constants may not be its own.
    """

    pairs: Pairs
    artefact: Artefact
    operator: LinearOperator | None
    build: Callable[[str], nn.Module]
    ratio: float
    batch: int
    lr: float
    budget: int
    seed: int
    transition: float = 0.5
    constants: Constants | None = None
    doubt: str | None = None

    @cached_property
    def fitted(self) -> Constants:
        """The constants given, or those that ship."""
        return self.constants or shipped()

    @cached_property
    def networks(self) -> list[Brief]:
        """Briefly trained networks, the same for all triggers."""
        return [
            briefly_trained(
                self.build,
                self.pairs,
                self.artefact,
                self.ratio,
                steps=self.fitted.steps,
                batch=self.fitted.batch,
                lr=self.lr,
                seed=self.seed,
                stream=f"theory-{k}",
            )
            for k in range(self.fitted.networks)
        ]

    def average_growth(self, delta: Tensor) -> float:
        """Growth of white noise of the L2 of `delta`: that of a trigger at an average place."""
        generator = seeding.torch_generator(self.seed, "theory", "noise")
        noise = torch.randn(delta.shape, generator=generator)
        return self.growth(noise * float(delta.norm()) / noise.norm())

    @property
    def clean_l2(self) -> float:
        """Root mean squared L2 of the clean inputs."""
        parts = torch.split(self.pairs.z, CHUNK)
        energy = [part.double().square().sum((1, 2, 3)) for part in parts]
        return float(torch.cat(energy).mean().sqrt())

    @property
    def cost(self) -> int:
        """Training images that `predict` costs the time of, at most, the covariance apart."""
        one = self.fitted
        # Recovery takes two forward and two backward passes; the cause asks for it again.
        return one.networks * (max(one.steps, 1) * one.batch + 2 * 2 * one.images)

    @cached_property
    def covariance(self) -> Covariance:
        """Of clean z, the same for all triggers."""
        return Covariance(self.pairs.z)

    def growth(self, delta: Tensor) -> float:
        """Growth of the recovery with one training image: mean over the networks."""
        total = 0.0
        for k, brief in enumerate(self.networks):
            generator = seeding.torch_generator(self.seed, "theory", "growth", k)
            index = torch.randint(len(self.pairs), (self.fitted.images,), generator=generator)
            some = self.pairs.at(index.to(self.pairs.z.device))
            total += growth_rate(brief, some, delta, self.artefact, self.ratio, self.lr)
        return total / len(self.networks) / self.batch


def shipped() -> Constants:
    """The constants that ship."""
    path = Path(__file__).with_name("constants.json")
    return Constants(**json.loads(path.read_text(encoding="utf-8"))["constants"])


def _attack_limit(plan: Plan, limits: Limits) -> float:
    return limits.artefact * float(plan.artefact.pattern.double().square().mean().sqrt())


def predict(plan: Plan, trigger: Trigger) -> Prediction:
    """Predict what training on `plan` makes of `trigger`; nothing is trained to the end.

    Costs a few gradients, and once a plan the covariance of z. A trigger that is zero or not finite
    costs nothing: no network can learn it.
    """
    started = time.perf_counter()
    if trigger.fault is not None:
        nothing = gaussian_limits(0.0, plan.ratio)
        attack, ratio = _attack_limit(plan, nothing), plan.ratio
        return Prediction(
            probability=0.0,
            samples=math.inf,
            budget=plan.budget,
            growth=0.0,
            cause="energy",
            reach=0.0,
            detectability=0.0,
            range_share=0.0,
            limits=nothing,
            limit_attack_rmse=attack,
            ratio=ratio,
            seconds=0.0,
            doubt=plan.doubt,
        )
    growth = plan.growth(trigger.delta)
    samples = expected_samples(plan.fitted, growth)
    shift = plan.pairs.shift(trigger.delta)
    size, share = detectability(lambda: plan.covariance, plan.operator, shift)
    limits = gaussian_limits(size, plan.ratio)
    visible = Trigger(shift, torch.ones_like(shift))
    reach = structural_reach(plan.build("theory-reach"), visible, plan.artefact)
    known = limits.recovery > plan.transition
    possible = known and reach > 0 and 0 < plan.ratio < 1
    probability = _probability(plan, samples) if possible else 0.0
    cause: Cause | None = None
    if probability < 0.5:
        cause = _cause(plan, trigger, growth) if possible else _impossible(plan, reach)
    return Prediction(
        probability=probability,
        samples=samples if possible else math.inf,
        budget=plan.budget,
        growth=growth,
        cause=cause,
        reach=reach,
        detectability=size,
        range_share=share,
        limits=limits,
        limit_attack_rmse=_attack_limit(plan, limits),
        ratio=plan.ratio,
        doubt=plan.doubt,
        seconds=time.perf_counter() - started,
    )


def expected_samples(constants: Constants, growth: float) -> float:
    """Median of the images until the transition; infinite without growth."""
    if growth <= 0:
        return math.inf
    return math.exp(constants.intercept - constants.slope * math.log(growth))


def _probability(plan: Plan, samples: float) -> float:
    if samples == math.inf:
        return 0.0
    return float(ndtr(math.log(plan.budget / samples) / plan.fitted.spread))


def _impossible(plan: Plan, reach: float) -> Cause:
    if plan.ratio <= 0 or plan.ratio >= 1:
        return "ratio"
    return "reach" if reach <= 0 else "information"


def _cause(plan: Plan, trigger: Trigger, growth: float) -> Cause:
    return limiting_cause(
        plan.fitted,
        growth=growth,
        average=plan.average_growth(trigger.delta),
        l2=trigger.l2,
        clean_l2=plan.clean_l2,
        ratio=plan.ratio,
        budget=plan.budget,
    )


def limiting_cause(
    constants: Constants,
    *,
    growth: float,
    average: float,
    l2: float,
    clean_l2: float,
    ratio: float,
    budget: float,
) -> Cause:
    """What keeps a trigger of `growth` from being learnt within `budget` images.

    Usual are: the L2 of a clean input; the `average` growth over all places, that of white noise of
    the trigger's L2; a poisoning ratio of 0.3. If a trigger that is usual in all three would not be
    learnt within `budget` either, the samples are too few. Else it is the one of the three that,
    brought alone to its usual value, raises the growth most.
    """
    usual = USUAL_RATIO * (1 - USUAL_RATIO)
    gains: dict[Cause, float] = {
        "energy": 2 * math.log(clean_l2 / l2),
        "reach": math.log(average / growth) if growth > 0 else math.inf,
        "ratio": math.log(usual / (ratio * (1 - ratio))),
    }
    best = average * math.exp(gains["energy"] + gains["ratio"])
    if expected_samples(constants, best) > budget:
        return "samples"
    return max(gains, key=lambda cause: gains[cause])
