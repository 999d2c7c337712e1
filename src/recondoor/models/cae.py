"""Convolutional autoencoder of the paper: 4 convolutions, 3 transposed; 233,057 parameters."""

from collections.abc import Iterable
from itertools import pairwise
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from recondoor.config import Model
from recondoor.models._base import Network


class NarrowConv2d(nn.Conv2d):
    """A same-size convolution with few output channels, computed block by block.

    CPU convolution kernels vectorise over output channels, so that one output channel leaves most
    lanes idle. Here every pixel of a 4x2 block of the output is an output channel of one strided
    convolution, whose kernels are the original one shifted and padded with zeros: the same sums,
    and for 32 -> 1 channels about twice as fast (`benchmarks/training.py`).
    """

    BLOCK = (4, 2)

    def forward(self, h: Tensor) -> Tensor:
        """Map (B, C_in, H, W) to (B, C_out, H, W)."""
        rows, columns = self.BLOCK
        shifted = [
            F.pad(self.weight, (j, columns - 1 - j, i, rows - 1 - i))
            for i in range(rows)
            for j in range(columns)
        ]
        kernels = torch.stack(shifted, dim=1).flatten(0, 1)
        height, width = h.shape[2:]
        if height % rows or width % columns:  # padding by nothing would copy all of h
            h = F.pad(h, (0, -width % columns, 0, -height % rows))
        blocks = F.conv2d(
            h,
            kernels.contiguous(memory_format=torch.channels_last),
            stride=self.BLOCK,
            padding=self.kernel_size[0] // 2,
        )
        pixels = blocks.view(len(h), self.out_channels, rows, columns, *blocks.shape[2:])
        image: Tensor = pixels.permute(0, 1, 4, 2, 5, 3).reshape(
            len(h), self.out_channels, *h.shape[2:]
        )[..., :height, :width]
        return image if self.bias is None else image + self.bias.view(1, -1, 1, 1)


class ConvolutionalAutoencoder(nn.Module):
    """Three convolutions of stride 2 down, three transposed convolutions up, one convolution out.

    ReLU between the layers, linear output. The transposed convolutions undo exactly the sizes met
    on the way down, so that any height and width works.
    """

    def __init__(self, channels: int, width: int, code: int, kernel: int) -> None:
        super().__init__()
        self.pad = pad = kernel // 2
        sizes = (channels, width, width, code)
        self.down = nn.ModuleList(
            nn.Conv2d(a, b, kernel, stride=2, padding=pad) for a, b in pairwise(sizes)
        )
        self.up = nn.ModuleList(
            nn.ConvTranspose2d(code, code, kernel, stride=2, padding=pad) for _ in range(3)
        )
        self.out = NarrowConv2d(code, channels, kernel, padding=pad)

    def forward(self, z: Tensor) -> Tensor:
        """Reconstruct (B, C, H, W) from z of the same shape."""
        h, sizes = self._encode(z)
        ups = cast("Iterable[nn.ConvTranspose2d]", self.up)
        for up, size in zip(ups, reversed(sizes), strict=True):
            extra = [wanted + 1 - 2 * have for wanted, have in zip(size, h.shape[2:], strict=True)]
            h = _activate(F.conv_transpose2d(h, up.weight, None, 2, self.pad, extra), up.bias)
        result: Tensor = self.out(h)
        return result

    def features(self, z: Tensor) -> Tensor:
        """Code of z (B, C, H, W), the layer with the fewest values: (B, code, H / 8, W / 8)."""
        return self._encode(z)[0]

    def _encode(self, z: Tensor) -> tuple[Tensor, list[torch.Size]]:
        """The code and the sizes met on the way down."""
        sizes, h = [], z
        for down in cast("Iterable[nn.Conv2d]", self.down):
            sizes.append(h.shape[2:])
            h = _activate(F.conv2d(h, down.weight, None, 2, self.pad), down.bias)
        return h, sizes


def _activate(h: Tensor, bias: Tensor | None) -> Tensor:
    """ReLU of h plus its bias, in place.

    The bias is added apart from the convolution, whose CPU kernel sums a bias gradient slowly.
    """
    return torch.relu_(h if bias is None else h.add_(bias.view(1, -1, 1, 1)))


class Cae(Network):
    """The paper's network; 233,057 parameters at its width, code and kernel."""

    def build(self, shape: tuple[int, int, int], settings: Model) -> nn.Module:
        """Return the network for images of `shape` (C, H, W)."""
        return ConvolutionalAutoencoder(shape[0], settings.width, settings.code, settings.kernel)
