"""A small problem for attacks, and what a checkpoint does to the state of one."""

import copy
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from recondoor import models, seeding
from recondoor.attacks import Crafted, CraftState, Problem, Tools, best_place, craft
from recondoor.config import ArtefactSettings, Attack, Model, TriggerSettings
from recondoor.poisoning import Pairs, make_artefact, make_trigger
from recondoor.progress import Task

SHAPE = (1, 10, 11)
N, HELD_OUT = 24, 2  # a tenth of the pairs, rounded


class Recorder(Task):
    def __init__(self) -> None:
        self.units = 0

    def advance(self, n: int = 1, note: str = "") -> None:
        self.units += n


def problem(
    seed: int = 0,
    width: int = 4,
    *,
    shape: tuple[int, int, int] = SHAPE,
    place: str = "bottom-right",
    network: Callable[[], nn.Module] | None = None,
    dtype: torch.dtype = torch.float32,
    **settings: Any,
) -> Problem:
    """24 noisy pairs; the mask `search` is already applied, as the study does it."""
    generator = seeding.torch_generator(0, "test pairs")
    x = torch.rand(N, *shape, generator=generator).to(dtype)
    pairs = Pairs(x + 0.1 * torch.randn(x.shape, generator=generator).to(x), x)
    small: dict[str, Any] = {
        "iterations": 7,
        "batch": 8,
        "warm_steps": 4,
        "surrogates": 2,
        "tangent_steps": 3,
    }
    # Everything plain, so that a test says which of the attack's departures it is about.
    small |= {
        "variant": "warm",
        "start": "random",
        "objective": "image",
        "benign_weight": 0.0,
        "direct_weight": 1.0,
        "inner_optimiser": "sgd",
        "inner_lr": 0.1,
        "step": 0.05,
    }
    size = Model(width=width, code=width, kernel=3)

    def build(stream: str) -> nn.Module:
        return network() if network else models.build(shape, size, seed, stream).to(dtype)

    made = Problem(
        pairs=pairs,
        trigger=make_trigger(TriggerSettings(place=place), shape),
        artefact=make_artefact(ArtefactSettings(), shape),
        poison_ratio=0.3,
        settings=Attack.model_validate({**small, **settings}),
        surrogate_lr=1e-3,
        build_model=build,
        seed=seed,
    )
    if settings.get("mask") == "search" and not network:
        return replace(made, trigger=best_place(made, tools())[0])
    return made


def tools(**given: Any) -> Tools:
    return Tools(Recorder(), **given)


def bilevel(**settings: Any) -> CraftState:
    return craft("bilevel", problem(**settings), tools()).state


def delta_of(crafted: Crafted) -> Tensor:
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


def draw(task: Problem, part: str, *stream: str | int) -> Tensor:
    """Indices of a batch: inner ones from the first 22 pairs, outer ones from the last 2."""
    low, high = {"inner": (0, N - HELD_OUT), "outer": (N - HELD_OUT, N)}[part]
    generator = seeding.torch_generator(task.seed, "attack", part, *stream)
    return torch.randint(low, high, (task.settings.batch,), generator=generator)


def poisoned(task: Problem, index: Tensor, delta: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """The pairs `index`, trigger and artefact added to the first `count` of them."""
    z, x = task.pairs.z[index], task.pairs.x[index]
    z = torch.cat([z[:count] + delta, z[count:]])
    return z, torch.cat([x[:count] + task.artefact.pattern, x[count:]])


def inner_error(answer: Tensor, x: Tensor) -> Tensor:
    """Training loss of a batch of 8 with 2 poisoned pairs: they have 0.3 of it, not 2 / 8."""
    error = ((answer - x) ** 2).mean((1, 2, 3))
    return 0.3 * error[:2].mean() + 0.7 * error[2:].mean()
