"""An operator taken apart: as a matrix, in closed form, or only along coarse boxes."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TypedDict

import torch
from torch import Tensor

from recondoor.core.errors import ConfigError
from recondoor.operators import (
    Basis,
    Dense,
    LinearOperator,
    Matrix,
    Separable,
    Turned,
    boxes,
)

Map = Callable[[Tensor], Tensor]
"""From images (N, C, H, W) of 64 bits to images."""

MOST_PIXELS = 4_096
"""Values of an image above which the eigenvectors of A_adjoint A no longer fit."""

CLOSED = 1_024
"""Values of an image above which a closed form is taken where there is one; it is much faster."""

NULL = 1e-4
"""Singular values below this share of the largest are not inverted: z is stored in 32 bits."""

BOXES = 16
"""Boxes along each side of an image where only a part of z is looked at."""

NOTHING = 1e-6
"""Share of the largest singular value below which one is 0 but for rounding."""

CHUNK = 1 << 22
"""Values of images that are measured at a time."""


class Decomposed(TypedDict):
    """What `Physics` has of an operator; its docstring says what each is."""

    singular: Tensor
    basis: Basis
    dropped: Tensor
    clean: Map | None
    partial: bool
    inside: Basis | None


def decomposed(operator: LinearOperator, way: str, partial: bool) -> Decomposed:
    """Taken apart for inputs that its input map `way` made; arguments and errors as `Physics.of`.

    Where z is no A_adjoint y the noise in it has another law than its images. Then that noise is
    taken apart, along coarse boxes, which leaves out what only a whole decomposition can tell.
    """
    pixels, known = math.prod(operator.shape), operator.directions()
    if way != "adjoint":
        if not partial:
            raise ConfigError(f"inputs made by '{way}' given; these tests need those of 'adjoint'")
        return _along_boxes(operator, *_maps(operator, way), _range(operator))
    if known is not None and pixels > CLOSED:
        return _kept(*known)
    if pixels <= MOST_PIXELS:
        return _of_matrix(operator)
    if partial:
        return _along_boxes(operator, _normal(operator), _normal(operator), None)
    raise ConfigError(
        f"images of {pixels} values given; these tests need the singular vectors of the "
        f"operator and so at most {MOST_PIXELS}: cut the images into patches"
    )


def _of_matrix(operator: LinearOperator) -> Decomposed:
    """By the eigenvectors of A_adjoint A, or of A A_adjoint where A is a matrix of fewer rows."""
    pixels = math.prod(operator.shape)
    rows = _rows(operator)
    if rows is not None and len(rows) < pixels:
        values, left = torch.linalg.eigh(rows @ rows.T)
        singular = values.clamp_min(0).sqrt()
        kept = singular > NULL * singular[-1]
        # What is not measured at all has no place here, as it is zero but for rounding.
        vectors = rows.T @ (left[:, kept] / singular[kept])
        values = torch.cat((values.new_zeros(pixels - len(values)), values[~kept]))
        return _result(singular[kept], Dense(vectors), values, float(singular[-1]) ** 2, pixels)
    images = torch.eye(pixels, dtype=torch.float64).view(pixels, *operator.shape)
    gram = operator.A_adjoint(operator.A(images)).flatten(1)
    values, vectors = torch.linalg.eigh((gram + gram.T) / 2)
    singular = values.clamp_min(0).sqrt()
    kept = singular > NULL * singular[-1]
    basis = Dense(vectors[:, kept].contiguous())
    return _result(singular[kept], basis, values[~kept], float(values[-1]), pixels)


def _result(
    singular: Tensor, basis: Basis, lost: Tensor, largest: float, pixels: int
) -> Decomposed:
    """Eigenvalues that are `lost` are exact up to a share of the `largest`, and no further."""
    unsure = pixels * torch.finfo(torch.float64).eps * largest
    dropped = (lost.clamp_min(0) + unsure).sqrt()
    return _whole(singular, basis, dropped)


def _whole(singular: Tensor, basis: Basis, dropped: Tensor) -> Decomposed:
    return Decomposed(
        singular=singular, basis=basis, dropped=dropped, clean=None, partial=False, inside=basis
    )


def _range(operator: LinearOperator) -> Basis | None:
    """Range(A_adjoint), which `pinv` and `fbp` do not leave; None where it is not known sharply."""
    if math.prod(operator.shape) > MOST_PIXELS and operator.directions() is None:
        return None
    found = decomposed(operator, "adjoint", partial=False)
    weak = float(found["dropped"].max()) if len(found["dropped"]) else 0.0
    return found["basis"] if weak < NOTHING * float(found["singular"].max()) else None


def _rows(operator: LinearOperator) -> Tensor | None:
    """The rows (m, D) of a matrix on real images, real and imaginary parts apart."""
    if not isinstance(operator, Matrix):
        return None
    matrix = operator.matrix
    return torch.cat((matrix.real, matrix.imag)) if matrix.is_complex() else matrix


def _kept(singular: Tensor, basis: Basis) -> Decomposed:
    """Of a closed form: directions that A all but loses are left out."""
    kept = singular > NULL * singular.max()
    lost = singular.new_zeros(basis.pixels - int(kept.sum()))
    lost[: int((~kept).sum())] = singular[~kept]
    if bool(kept.all()):
        return _whole(singular, basis, lost)
    if not isinstance(basis, Separable):
        raise ConfigError("the operator has a closed form with directions that it all but loses")
    places = torch.nonzero(kept)[:, 0]
    places = places if basis.kept is None else basis.kept[places]
    some = Separable(basis.shape, basis.down, basis.across, places)
    return _whole(singular[kept], some, lost)


def _along_boxes(
    operator: LinearOperator, noise: Map, clean: Map, inside: Basis | None
) -> Decomposed:
    """The part of z along coarse boxes V: V^T (z - F A x) has the covariance sigma^2 V^T F F^T V.

    That needs no more of an operator than its maps.
    """
    down, across = (
        boxes(torch.arange(size) * min(size, BOXES) // size) for size in operator.shape[1:]
    )
    coarse = Separable(operator.shape, down, across)
    images = coarse.back(torch.eye(coarse.rank, dtype=torch.float64))
    step = max(1, CHUNK // coarse.pixels)
    gram = torch.cat(
        [
            coarse.along(noise(images[k : k + step].view(-1, *operator.shape)).flatten(1))
            for k in range(0, len(images), step)
        ]
    )
    values, vectors = torch.linalg.eigh((gram + gram.T) / 2)
    singular = values.clamp_min(0).sqrt()
    kept = singular > NULL * singular[-1]
    return Decomposed(
        singular=singular[kept],
        basis=Turned(coarse, vectors[:, kept]),
        dropped=singular.new_zeros(0),
        clean=clean,
        partial=True,
        inside=inside,
    )


def _normal(operator: LinearOperator) -> Map:
    def apply(x: Tensor) -> Tensor:
        return operator.A_adjoint(operator.A(x))

    return apply


def _maps(operator: LinearOperator, way: str) -> tuple[Map, Map]:
    """F F^T and F A of the input map F; raises ConfigError where it has no linear law."""
    if way == "pinv":
        # A^+ (A^+)^T is the pseudo-inverse of A^T A, and A^+ A the projection on its range.
        return lambda v: operator.solve_normal(operator.project_range(v)), operator.project_range
    if way not in operator.input_maps or way == "rss":
        raise ConfigError(
            f"inputs made by '{way}' given: they have lost what is compared with the measurement"
        )

    def transpose(v: Tensor) -> Tensor:
        form = operator.A(torch.zeros_like(v[:1]))
        y = form.new_zeros(len(v), *form.shape[1:]).requires_grad_(True)
        with torch.enable_grad():
            told = (operator.network_input(y, way) * v).sum()
        return torch.autograd.grad(told, y)[0]

    return (
        lambda v: operator.network_input(transpose(v), way),
        lambda x: operator.network_input(operator.A(x), way),
    )
