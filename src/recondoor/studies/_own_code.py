"""Code of one's own in a study: a fault in it is one line that names the plug-in."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from traceback import extract_tb

import torch
from torch import Tensor, nn

from recondoor import models
from recondoor.config import Config
from recondoor.core import registry
from recondoor.core.errors import (
    FAILURES,
    ConfigError,
    RecondoorError,
    TrainingError,
    out_of_memory,
)
from recondoor.core.imports import fault_of, is_users, told_in_a_line
from recondoor.studies._scene import Scene


@contextmanager
def faults_told(config: Config) -> Iterator[None]:
    """Whatever the plug-ins of one's own raise becomes a TrainingError; the package's faults pass.

    So does a lack of memory.
    """
    try:
        yield
    except RecondoorError:
        raise
    except FAILURES as error:
        whose = None if out_of_memory(error) else _culprit(config, error)
        if whose is None:
            raise
        raise TrainingError(f"{whose}: {fault_of(error)}") from error


def require_trainable(config: Config, scene: Scene) -> None:
    """Refuse a network of one's own that cannot be trained, or not by batches of the study's sizes.

    `models.build` asks a network for two images in evaluation mode.
    """
    if not registry.is_outside(type(models.load(config.model.name, config.model))):
        return
    told, z = f"model.name: '{config.model.name}'", scene.train.z
    model = scene.problem.build_model("trial").to(z.device)
    evaluated = max(1, models.PIXELS_IN_A_BATCH // z[0].numel())
    with models.evaluating(model), torch.no_grad():
        _answer(told, model, z[:evaluated], "evaluation")
    with torch.random.fork_rng(devices=[]):
        found = _answer(told, model.train(), z[: config.train.batch], "training")
    if not any(weight.requires_grad for weight in model.parameters()):
        raise ConfigError(f"{told} has no parameters that can be trained")
    if not found.requires_grad:
        raise ConfigError(
            f"{told} cannot be trained: its answer has no gradient; let it detach nothing, and "
            "compute under no torch.no_grad"
        )


def _answer(told: str, model: nn.Module, z: Tensor, mode: str) -> Tensor:
    what = f"{told}, given {len(z)} images of {tuple(z.shape[1:])} in {mode} mode"
    with told_in_a_line(what):
        found: object = model(z.clone())
    if not isinstance(found, Tensor) or found.shape != z.shape:
        given = tuple(found.shape) if isinstance(found, Tensor) else type(found).__name__
        raise ConfigError(f"{what}, returns {given}; expected one tensor of the same shape")
    return found


def _culprit(config: Config, error: BaseException) -> str | None:
    """Whose code failed, as a message begins; None if it is the package's."""
    given = [
        ("operator.name", "operators", config.operator.name),
        ("model.name", "models", config.model.name),
        *(("attack.names", "attacks", name) for name in config.attack.plug_ins),
    ]
    frames = {frame.filename for frame in extract_tb(error.__traceback__)}
    outside = {}
    for key, kind, name in given:
        found = registry.load(kind, name)
        if registry.is_outside(found):
            outside[f"{key}: '{name}'"] = getattr(sys.modules[found.__module__], "__file__", None)
    whose = [told for told, file in outside.items() if file in frames]
    if not outside or not (whose or any(map(is_users, frames))):
        return None
    # An object of the caller's own, or a network that the plug-in has from another file.
    return next(iter(whose or (outside if len(outside) == 1 else ["code of one's own"])))
