"""Reference networks in whatever form a caller has them."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from recondoor.audit import Training, maker
from recondoor.core.errors import ConfigError

if TYPE_CHECKING:
    from torch import nn

AUTO = "auto"


def references_of(
    given: Iterable[nn.Module | str | Path] | Literal["auto"],
    epochs: int,
    fresh: Callable[[], nn.Module] | str | None,
    kept: str | Path | None,
) -> tuple[nn.Module | str, ...] | Training:
    """Networks, or how to train some; raises ConfigError for a mixture of both."""
    found = (given,) if isinstance(given, str) else tuple(given)
    others = tuple(str(each) if isinstance(each, Path) else each for each in found)
    if AUTO not in [each for each in others if isinstance(each, str)]:
        return others
    if len(others) > 1:
        raise ConfigError("--references: auto and other networks given; expected one or the other")
    make = maker(fresh) if isinstance(fresh, str) else fresh
    return Training(epochs, fresh=make, folder=None if kept is None else Path(kept))
