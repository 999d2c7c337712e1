"""Convolutional autoencoder of the paper: 4 convolutions, 3 transposed; 233,057 parameters."""

from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from recondoor.config import Model


class NarrowConv2d(nn.Conv2d):
    """A same-size convolution with few output channels, computed as a 1x1 convolution and a fold.

    CPU convolution kernels vectorise over output channels, so that one output channel leaves most
    lanes idle. Here each tap of the kernel is an output channel of a 1x1 convolution, and the fold
    adds the shifted taps up: the same sum in another order, twice differentiable, and 1.7 times as
    fast for 32 -> 1 channels (`benchmarks/training.py`).
    """

    def forward(self, h: Tensor) -> Tensor:
        """Map (B, C_in, H, W) to (B, C_out, H, W)."""
        side = self.kernel_size[0]
        taps = self.weight.flip(2, 3).permute(0, 2, 3, 1).reshape(-1, self.in_channels, 1, 1)
        shifted = F.conv2d(h, taps).flatten(2)
        folded = F.fold(shifted, (h.shape[2], h.shape[3]), side, padding=side // 2)
        return folded if self.bias is None else folded + self.bias.view(1, -1, 1, 1)


class ConvolutionalAutoencoder(nn.Module):
    """Three convolutions of stride 2 down, three transposed convolutions up, one convolution out.

    ReLU between the layers, linear output. The transposed convolutions undo exactly the sizes met
    on the way down, so that any height and width works.
    """

    def __init__(self, channels: int, width: int, code: int, kernel: int) -> None:
        super().__init__()
        pad = kernel // 2
        sizes = (channels, width, width, code)
        self.down = nn.ModuleList(
            nn.Conv2d(a, b, kernel, stride=2, padding=pad)
            for a, b in pairwise(sizes)
        )
        self.up = nn.ModuleList(
            nn.ConvTranspose2d(code, code, kernel, stride=2, padding=pad) for _ in range(3)
        )
        self.out = NarrowConv2d(code, channels, kernel, padding=pad)

    def forward(self, z: Tensor) -> Tensor:
        """Reconstruct (B, C, H, W) from z of the same shape."""
        sizes, h = [], z
        for layer in self.down:
            sizes.append(h.shape[2:])
            h = torch.relu(layer(h))
        for layer, size in zip(self.up, reversed(sizes), strict=True):
            h = torch.relu(layer(h, output_size=size))
        result: Tensor = self.out(h)
        return result


def build(shape: tuple[int, int, int], settings: Model) -> nn.Module:
    """Return the network for images of `shape` (C, H, W)."""
    return ConvolutionalAutoencoder(shape[0], settings.width, settings.code, settings.kernel)
