"""Products with a sparse matrix in compressed rows, differentiable any number of times."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from functools import cache, cached_property
from typing import Any, TypeAlias

import torch
from scipy import sparse
from torch import Tensor

Fields: TypeAlias = tuple[Tensor, Tensor, Tensor]


@dataclass(frozen=True, eq=False)
class Rows:
    """A sparse matrix in compressed rows, of `width` columns.

    PyTorch's product is the faster one: with 60 views of 128 x 128 pixels on one core 1.0 ms for
    an image and 8.9 ms for 16, SciPy's 2.0 and 14.0 ms. It also runs on a GPU.
    """

    starts: Tensor
    places: Tensor
    weights: Tensor
    width: int

    @cached_property
    def matrix(self) -> Tensor:
        """The same as PyTorch has it, (height, width)."""
        _told_once()
        size = (len(self.starts) - 1, self.width)
        return torch.sparse_csr_tensor(self.starts, self.places, self.weights, size)

    def times(self, values: Tensor) -> Tensor:
        """M v of each row v of (k, width): (k, height)."""
        if len(values) == 1:
            return torch.mv(self.matrix, values[0])[None]
        return torch.mm(self.matrix, values.T).T


def rows_of(places: Any, weights: Any, height: int, dtype: torch.dtype) -> tuple[Fields, Fields]:
    """A matrix and its transpose in compressed rows.

    Args:
        places: for each column of the matrix the rows in which it has weights, int32 (n, m).
        weights: these weights, (n, m).
        height: rows of the matrix.
        dtype: real type to which the weights are rounded.
    """
    columns, each = places.shape
    starts = torch.arange(columns + 1, dtype=torch.int32) * each
    rounded = torch.from_numpy(weights.ravel()).to(dtype)
    back = starts, torch.from_numpy(places.ravel()), rounded
    layout = (rounded.numpy(), places.ravel(), starts.numpy())
    there = sparse.csr_matrix(layout, shape=(columns, height)).T.tocsr()
    fields = torch.from_numpy(there.indptr), torch.from_numpy(there.indices)
    return (*fields, torch.from_numpy(there.data)), back


def product(values: Tensor, there: Rows, back: Rows) -> Tensor:
    """M v of each row v of `values`; `there` is M and `back` its transpose."""
    result: Tensor = _Product.apply(values, there, back)  # type: ignore[no-untyped-call]
    return result


class _Product(torch.autograd.Function):
    """The derivative of a product is one with the transpose, whose derivative is the product."""

    @staticmethod
    def forward(values: Tensor, there: Rows, back: Rows) -> Tensor:
        return there.times(values)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Rows, Rows], output: Tensor) -> None:
        _, ctx.there, ctx.back = inputs

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        return product(gradients[0], ctx.back, ctx.there), None, None


@cache
def _told_once() -> None:
    """Let PyTorch say here, unheard, what it says once in a process: that such rows are young."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        nothing = torch.zeros(1, dtype=torch.int32)
        torch.sparse_csr_tensor(nothing, nothing[:0], torch.zeros(0), (0, 1))
