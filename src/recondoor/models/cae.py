"""Convolutional autoencoder of the paper: 4 convolutions, 3 transposed; 233,057 parameters."""

import torch
from torch import Tensor, nn

from recondoor import config
from recondoor.config import Model
from recondoor.models._base import Network
from recondoor.models._kernels import Down, NarrowConv2d, Up


class ConvolutionalAutoencoder(nn.Module):
    """Three convolutions of stride 2 down, three transposed convolutions up, one convolution out.

    ReLU between the layers, linear output. The transposed convolutions undo exactly the sizes met
    on the way down, so that any height and width works.
    """

    recordable = True
    """A step is the same work each time (`training.graph`)."""

    def __init__(self, channels: int, width: int, code: int, kernel: int) -> None:
        super().__init__()
        pad = kernel // 2
        self.down = nn.ModuleList(
            [
                Down(channels, width, kernel, stride=2, padding=pad),
                Down(width, width, kernel, stride=2, padding=pad),
                Down(width, code, kernel, stride=2, padding=pad),
            ]
        )
        self.up = nn.ModuleList(
            [
                Up(code, code, kernel, stride=2, padding=pad),
                Up(code, code, kernel, stride=2, padding=pad),
                Up(code, code, kernel, stride=2, padding=pad),
            ]
        )
        self.out = NarrowConv2d(code, channels, kernel, padding=pad)

    def forward(self, z: Tensor) -> Tensor:
        """Reconstruct (B, C, H, W) from z of the same shape."""
        h, sizes = self._encode(z)
        for up, size in zip(self.up, reversed(sizes), strict=True):
            h = up(h, size)
        result: Tensor = self.out(h)
        return result

    def features(self, z: Tensor) -> Tensor:
        """Code of z (B, C, H, W), the layer with the fewest values: (B, code, H / 8, W / 8)."""
        return self._encode(z)[0]

    def _encode(self, z: Tensor) -> tuple[Tensor, list[torch.Size]]:
        """The code and the sizes met on the way down."""
        sizes, h = [], z
        for down in self.down:
            sizes.append(h.shape[2:])
            h = down(h)
        return h, sizes


class Cae(Network):
    """The paper's network; 233,057 parameters at its width, code and kernel."""

    Settings = config.Cae
    settings: config.Cae
    farther = "raise model.cae.kernel or model.cae.width"

    def build(self, shape: tuple[int, int, int], settings: Model) -> nn.Module:
        """Return the network for images of `shape` (C, H, W)."""
        own = self.settings
        return ConvolutionalAutoencoder(shape[0], own.width, own.code, own.kernel)
