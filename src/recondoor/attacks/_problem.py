"""What an attacker knows and returns; shared by all attacks."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from recondoor.attacks._budget import Budget, near
from recondoor.config import Attack
from recondoor.core import seeding
from recondoor.core.errors import ConfigError, nearest
from recondoor.core.progress import Task
from recondoor.models import Network
from recondoor.poisoning import Artefact, Mixture, Pairs, Trigger
from recondoor.training import losses
from recondoor.training.loop import Row, Weights, adam_step

PARTS = ("inner", "outer")


@dataclass(frozen=True, kw_only=True)
class Problem:
    """The attacker's knowledge: the clean training pairs, the network's design, the aim.

    `trigger` is the hand-made one; it gives the mask and the budget where the settings do not.
    `build_model` returns a freshly initialised surrogate for a stream name; the victim's own
    weights are unknown. `loss` is what all are trained with. `reachable` projects on the triggers
    that the injection can make (None: all). `remeasured` is A_adjoint A, or B A, of what is added
    to images (N, C, H, W), without noise; None where triggers do not enter there, or it is not
    known. `adjoint`: whether it is A_adjoint A. `measured`: whether `pairs.images` were measured.
    `farther`: what lets a network like the victim's see more of its input.
    """

    pairs: Pairs
    trigger: Trigger
    artefact: Artefact
    poison_ratio: float
    settings: Attack
    surrogate_lr: float
    build_model: Callable[[str], nn.Module]
    seed: int
    loss: losses.Name = "mse"
    reachable: Callable[[Tensor], Tensor] | None = None
    remeasured: Callable[[Tensor], Tensor] | None = None
    adjoint: bool = True
    measured: bool = True
    farther: str = Network.farther

    @property
    def mask(self) -> Tensor:
        """(C, H, W), 1 where a trigger may lie; raises ConfigError if that is nowhere."""
        if self.settings.mask != "image":
            return self.trigger.mask
        mask = (~near(self.support, self.settings.distance)).to(self.trigger.mask)
        if not bool(mask.any()):
            raise ConfigError(
                f"attack.distance: {self.settings.distance} given; no pixel of the image is so far "
                "from the artefact"
            )
        return mask

    @property
    def support(self) -> Tensor:
        """Boolean, of a trigger's shape: where the artefact is, in every channel.

        A trigger that enters before z is made may have other channels than the artefact, and more
        pixels around it.
        """
        own, whole = self.artefact.support, torch.zeros_like(self.trigger.mask, dtype=torch.bool)
        if own.shape == whole.shape:
            return own
        height, width = own.shape[1:]
        top, left = ((a - b) // 2 for a, b in zip(whole.shape[1:], (height, width), strict=True))
        whole[:, top : top + height, left : left + width] = own.any(0)
        return whole

    @property
    def budget(self) -> Budget:
        """What bounds a trigger."""
        kind, settings = self.settings.budget, self.settings
        radius = {
            "linf": settings.linf or self.trigger.linf,
            "box": 1.0,
        }.get(kind, settings.l2 or self.trigger.l2)
        return Budget(kind, radius, self.mask, self.reachable)

    def draw(self, part: str, *stream: str | int) -> Tensor:
        """Indices (B,) of a random batch of training pairs.

        `part` is 'inner' or 'outer': the outer losses have pairs of their own, the last
        `attack.holdout` of them. Raises ConfigError for another part, or of one pair.
        """
        if part not in PARTS:
            known = ", ".join(PARTS)
            raise ConfigError(f"unknown part '{part}'; known: {known}{nearest(part, PARTS)}")
        n = len(self.pairs)
        if n < 2:
            raise ConfigError(
                "attack: there is 1 training pair; a surrogate needs one to be trained on and one "
                "held out, so give more images or lower data.validation"
            )
        held_out = min(max(1, round(self.settings.holdout * n)), n - 1)
        low, high = (0, n - held_out) if part == "inner" else (n - held_out, n)
        generator = seeding.torch_generator(self.seed, "attack", part, *stream)
        index = torch.randint(low, high, (self.settings.batch,), generator=generator)
        return index.to(self.pairs.z.device)

    def poisoned(self, index: Tensor, delta: Tensor, count: int) -> tuple[Tensor, Tensor]:
        """Pairs `index`, the first `count` of them poisoned; differentiable in delta."""
        pairs = self.pairs
        if count == 0:
            return pairs.z.index_select(0, index), pairs.x.index_select(0, index)
        chosen = torch.zeros(len(index), 1, 1, 1, device=pairs.z.device, dtype=pairs.z.dtype)
        chosen[:count] = 1
        return pairs.at(index).poisoned(delta, self.artefact.pattern.to(pairs.x), chosen)

    @property
    def mixture(self) -> Mixture:
        """How a surrogate's batch is poisoned."""
        return Mixture(self.settings.batch, self.poison_ratio)

    def training_batch(self, index: Tensor, delta: Tensor) -> tuple[Tensor, Tensor, Tensor | None]:
        """Inputs, targets and weights of a surrogate's training step on the pairs `index`."""
        mixture = self.mixture
        z, x = self.poisoned(index, delta, mixture.count)
        return z, x, mixture.weights(z)

    def step(
        self, model: nn.Module, optimiser: torch.optim.Adam, index: Tensor, delta: Tensor
    ) -> None:
        """One training step of a surrogate on the pairs `index`, poisoned with `delta`."""
        adam_step(model, optimiser, *self.training_batch(index, delta), kind=self.loss)


@dataclass(kw_only=True)
class CraftState:
    """Where an iterative attack stands: enough to carry on bit by bit.

    `arrays` and `numbers` (JSON types) are the attack's own.
    """

    iteration: int = 0
    seconds: float = 0.0
    delta: Tensor = field(default_factory=lambda: torch.zeros(0))
    arrays: Weights = field(default_factory=dict)
    numbers: dict[str, Any] = field(default_factory=dict)
    path: list[Tensor] = field(default_factory=list)
    path_iteration: list[int] = field(default_factory=list)
    history: list[Row] = field(default_factory=list)


@dataclass
class Tools:
    """What the caller lends an attack: progress, a place to save its state, a state to resume.

    `kept` holds what several attacks on one problem need, made by the first.
    """

    task: Task
    say: Callable[[str], None] = lambda line: None
    state: CraftState | None = None
    on_step: Callable[[CraftState], None] = lambda state: None
    kept: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Crafted:
    """A trigger (None: nothing is poisoned) and how it was found.

    `arrays`: of a trigger that differs from input to input, of which `Attack.law` makes its law.
    """

    trigger: Trigger | None
    state: CraftState = field(default_factory=CraftState)
    arrays: Weights = field(default_factory=dict)


def random_pattern(problem: Problem, stream: str, *, signed: bool) -> Tensor:
    """A random pattern inside the mask: normal if `signed`, else uniform in [0, 1)."""
    generator = seeding.torch_generator(problem.seed, "attack", stream)
    mask = problem.mask.cpu()
    draw = torch.randn if signed else torch.rand
    return draw(mask.shape, generator=generator) * mask
