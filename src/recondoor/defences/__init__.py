"""Detectors and repairs: one class each, thresholds from clean data alone."""

from __future__ import annotations

from functools import cache
from typing import TypeVar, cast

from recondoor.core import registry
from recondoor.core.errors import ConfigError
from recondoor.defences._base import (
    ATTACKS,
    Attack,
    Defence,
    Defender,
    Finding,
    InputDetector,
    Kind,
    Need,
    NetworkDetector,
    PairDetector,
    Power,
    Repair,
    Scorer,
    Scores,
    SetDetector,
    SetFinding,
    place_in_words,
    pooled,
    rank,
    threshold,
)
from recondoor.defences._decomposition import MOST_PIXELS
from recondoor.defences._order import misordered
from recondoor.defences._physics import Physics, evenly, parts_of
from recondoor.defences._side_by_side import SideBySide
from recondoor.defences._slices import SlicePhysics
from recondoor.defences._storage import Storage

__all__ = [
    "ATTACKS",
    "MOST_PIXELS",
    "Attack",
    "Defence",
    "Defender",
    "Finding",
    "InputDetector",
    "Kind",
    "Need",
    "NetworkDetector",
    "PairDetector",
    "Physics",
    "Power",
    "Repair",
    "Scorer",
    "Scores",
    "SetDetector",
    "SetFinding",
    "SideBySide",
    "SlicePhysics",
    "Storage",
    "evenly",
    "input_detector",
    "load",
    "misordered",
    "names",
    "network_detector",
    "pair_detector",
    "parts_of",
    "place_in_words",
    "pooled",
    "rank",
    "repair",
    "scorer",
    "sees",
    "threshold",
]

AnyDefence = TypeVar("AnyDefence", bound=Defence)


@cache
def load(name: str) -> Defence:
    """The defence `name`; raises ConfigError with the nearest name if there is none."""
    found = cast("type[Defence]", registry.load("defences", name))
    if not issubclass(found, PairDetector | InputDetector | NetworkDetector | Repair):
        bases = ", ".join(each.__name__ for each in found.__bases__)
        raise ConfigError(
            f"defences: '{name}' derives from {bases}; expected PairDetector, InputDetector, "
            "NetworkDetector or Repair"
        )
    return found()


def pair_detector(name: str) -> PairDetector:
    """The detector of pairs `name`; raises ConfigError for what is none."""
    return _of(PairDetector, name)  # type: ignore[type-abstract]


def input_detector(name: str) -> InputDetector:
    """The detector of inputs `name`; raises ConfigError for what is none."""
    return _of(InputDetector, name)  # type: ignore[type-abstract]


def scorer(name: str) -> Scorer:
    """The detector of pairs or inputs `name`; raises ConfigError for what is none."""
    return _of(Scorer, name)  # type: ignore[type-abstract]


def network_detector(name: str) -> NetworkDetector:
    """The detector of networks `name`; raises ConfigError for what is none."""
    return _of(NetworkDetector, name)  # type: ignore[type-abstract]


def repair(name: str) -> Repair:
    """The repair `name`; raises ConfigError for what is none."""
    return _of(Repair, name)  # type: ignore[type-abstract]


def _of(kind: type[AnyDefence], name: str) -> AnyDefence:
    found = load(name)
    if not isinstance(found, kind):
        raise ConfigError(f"'{name}' looks at {found.looks_at}; expected a {kind.__name__}")
    return found


def names(kind: Kind) -> tuple[str, ...]:
    """Names of the registered defences of one kind."""
    return tuple(name for name in registry.names("defences") if kind == load(name).looks_at)


def sees(name: str) -> tuple[Attack, ...]:
    """Kinds of attack that the defence `name` is known to see; none if it does not say."""
    return load(name).sees
