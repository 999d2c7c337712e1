"""Files that hold two networks side by side, as a repair may leave them: both weights, a limit."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor, nn

from recondoor.core.errors import DataError
from recondoor.defences import SideBySide

Shapes = Mapping[str, tuple[int, ...]]

NUMBERS = "usual", "limit"
"""What a file holds beside the weights, each a single number."""

MIRRORED = "mirrored"
"""A further one, 0 or 1, which files of earlier versions lack: it is 0 then."""

BEGINS = "given.", "mended."
"""What the names of the weights of either network begin with."""


@dataclass(frozen=True)
class Part:
    """The weights of one network in a file: what their names begin with, and shapes without it."""

    begin: str
    shapes: dict[str, tuple[int, ...]]


def parts_of(shapes: Shapes) -> tuple[Part, ...]:
    """The networks that a file with weights of such shapes holds: one, or two side by side."""
    names = [name for name in shapes if name not in (*NUMBERS, MIRRORED)]
    numbers = all(shapes.get(name) == () for name in numbers_of(shapes))
    if not numbers or not all(name.startswith(BEGINS) for name in names):
        return (Part("", dict(shapes)),)
    return tuple(
        Part(
            begin,
            {name.removeprefix(begin): shapes[name] for name in names if name.startswith(begin)},
        )
        for begin in BEGINS
    )


def numbers_of(shapes: Shapes) -> tuple[str, ...]:
    """The names of the numbers beside two networks in a file with weights of such shapes."""
    return (*NUMBERS, MIRRORED) if MIRRORED in shapes else NUMBERS


def joined(path: Path, networks: Sequence[nn.Module], numbers: Mapping[str, Tensor]) -> nn.Module:
    """The network of a file, or its two side by side; DataError for numbers that are none of it.

    numbers: those of `numbers_of`, as the file has them; of one network none.
    """
    if len(networks) == 1:
        return networks[0]
    for name, value in numbers.items():
        if not float(value) >= 0:
            raise DataError(f"'{path}': {name} is {float(value):g}; expected 0 or more")
        if name == MIRRORED and float(value) not in (0, 1):
            raise DataError(f"'{path}': {name} is {float(value):g}; expected 0 or 1")
    return SideBySide(networks[0], networks[1], **numbers)
