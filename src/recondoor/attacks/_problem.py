"""What an attacker knows and returns; shared by all attacks."""

from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from recondoor import seeding
from recondoor.config import Attack
from recondoor.poison import Artefact, Pairs, Trigger
from recondoor.progress import Task
from recondoor.training import Row, Weights


@dataclass(frozen=True)
class Problem:
    """The attacker's knowledge: the clean training pairs, the network's design, the aim.

    `trigger` is the hand-made one; it gives the mask and the L2 budget. `build_model` returns a
    freshly initialised surrogate for a stream name; the victim's own weights are unknown.
    """

    pairs: Pairs
    trigger: Trigger
    artefact: Artefact
    poison_ratio: float
    settings: Attack
    surrogate_lr: float
    build_model: Callable[[str], nn.Module]
    seed: int

    @property
    def budget(self) -> float:
        """Largest allowed L2 of a trigger."""
        return self.settings.l2 or self.trigger.l2


@dataclass
class CraftState:
    """Where an iterative attack stands: enough to carry on bit by bit."""

    iteration: int = 0
    seconds: float = 0.0
    delta: Tensor = field(default_factory=lambda: torch.zeros(0))
    weights: Weights = field(default_factory=dict)
    path: list[Tensor] = field(default_factory=list)
    path_iteration: list[int] = field(default_factory=list)
    history: list[Row] = field(default_factory=list)


@dataclass(frozen=True)
class Tools:
    """What the caller lends an attack: progress, a place to save its state, a state to resume."""

    task: Task
    say: Callable[[str], None] = lambda line: None
    state: CraftState | None = None
    on_step: Callable[[CraftState], None] = lambda state: None


@dataclass(frozen=True)
class Crafted:
    """A trigger (None: nothing is poisoned) and how it was found."""

    trigger: Trigger | None
    state: CraftState = field(default_factory=CraftState)


def random_start(problem: Problem, stream: str, *, signed: bool) -> Tensor:
    """A random pattern inside the mask: normal if `signed`, else uniform in [0, 1)."""
    generator = seeding.torch_generator(problem.seed, "attack", stream)
    mask = problem.trigger.mask
    draw = torch.randn if signed else torch.rand
    return draw(mask.shape, generator=generator) * mask.cpu()
