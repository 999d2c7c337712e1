"""Layers with PyTorch's own results, computed faster on the CPU."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn


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
        if h.device.type != "cpu":  # GPU kernels have no idle lanes to fill
            return super().forward(h)
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


class Down(nn.Conv2d):
    """A convolution and ReLU."""

    def forward(self, h: Tensor) -> Tensor:
        """Map (B, C_in, H, W) to (B, C_out, H', W')."""
        return _relu(F.conv2d(h, self.weight, None, self.stride, self.padding), self.bias)


class Up(nn.ConvTranspose2d):
    """A transposed convolution and ReLU."""

    def forward(self, h: Tensor, size: torch.Size) -> Tensor:  # type: ignore[override]
        """Map (B, C_in, H, W) to (B, C_out, *size), with size 2 H - 1 or 2 H in each direction."""
        extra = [wanted + 1 - 2 * have for wanted, have in zip(size, h.shape[2:], strict=True)]
        pad = self.kernel_size[0] // 2
        raised = F.conv_transpose2d(h, self.weight, None, self.stride, pad, extra)
        return _relu(raised, self.bias)


def _relu(h: Tensor, bias: Tensor | None) -> Tensor:
    """ReLU of h plus its bias, in place.

    The bias is added apart from the convolution, whose CPU kernel sums a bias gradient slowly.
    """
    return torch.relu_(h if bias is None else h.add_(bias.view(1, -1, 1, 1)))
