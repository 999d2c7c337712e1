"""A small problem for attacks, and what a checkpoint does to the state of one."""

import copy
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from recondoor import models
from recondoor.attacks import Crafted, CraftState, Problem, Tools, best_place
from recondoor.config import ArtefactSettings, Attack, Cae, Model, TriggerSettings
from recondoor.core import seeding
from recondoor.core.progress import Task
from recondoor.poisoning import Pairs, make_artefact, make_trigger

SHAPE = (1, 10, 11)
COUNT = 24
SMALL: dict[str, Any] = {
    "batch": 8,
    "warm_steps": 4,
    "surrogates": 2,
    "bilevel": {"iterations": 7},
    "tangent": {"steps": 3},
    "measurement": {"steps": 2},
    "uap": {"steps": 2},
    "sample_specific": {"steps": 3, "width": 4, "bits": 2},
}


class Recorder(Task):
    """Counts the units that an attack reports."""

    def __init__(self) -> None:
        self.units = 0

    def advance(self, n: int = 1, note: str = "") -> None:
        """Count."""
        self.units += n


def tools(**given: Any) -> Tools:
    """What a caller lends an attack."""
    return Tools(Recorder(), **given)


def noisy_pairs(shape: tuple[int, int, int] = SHAPE, dtype: torch.dtype = torch.float32) -> Pairs:
    """Random images and z with noise of 0.1, (24, C, H, W)."""
    generator = seeding.torch_generator(0, "test pairs")
    x = torch.rand(COUNT, *shape, generator=generator).to(dtype)
    return Pairs(x + 0.1 * torch.randn(x.shape, generator=generator).to(x), x)


def small_problem(seed: int = 0, width: int = 4, **settings: Any) -> Problem:
    """24 noisy pairs, a small victim, p = 0.3; `settings` are those of the section `attack`.

    Triggers may enter anywhere, as the operator is the identity.
    """
    size = Model(cae=Cae(width=width, code=width, kernel=3))

    def build(stream: str) -> nn.Module:
        return models.build(SHAPE, size, seed, stream)

    made = Problem(
        pairs=noisy_pairs(),
        trigger=make_trigger(TriggerSettings(), SHAPE),
        artefact=make_artefact(ArtefactSettings(), SHAPE),
        poison_ratio=0.3,
        settings=Attack.model_validate({**SMALL, **settings}),
        surrogate_lr=1e-3,
        build_model=build,
        seed=seed,
        remeasured=torch.clone,
    )
    return searched(made) if made.settings.mask == "search" else made


def searched(problem: Problem) -> Problem:
    """The problem with its trigger where the mask `search` wants it, as a study moves it."""
    return replace(problem, trigger=best_place(problem, tools())[0])


def delta_of(crafted: Crafted) -> Tensor:
    """The trigger; empty for the attack that has none."""
    return torch.zeros(0) if crafted.trigger is None else crafted.trigger.delta


def through_file(state: CraftState) -> CraftState:
    """What a checkpoint does: values stay, memory layout and identity are lost."""

    def fresh(value: Tensor) -> Tensor:
        return torch.from_numpy(value.contiguous().numpy().copy())

    return replace(
        state,
        delta=fresh(state.delta),
        path=[fresh(delta) for delta in state.path],
        arrays={key: fresh(value) for key, value in state.arrays.items()},
        numbers=copy.deepcopy(state.numbers),
        path_iteration=list(state.path_iteration),
        history=copy.deepcopy(state.history),
    )
