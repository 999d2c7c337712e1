"""Convolutions whose second derivative costs no more than it must.

PyTorch's own double backward of a convolution computes all three of its results even if one is
asked for, and the kernel's as a convolution with batch and channels exchanged, which CPU kernels
run slowly. Here each result is one call of the ordinary forward or backward kernel, made only if
somebody reads it. A convolution is bilinear in (input, kernel), so that its gradients' derivatives
are again convolutions of the same geometry.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function
from torch.autograd.graph import Node
from torch.overrides import TorchFunctionMode

PLAIN = {torch.conv1d: 1, torch.conv2d: 2, torch.conv3d: 3}
TRANSPOSED = {torch.conv_transpose1d: 1, torch.conv_transpose2d: 2, torch.conv_transpose3d: 3}
Geometry = tuple[list[int], list[int], list[int], bool, list[int], int]
Pair = tuple[Tensor | None, Tensor | None]


class Convolutions(TorchFunctionMode):
    """While active, `F.conv*` and `F.conv_transpose*` are ours; their values are PyTorch's own.

    `kernels` says whether kernels that do not depend on `delta` are being differentiated by: what
    leads to them alone is left out of a backward pass while it is False.
    """

    def __init__(self, delta: Tensor) -> None:
        super().__init__()
        self.delta, self.kernels = delta, True

    @contextmanager
    def skipping_kernels(self, skip: bool) -> Iterator[None]:
        """Set `kernels` for a while."""
        self.kernels = not skip
        try:
            yield
        finally:
            self.kernels = True

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func not in PLAIN | TRANSPOSED or not torch.is_grad_enabled():
            return func(*args, **kwargs)
        if func in PLAIN:
            call, geometry = _plain(PLAIN[func], *args, **kwargs)
        else:
            call, geometry = _transposed(TRANSPOSED[func], *args, **kwargs)
        h, kernel, bias = call
        # Unbatched input and padding by name are rare enough to be left to PyTorch.
        if geometry is None or h.dim() != kernel.dim() or torch.is_autocast_enabled(h.device.type):
            return func(*args, **kwargs)
        out: Tensor = _Convolution.apply(  # type: ignore[no-untyped-call]
            h, kernel, geometry, self, depends(kernel, self.delta)
        )
        return out if bias is None else out + bias.view(1, -1, *[1] * (out.dim() - 2))


Call = tuple[tuple[Tensor, Tensor, Tensor | None], Geometry | None]


def _plain(
    n: int,
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    groups: int = 1,
) -> Call:
    """The arguments of `F.conv*`, under the names it gives them."""
    if isinstance(padding, str):
        return (input, weight, bias), None
    geometry = (_each(stride, n), _each(padding, n), _each(dilation, n), False, [0] * n, groups)
    return (input, weight, bias), geometry


def _transposed(
    n: int,
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Any = 1,
    padding: Any = 0,
    output_padding: Any = 0,
    groups: int = 1,
    dilation: Any = 1,
) -> Call:
    """The arguments of `F.conv_transpose*`, under the names it gives them."""
    sizes = _each(stride, n), _each(padding, n), _each(dilation, n)
    return (input, weight, bias), (*sizes, True, _each(output_padding, n), groups)


def _each(value: Any, n: int) -> list[int]:
    values = [value] if isinstance(value, int) else list(value)
    return values * n if len(values) == 1 else values


def depends(value: Tensor, leaf: Tensor) -> bool:
    """Whether the graph of `value` leads to `leaf`."""
    seen: set[Node | None] = {None}
    stack: list[Node | None] = [value.grad_fn]
    while stack:
        node = stack.pop()
        if node not in seen:
            seen.add(node)
            if getattr(node, "variable", None) is leaf:
                return True
            stack.extend(following for following, _ in node.next_functions)  # type: ignore[union-attr]
    return value is leaf


def _forward(h: Tensor, kernel: Tensor, geometry: Geometry) -> Tensor:
    return torch.ops.aten.convolution(h, kernel, None, *geometry)  # type: ignore[no-any-return]


def _backward(
    to_out: Tensor, h: Tensor, kernel: Tensor, geometry: Geometry, want: list[bool]
) -> Pair:
    """Gradients by input and kernel, each None unless wanted."""
    result = torch.ops.aten.convolution_backward(to_out, h, kernel, None, *geometry, [*want, False])
    return result[0], result[1]


class _Convolution(Function):
    @staticmethod
    def forward(
        ctx: Any, h: Tensor, kernel: Tensor, geometry: Geometry, mode: Convolutions, bound: bool
    ) -> Tensor:
        ctx.save_for_backward(h, kernel)
        ctx.geometry, ctx.mode, ctx.bound = geometry, mode, bound
        return _forward(h, kernel, geometry)

    @staticmethod
    def backward(ctx: Any, to_out: Tensor) -> Any:
        h, kernel = ctx.saved_tensors
        want = [ctx.needs_input_grad[0], ctx.needs_input_grad[1]]
        want[1] = want[1] and (ctx.mode.kernels or ctx.bound)
        if not any(want):
            return None, None, None, None, None
        pair = _Gradients.apply(  # type: ignore[no-untyped-call]
            to_out, h, kernel, ctx.geometry, want, ctx.mode, ctx.bound
        )
        return *pair, None, None, None


class _Gradients(Function):
    """The gradients of a convolution, as a function that is differentiable itself."""

    @staticmethod
    def forward(
        ctx: Any,
        to_out: Tensor,
        h: Tensor,
        kernel: Tensor,
        geometry: Geometry,
        want: list[bool],
        mode: Convolutions,
        bound: bool,
    ) -> Pair:
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(to_out, h, kernel)
        ctx.geometry, ctx.mode, ctx.bound = geometry, mode, bound
        return _backward(to_out, h, kernel, geometry, want)

    @staticmethod
    def backward(ctx: Any, to_h: Tensor | None, to_kernel: Tensor | None) -> Any:
        to_out, h, kernel = ctx.saved_tensors
        geometry, (need_out, need_h, need_kernel, *_) = ctx.geometry, ctx.needs_input_grad
        need_kernel = need_kernel and (ctx.mode.kernels or ctx.bound)
        out = by_h = by_kernel = None
        if need_out and to_h is not None:
            out = _forward(to_h, kernel, geometry)
        if need_out and to_kernel is not None:
            part = _forward(h, to_kernel, geometry)
            out = part if out is None else out.add_(part)
        if need_h and to_kernel is not None:
            by_h, _ = _backward(to_out, h, to_kernel, geometry, [True, False])
        if need_kernel and to_h is not None:
            _, by_kernel = _backward(to_out, to_h, kernel, geometry, [False, True])
        return out, by_h, by_kernel, None, None, None, None
