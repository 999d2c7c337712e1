"""Detectors over a stranger's network: one that fails leaves the others' findings, and no trace."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

import torch
from torch import Tensor, nn

from recondoor import defences
from recondoor.core import caller, registry, seeding
from recondoor.core.errors import FAILURES, DataError, in_a_line, out_of_memory
from recondoor.core.imports import fault_of
from recondoor.models import evaluating, reconstruct

Found = TypeVar("Found")


def attempt(name: str, work: Callable[[], Found], skipped: dict[str, str]) -> Found | None:
    """What `work` finds; None if it fails, and then `skipped` says of `name` why.

    What the user can mend (RecondoorError) and Ctrl-C pass.
    """
    try:
        return work()
    except FAILURES as error:
        outside = registry.is_outside(type(defences.load(name)))
        skipped[name] = f"it failed, {fault_of(error) if outside else in_a_line(error)}"
        return None


@contextmanager
def asked(model: nn.Module) -> Iterator[None]:
    """Whatever a network raises where its answers are needed becomes a DataError of one line.

    The probe asks it for three images. It may fail on more of them, or on other ones. A lack of
    memory passes.
    """
    try:
        yield
    except FAILURES as error:
        if out_of_memory(error):
            raise
        raise DataError(
            f"'{type(model).__name__}' fails on more images than a few, or on these: "
            f"{fault_of(error)}; it has to take any number of images of this shape"
        ) from error


def answers(model: nn.Module, z: Tensor) -> Tensor:
    """F(z) of a stranger's network, (N, C, H, W); DataError where it fails."""
    with asked(model):
        return reconstruct(model, z)


@contextmanager
def undisturbed(model: nn.Module | None, seed: int, name: str) -> Iterator[None]:
    """The network is in evaluation mode and ends as it was, whatever it does to itself.

    One that draws random numbers draws the same ones for the same `seed` and `name`.
    """
    with caller.as_found(), seeding.torch_global(seed, "look", name):
        if model is None:
            yield
            return
        kept = {k: v.clone() for k, v in model.state_dict().items() if isinstance(v, Tensor)}
        try:
            with evaluating(model):
                yield
        finally:
            with torch.no_grad():
                for key, value in model.state_dict().items():
                    if key in kept:
                        value.copy_(kept[key])
