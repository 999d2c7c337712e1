"""Operators of a caller's own: a matrix, or any object with A and A_adjoint."""

from __future__ import annotations

import copy
import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from recondoor.core import seeding
from recondoor.core.errors import FAILURES, ConfigError, in_a_line
from recondoor.operators._base import LinearOperator
from recondoor.operators._matrix import Matrix

Shape = tuple[int, int, int]

EXACT = 1e-6
"""Relative difference up to which two computations in 64 bits are the same."""


@dataclass(frozen=True, eq=False)
class Outside(LinearOperator):
    """An object of another library that measures real images (B, C, H, W).

    It computes in 64 bits; what it gives is rounded to the precision of what it got.

    Args:
        maps: has `A(x)` and `A_adjoint(y)`, as the physics of deepinv.
    """

    maps: Any

    def A(self, x: Tensor) -> Tensor:
        y: Tensor = self.maps.A(x.double())
        return y.to(x.dtype.to_complex() if y.is_complex() else x.dtype)

    def A_adjoint(self, y: Tensor) -> Tensor:
        exact = y.to(torch.complex128 if y.is_complex() else torch.float64)
        x: Tensor = self.maps.A_adjoint(exact)
        return x.to(y.real.dtype)


def of_caller(given: object, shape: Shape, sigma: float = 0.0) -> LinearOperator:
    """The operator that a caller has, for images of `shape` (C, H, W), in float64 on the CPU.

    Args:
        given: a `LinearOperator`; a matrix (m, C * H * W), real or complex, as array or tensor; or
            an object with `A(x)` and `A_adjoint(y)`, which is tried out. An `nn.Module`, as
            deepinv's physics are, is copied and set to 64 bits.
        shape: of an image.
        sigma: standard deviation of the noise, in units of y.

    Raises:
        ConfigError: nothing of the kind, or it is not linear, its adjoint is another operator's, it
            draws at random, or it does not compute in 64 bits.
    """
    if isinstance(given, LinearOperator):
        return _of_shape(given, shape)
    if isinstance(given, np.ndarray | Tensor):
        return Matrix(shape, sigma, _matrix(given, shape))
    if not all(callable(getattr(given, name, None)) for name in ("A", "A_adjoint")):
        raise ConfigError(
            f"operator: {type(given).__name__} given; expected a matrix, or an object with A(x) "
            "and A_adjoint(y), as the physics of deepinv"
        )
    try:
        maps = copy.deepcopy(given).double().cpu() if isinstance(given, nn.Module) else given
    except FAILURES as error:
        raise ConfigError(
            f"operator: {type(given).__name__} cannot be copied: {in_a_line(error)}"
        ) from None
    operator = Outside(shape, sigma, maps)
    fault = _fault(operator)
    if fault is not None:
        raise ConfigError(f"operator: {type(given).__name__} {fault}")
    return operator


def _of_shape(given: LinearOperator, shape: Shape) -> LinearOperator:
    if given.shape != shape:
        raise ConfigError(
            f"operator: built for images of {given.shape}, but these are {shape}; build it for them"
        )
    return given.to("cpu", torch.float64)


def _matrix(given: NDArray[Any] | Tensor, shape: Shape) -> Tensor:
    values = torch.as_tensor(given).detach().cpu()
    if values.ndim != 2 or values.shape[1] != math.prod(shape):
        raise ConfigError(
            f"operator: a matrix of {tuple(values.shape)} given; images of {shape} need "
            f"(m, {math.prod(shape)}), one column for each value of (C, H, W) in row order"
        )
    if not bool(values.isfinite().all()):
        raise ConfigError("operator: the matrix holds NaN or infinite values")
    return values.to(torch.complex128 if values.is_complex() else torch.float64)


@torch.no_grad()
def _fault(operator: Outside) -> str | None:
    """Why an object's maps are no operator and its adjoint for real images; None if they are."""
    generator = seeding.torch_generator(0, "operator", "outside")
    x = torch.randn(2, *operator.shape, generator=generator, dtype=torch.float64)
    try:
        y = operator.maps.A(x)
        v = torch.randn(y.shape, generator=generator, dtype=y.dtype)
        back, again = operator.maps.A_adjoint(v), operator.maps.A(x)
        doubled, single = operator.maps.A(2 * x), operator.maps.A(x[:1])
    except FAILURES as error:
        return (
            f"failed on images (2, {', '.join(map(str, operator.shape))}) of float64: "
            f"{in_a_line(error)}; it has to measure real images in 64 bits on the CPU"
        )
    if y.real.dtype != torch.float64:
        return f"measures images of 64 bits in {y.real.dtype}; it has to do so in 64 bits"
    size = float(y.abs().max())
    if back.is_complex() or tuple(back.shape) != tuple(x.shape):
        return f"gives back {back.dtype} of {tuple(back.shape)}; A_adjoint has to give real images"
    if not torch.equal(y, again):
        return "gives two measurements of the same images; leave the noise out of A"
    if _differ(doubled, 2 * y, size):
        return "is not linear: A(2 x) is not 2 A(x)"
    if _differ(single, y[:1], size):
        return "measures an image differently beside others; each has to be measured alone"
    left, right = float((y.conj() * v).sum().real), float((x * back).sum())
    if abs(left - right) > EXACT * float(y.abs().square().sum().sqrt() * v.abs().norm()):
        return (
            "has an A_adjoint that is not the adjoint of A in 64 bits: <A x, v> = "
            f"{left:.6g}, <x, A_adjoint v> = {right:.6g}"
        )
    return None


def _differ(a: Tensor, b: Tensor, size: float) -> bool:
    return float((a - b).abs().max()) > EXACT * size
