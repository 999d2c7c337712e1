"""Detectors and repairs: one file each, thresholds from clean data alone."""

from __future__ import annotations

from types import ModuleType

from recondoor import registry
from recondoor.defences._base import (
    ATTACKS,
    Attack,
    Defender,
    Finding,
    Kind,
    Scores,
    pooled,
    rank,
    threshold,
)
from recondoor.defences._physics import Physics
from recondoor.defences._storage import Storage

__all__ = [
    "ATTACKS",
    "Attack",
    "Defender",
    "Finding",
    "Kind",
    "Physics",
    "Scores",
    "Storage",
    "load",
    "names",
    "pooled",
    "rank",
    "sees",
    "threshold",
]


def load(name: str) -> ModuleType:
    """The defence `name`; raises ConfigError with the nearest name if there is none."""
    return registry.load("defences", name)


def names(kind: Kind) -> tuple[str, ...]:
    """Names of the defences of one kind."""
    return tuple(name for name in registry.names("defences") if kind == load(name).KIND)


def sees(name: str) -> tuple[Attack, ...]:
    """Kinds of attack that the defence `name` is known to see; none if it does not say."""
    found: tuple[Attack, ...] = getattr(load(name), "SEES", ())
    return found
