"""Measurement operators: one class each, built by name and seed."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

import torch

from recondoor.core import registry, seeding
from recondoor.core.errors import ConfigError
from recondoor.core.imports import told_in_a_line
from recondoor.operators._base import CHUNK_PIXELS, LinearOperator, Operator, share
from recondoor.operators._basis import Basis, Dense, Separable, Turned, boxes, lines_of
from recondoor.operators._maps import estimate_maps
from recondoor.operators._matrix import Matrix
from recondoor.operators._outside import of_caller
from recondoor.operators._slices import Slices, with_masks

if TYPE_CHECKING:
    from recondoor import config

__all__ = [
    "CHUNK_PIXELS",
    "Basis",
    "Dense",
    "LinearOperator",
    "Matrix",
    "Operator",
    "Separable",
    "Slices",
    "Turned",
    "boxes",
    "build",
    "estimate_maps",
    "lines_of",
    "load",
    "of_caller",
    "share",
    "with_masks",
]


def load(name: str, settings: config.Operator | None = None) -> Operator:
    """The plug-in `name` with its own settings of the section, or else its defaults.

    Raises ConfigError, with the nearest name if there is none.
    """
    registry.check("operators", name, "operator.name")
    found = cast("type[Operator]", registry.load("operators", name))
    own = settings.own(name, found.Settings) if settings and found.Settings else None
    return found(own)


def build(
    shape: tuple[int, int, int],
    settings: config.Operator,
    seed: int,
    dtype: torch.dtype = torch.float32,
) -> LinearOperator:
    """Build the operator `settings.name` for images of `shape` (C, H, W), on the CPU.

    What is random in it comes from the stream "operator" of `seed` alone.

    Raises:
        ConfigError: unknown name, or a ratio or sigma that the operator refuses; of one's own, also
            whatever else its code raises.
    """
    plug_in, told = load(settings.name, settings), f"operator.name: '{settings.name}'"
    generator = seeding.torch_generator(seed, "operator")
    if not registry.is_outside(type(plug_in)):
        return plug_in.build(shape, settings, generator, dtype)
    with told_in_a_line(told):
        operator: object = plug_in.build(shape, settings, generator, dtype)
        _require_operator(told, operator, shape, dtype)
    return cast(LinearOperator, operator)


def _require_operator(
    told: str, operator: object, shape: tuple[int, int, int], dtype: torch.dtype
) -> None:
    """Refuse what is no operator for such images; `recondoor.testing` asks for the rest."""
    if not isinstance(operator, LinearOperator):
        raise ConfigError(f"{told} builds {type(operator).__name__}; expected a LinearOperator")
    x = torch.zeros((2, *shape), dtype=dtype)
    y = operator.A(x)
    z = operator.A_adjoint(y)
    if operator.shape != shape or z.shape != x.shape or z.dtype != dtype or len(y) != len(x):
        raise ConfigError(
            f"{told} maps images of {tuple(x.shape)} and {dtype} to y of {tuple(y.shape)} and z of "
            f"{tuple(z.shape)} and {z.dtype}; expected y of (B, C, ...) and a z like the images"
        )
