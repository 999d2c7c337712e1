"""A small problem for attacks, and what a checkpoint does to the state of one."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from recondoor import models
from recondoor.attacks import CraftState, Problem, craft
from recondoor.config import ArtefactSettings, Attack, Model, TriggerSettings
from recondoor.core import seeding
from recondoor.poisoning import make_artefact, make_trigger
from recondoor.testing._problem import (
    COUNT,
    SHAPE,
    Recorder,
    delta_of,
    noisy_pairs,
    searched,
    through_file,
    tools,
)

__all__ = ["SHAPE", "Recorder", "delta_of", "through_file", "tools"]

N, HELD_OUT = COUNT, 2  # a tenth of the pairs, rounded


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
    # Everything plain, so that a test says which of the attack's departures it is about.
    small = {
        "iterations": 7,
        "batch": 8,
        "warm_steps": 4,
        "surrogates": 2,
        "tangent_steps": 3,
        "measurement": {"steps": 2},
        "uap": {"steps": 2},
        "sample_specific": {"steps": 3, "width": 4, "bits": 2},
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
        pairs=noisy_pairs(shape, dtype),
        trigger=make_trigger(TriggerSettings(place=place), shape),
        artefact=make_artefact(ArtefactSettings(), shape),
        poison_ratio=0.3,
        settings=Attack.model_validate({**small, **settings}),
        surrogate_lr=1e-3,
        build_model=build,
        seed=seed,
        remeasured=torch.clone,
    )
    if settings.get("mask") == "search" and not network:
        return searched(made)
    return made


def bilevel(**settings: Any) -> CraftState:
    return craft("bilevel", problem(**settings), tools()).state


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
