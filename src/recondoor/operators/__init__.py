"""Measurement operators: one file each, built by name and seed."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from recondoor import registry, seeding
from recondoor.operators._base import LinearOperator
from recondoor.operators._outside import of_caller

if TYPE_CHECKING:
    from recondoor import config

__all__ = ["LinearOperator", "build", "of_caller"]


def build(
    shape: tuple[int, int, int],
    settings: config.Operator,
    seed: int,
    dtype: torch.dtype = torch.float32,
) -> LinearOperator:
    """Build the operator `settings.name` for images of `shape` (C, H, W), on the CPU.

    What is random in it comes from the stream "operator" of `seed` alone.

    Raises:
        ConfigError: unknown name, or a ratio or sigma that the operator refuses.
    """
    name = registry.check("operators", settings.name, "operator.name")
    plugin = registry.load("operators", name)
    operator: LinearOperator = plugin.build(
        shape, settings, seeding.torch_generator(seed, "operator"), dtype
    )
    return operator
