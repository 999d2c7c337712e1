"""What is audited: pairs from a file, their operator, and the truth where it is known."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from recondoor import operators
from recondoor.audit._arrays import Arrays, names_in, read_arrays
from recondoor.config import Config, checked
from recondoor.core.errors import DataError
from recondoor.io import arrays as files
from recondoor.operators import LinearOperator, with_masks
from recondoor.poisoning import Pairs

Shape = tuple[int, int, int]
Build = Callable[[Shape], LinearOperator]
Source = Path | Arrays
"""A file, or what it would hold: arrays by name."""

IN_MEMORY = "pairs"

TOLD = 6
"""Names of other arrays that a message lists at most."""

CHUNK = 1_000
"""Measurements of which z is made at a time."""


@dataclass(frozen=True)
class Measured:
    """How pairs were measured.

    Args:
        build: makes the operator, of float64, for images of a shape (C, H, W).
        noise_known: whether the operator's sigma was given, or is to be estimated.
        seed: root seed of what is drawn.
        way: the operator's input map that made z of y.
    """

    build: Build
    noise_known: bool
    seed: int = 0
    way: str = "adjoint"

    @classmethod
    def by(cls, settings: Config) -> Measured:
        """As the `operator` and the `seed` of `settings` say; raises ConfigError."""
        settings = checked(settings)

        def build(shape: Shape) -> LinearOperator:
            return operators.build(shape, settings.operator, settings.seed, torch.float64)

        way = settings.input.map
        return cls(build, "sigma" in settings.operator.model_fields_set, settings.seed, way)


@dataclass(frozen=True, kw_only=True)
class Given:
    """Pairs under suspicion.

    Args:
        name: what they are called in the audit.
        pairs: as a network would be trained on them.
        operator: of float64; None if it is not known.
        noise_known: whether the operator's sigma was given, or is to be estimated.
        poisoned: the truth, boolean (N,); None if it is not known.
        attack: label of the attack whose trigger is in the pairs; None if it is not known.
        seed: root seed of what is drawn.
        notes: what was found as they were read.
        made: whether z was made of y with the operator given, and is right only if that is.
        way: the operator's input map that made z of y.
    """

    name: str
    pairs: Pairs
    operator: LinearOperator | None
    noise_known: bool
    poisoned: NDArray[np.bool_] | None = None
    attack: str | None = None
    seed: int = 0
    notes: tuple[str, ...] = ()
    made: bool = False
    way: str = "adjoint"


def name_of(source: Source) -> str:
    """What the pairs of a source are called in an audit."""
    return source.stem if isinstance(source, Path) else IN_MEMORY


def read_pairs(source: Source, measured: Measured | None) -> tuple[Pairs, LinearOperator | None]:
    """Pairs of an .npz or .h5 file, in float32, and the operator that they were `measured` with.

    The source holds `x`, (N, H, W) or (N, C, H, W), and either `z` of the same shape or `y`,
    (N, ...), of which z = A_adjoint y is made. Where both are, z counts. Audits count in the pairs'
    own units, so that integers are what they are; of uint8, 255 is 1, and True is 1. `mask`, (W,)
    or (N, W), says which columns of k-space an operator of MRI measured of all slices, or of each.

    Raises:
        DataError: the file or its values are not like that, or there is y and no operator.
        ConfigError: the operator does not fit the images.
    """
    path, arrays = _opened(source, ("x", "z", "y", "mask"))
    if "x" not in arrays or not arrays.keys() & {"z", "y"}:
        raise DataError(_nameless(path, source, arrays))
    x = _images(path, "x", arrays["x"])
    shape = (x.shape[1], x.shape[2], x.shape[3])
    if measured is None:
        return Pairs(_inputs(path, arrays, x, None, "adjoint"), x), None
    operator = measured.build(shape)
    if "mask" in arrays:
        operator = with_masks(operator, _masks(path, arrays["mask"], len(x)))
    elif operator.varies:
        raise DataError(
            f"'{path}' holds no mask, but the operator has one for each slice, or maps: give them "
            "as mask (N, W), true where a column of k-space was measured"
        )
    return Pairs(_inputs(path, arrays, x, operator, measured.way), x), operator


def _nameless(path: str, source: Source, arrays: Arrays) -> str:
    """What a source holds in place of x and z, and the remedy."""
    every = sorted(names_in(source) if isinstance(source, Path) else source)
    others = [" ".join(name.split()) for name in every if name not in arrays]  # a line is a line
    more = f" and {len(others) - TOLD} more" if len(others) > TOLD else ""
    besides = f", but {', '.join(others[:TOLD])}{more}" if others else ""
    return (
        f"'{path}' holds {', '.join(sorted(arrays)) or 'none'} of x, z and y{besides}; expected x "
        "and either z or y: save the targets as x and the network's inputs as z, "
        "np.savez('pairs.npz', x=targets, z=inputs)"
    )


def _masks(path: str, values: NDArray[Any], count: int) -> Tensor:
    """Masks (W,) or (N, W), bool, of `count` slices; axes of length 1 between are left out."""
    _require_numbers(path, "mask", values)
    found = values.reshape(-1) if values.size == values.shape[-1] else values
    found = found.reshape(len(found), -1) if found.ndim > 2 else found
    if found.ndim == 2 and (len(found) != count or values.shape[-1] != found.shape[1]):
        raise DataError(
            f"'{path}': mask has the shape {values.shape}; expected (W,) or ({count}, W), one "
            "value for each column of k-space"
        )
    return torch.from_numpy(found != 0)


def made_of_y(source: Source) -> bool:
    """Whether the source has no z, so that it is made of y."""
    return "z" not in _opened(source, ("z",))[1]


def _opened(source: Source, names: tuple[str, ...]) -> tuple[str, Arrays]:
    """What a source is called in messages, and those arrays of it that have `names`."""
    if isinstance(source, Path):
        return str(source), read_arrays(source, names)
    return IN_MEMORY, {name: source[name] for name in names if name in source}


def read_inputs(source: Source, shape: Shape, operator: LinearOperator | None) -> Tensor:
    """Network inputs z (N, C, H, W) of an .npz or .h5 file, in float32; made of y if it has no z.

    Raises:
        DataError: the file or its values are not like that, not of `shape` (C, H, W), or there is
            y and no operator.
    """
    path, arrays = _opened(source, ("z", "y"))
    if not arrays:
        raise DataError(f"'{path}' holds neither z nor y; expected network inputs or measurements")
    if "z" not in arrays:
        return _network_inputs(
            path, arrays["y"], len(np.atleast_1d(arrays["y"])), operator, "adjoint"
        )
    z = _images(path, "z", arrays["z"])
    if tuple(z.shape[1:]) != shape:
        raise DataError(f"'{path}': z holds images of {tuple(z.shape[1:])}; expected {shape}")
    return z


def _inputs(
    path: str, arrays: Arrays, x: Tensor, operator: LinearOperator | None, way: str
) -> Tensor:
    if "z" not in arrays:
        return _network_inputs(path, arrays["y"], len(x), operator, way)
    z = _images(path, "z", arrays["z"])
    if z.shape != x.shape:
        raise DataError(
            f"'{path}': z has the shape {tuple(z.shape)} but x {tuple(x.shape)}; expected the same"
            f": {_remedy(z.shape, x.shape)}"
        )
    return z


def _remedy(z: torch.Size, x: torch.Size) -> str:
    """What makes inputs of shape `z` (N, C, H, W) pairs with images of shape `x`."""
    if z[0] != x[0]:
        return "leave out what has no partner, and keep both in one order"
    if z[2:] != x[2:]:
        return "crop or resample both to one size, as the network's loader does"
    if (z[1], x[1]) == (2, 1):
        return (
            "where z is complex and x a magnitude, give z = np.hypot(z[:, 0], z[:, 1]), or x a "
            "second channel of 0 if complex z is what the network takes"
        )
    return "give those channels of z that show what x shows"


def _network_inputs(
    path: str, y: NDArray[Any], count: int, operator: LinearOperator | None, way: str
) -> Tensor:
    """What the operator's input map `way` makes of `count` measurements y."""
    if operator is None:
        raise DataError(f"'{path}' holds y and no z; give the --operator that y was measured with")
    _require_numbers(path, "y", y)
    first = operator.rows(slice(1))
    form = first.A(torch.zeros(1, *operator.shape, dtype=torch.float64))
    fits = len(y) == count and _measured(torch.zeros(1, *y.shape[1:]), first, form) is not None
    if not fits:
        raise DataError(
            f"'{path}': y has the shape {y.shape}; {count} images of {operator.shape} and this "
            f"operator need {(count, *form.shape[1:])}{first.or_whole()}"
        )
    if np.iscomplexobj(y) and not form.is_complex():
        raise DataError(f"'{path}': y is complex, but this operator's measurements are real")
    parts = []
    for start in range(0, len(y), CHUNK):
        # Torch knows neither foreign byte orders nor every type of NumPy's.
        exact = y[start : start + CHUNK].astype(complex if np.iscomplexobj(y) else float)
        mine = operator.rows(slice(start, start + CHUNK))
        part = _measured(torch.from_numpy(exact), mine, form)
        assert part is not None
        parts.append(mine.network_input(part.to(form.dtype), way).float())
    return torch.cat(parts)


def _measured(values: Tensor, operator: LinearOperator, form: Tensor) -> Tensor | None:
    """Measurements as `form`, of those or of fully sampled ones; None if they are neither."""
    if values[0].numel() == form[0].numel():
        return values.reshape(-1, *form.shape[1:])
    return operator.measured_of(values)


def _images(path: str, name: str, values: NDArray[Any]) -> Tensor:
    """Values as float32 (N, C, H, W)."""
    _require_numbers(path, name, values)
    if values.dtype.kind not in "fiub":
        raise DataError(
            f"'{path}': {name} holds {values.dtype}; expected real numbers: make two channels of "
            f"them, np.stack(({name}.real, {name}.imag), 1)"
        )
    _require_order(path, name, values.shape)
    pixels = files.to_float32(values)
    if first := files.first_not_finite(pixels):
        raise DataError(
            f"'{path}': {name} holds values too large for 32 bits, the first at {first}; rescale "
            "them"
        )
    return torch.from_numpy(pixels if pixels.ndim == 4 else pixels[:, None])


def _require_order(path: str, name: str, shape: tuple[int, ...]) -> None:
    """Refuse what is not (N, H, W) or (N, C, H, W), or has its channels last by all appearance."""
    if len(shape) not in (3, 4):
        raise DataError(
            f"'{path}': {name} has the shape {shape}; expected (N, H, W) or (N, C, H, W)"
        )
    if len(shape) == 4 and shape[1] > min(shape[2:]) and shape[1] not in (1, 3):
        raise DataError(
            f"'{path}': {name} has the shape {shape}, with more channels than rows or columns if "
            "read as (N, C, H, W); move the channels: np.moveaxis(values, -1, 1)"
        )


def _require_numbers(path: str, name: str, values: NDArray[Any]) -> None:
    if values.ndim == 0 or values.size == 0:
        raise DataError(
            f"'{path}': {name} has the shape {values.shape}; expected at least one pair"
        )
    if first := files.first_not_finite(values):
        raise DataError(
            f"'{path}': {name} holds NaN or infinite values, the first at {first}; leave those "
            "pairs out, they train nothing"
        )
