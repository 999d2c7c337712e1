"""What make of network a file holds, told by the names and shapes of its weights."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

Shapes = Mapping[str, tuple[int, ...]]

FIRST = "down_sample_layers.0.layers.0.weight"
"""A weight of every U-Net."""

UNETS = {"fbpconvnet": "correction.", "unet": ""}
"""What the names of a U-Net's weights begin with in the networks that hold one."""


@dataclass(frozen=True)
class Make:
    """A registered network, and what of its settings the shapes tell."""

    name: str
    own: dict[str, Any]

    @property
    def in_words(self) -> str:
        """The network and its settings."""
        return f"{self.name} with " + ", ".join(f"{key} {n}" for key, n in self.own.items())


def make_of(shapes: Shapes) -> Make | None:
    """The make of network that has such weights, whatever their names begin with; None if unknown.

    A guess: the weights have to fit the network that it leads to, name by name.
    """
    return _varnet(shapes) or _unet(shapes) or _modl(shapes) or _cae(shapes)


def _varnet(shapes: Shapes) -> Make | None:
    prefix = _before(shapes, f"cascades.0.unet.{FIRST}")
    if prefix is None:
        return None
    cascades = _count(shapes, f"{prefix}cascades.", ".step")
    return Make("varnet", _levels(shapes, f"{prefix}cascades.0.unet.") | {"cascades": cascades})


def _unet(shapes: Shapes) -> Make | None:
    for name, inside in UNETS.items():
        prefix = _before(shapes, inside + FIRST)
        if prefix is not None:
            return Make(name, _levels(shapes, prefix + inside))
    return None


def _levels(shapes: Shapes, prefix: str) -> dict[str, int]:
    """Channels and pools of the U-Net whose names begin with `prefix`."""
    pools = _count(shapes, f"{prefix}down_sample_layers.", ".layers.0.weight")
    return {"channels": _side(shapes, prefix + FIRST, 0), "pools": pools}


def _modl(shapes: Shapes) -> Make | None:
    first = "denoiser.layers.0.weight"
    prefix = _before(shapes, first)
    if prefix is None:
        return None
    return Make("modl", {"width": _side(shapes, prefix + first, 0)})


def _cae(shapes: Shapes) -> Make | None:
    prefix = _before(shapes, "down.2.weight")
    if prefix is None:
        return None
    names = {"width": ("down.0.weight", 0), "code": ("down.2.weight", 0)}
    names |= {"kernel": ("down.0.weight", 2)}
    return Make("cae", {key: _side(shapes, prefix + of, at) for key, (of, at) in names.items()})


def _before(shapes: Shapes, name: str) -> str | None:
    """What stands before `name` in the only place that it is in, as `module.`; None if nowhere."""
    found = [each.removesuffix(name) for each in shapes if each.endswith(name)]
    fitting = [prefix for prefix in found if not prefix or prefix.endswith(".")]
    return fitting[0] if len(fitting) == 1 else None


def _count(shapes: Shapes, before: str, after: str) -> int:
    """How many numbers stand between the two in names."""
    pattern = re.compile(re.escape(before) + r"(\d+)" + re.escape(after))
    return len({found[1] for name in shapes if (found := pattern.fullmatch(name))})


def _side(shapes: Shapes, name: str, at: int) -> int:
    """One side of a weight; 0, which no setting may be, where it is not there."""
    shape = shapes.get(name, ())
    return shape[at] if at < len(shape) else 0
