"""Reference networks in whatever form a caller has them."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Literal, TypeGuard

from torch import nn

from recondoor.audit import Training, maker
from recondoor.core.errors import ConfigError
from recondoor.doors._values import network_of

AUTO = "auto"


def references_of(
    given: Iterable[nn.Module | str | Path] | Literal["auto"],
    epochs: int,
    fresh: Callable[[], nn.Module] | str | None,
    kept: str | Path | None,
) -> tuple[nn.Module | str, ...] | Training:
    """Networks, or how to train some; raises ConfigError for a mixture of both, or none."""
    found = tuple(given) if _several(given) else (given,)
    others = tuple(network_of(each, "references") for each in found)
    if AUTO not in [each for each in others if isinstance(each, str)]:
        return others
    if len(others) > 1:
        raise ConfigError("--references: auto and other networks given; expected one or the other")
    make = maker(fresh) if isinstance(fresh, str) else fresh
    return Training(epochs, fresh=make, folder=None if kept is None else Path(kept))


def _several(given: object) -> TypeGuard[Iterable[object]]:
    """Whether these are networks; a name is one, and so is a network that lists its layers."""
    single = isinstance(given, str) or (
        isinstance(given, nn.Module) and not isinstance(given, nn.ModuleList)
    )
    return isinstance(given, Iterable) and not single
