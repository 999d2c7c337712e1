"""The U-Net of fastMRI (Zbontar et al., arXiv:1811.08839): its layers and the names of its weights.

Others here are made of it. A file of weights of fastMRI's own network fits.
"""

from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from recondoor.core.errors import ConfigError

SLOPE = 0.2
"""Of the leaky ReLUs where they are negative."""


class Dropout(nn.Module):
    """In training, each channel of each image is 0 with probability `share`, the others larger.

    As `nn.Dropout2d`, but drawn from torch's CPU generator wherever the network is: the same
    channels on every device.
    """

    def __init__(self, share: float) -> None:
        super().__init__()
        self.share = share

    def forward(self, h: Tensor) -> Tensor:
        """(B, C, H, W) to the same."""
        if not self.training or self.share == 0:
            return h
        kept = torch.rand(*h.shape[:2], 1, 1, device="cpu") >= self.share
        return h * (kept.to(h) / (1 - self.share))


class InstanceNorm(nn.Module):
    """Each channel of each image with mean 0 and variance 1, as `nn.InstanceNorm2d`.

    PyTorch's own copies images in the layout channels_last to the usual one. There the same numbers
    come from the normalisation of batches of one image, which on a CPU is faster as a whole
    (`benchmarks/unet.py`).
    """

    EPSILON = 1e-5

    def forward(self, h: Tensor) -> Tensor:
        """(B, C, H, W) to the same."""
        last = not h.is_contiguous() and h.is_contiguous(memory_format=torch.channels_last)
        if not last or h.device.type != "cpu":
            return F.instance_norm(h, eps=self.EPSILON)
        return torch.cat(
            [
                F.batch_norm(one, None, None, training=True, eps=self.EPSILON)
                for one in torch.split(h, 1)
            ]
        )


class ConvBlock(nn.Module):
    """Twice: a convolution, the normalisation of each channel of each image, a leaky ReLU."""

    def __init__(self, inputs: int, outputs: int, drop: float) -> None:
        super().__init__()
        parts: list[nn.Module] = []
        for a, b in pairwise((inputs, outputs, outputs)):
            parts += [nn.Conv2d(a, b, 3, padding=1, bias=False), InstanceNorm()]
            parts += [nn.LeakyReLU(SLOPE, inplace=True), Dropout(drop)]
        self.layers = nn.Sequential(*parts)

    def forward(self, h: Tensor) -> Tensor:
        """(B, inputs, H, W) to (B, outputs, H, W)."""
        found: Tensor = self.layers(h)
        return found


class TransposeConvBlock(nn.Module):
    """A transposed convolution that doubles height and width, normalisation, a leaky ReLU."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.ConvTranspose2d(inputs, outputs, 2, stride=2, bias=False),
            InstanceNorm(),
            nn.LeakyReLU(SLOPE, inplace=True),
        )

    def forward(self, h: Tensor) -> Tensor:
        """(B, inputs, H, W) to (B, outputs, 2 H, 2 W)."""
        found: Tensor = self.layers(h)
        return found


class UNet(nn.Module):
    """`pools` times down by average pooling and up again, with skip connections.

    Any height and width that `most_pools` allows: what is lost of an odd one is made up by
    reflection.
    """

    def __init__(self, inputs: int, outputs: int, channels: int, pools: int, drop: float) -> None:
        super().__init__()
        widths = [channels * 2**k for k in range(pools + 1)]
        self.down_sample_layers = nn.ModuleList(
            ConvBlock(a, b, drop) for a, b in pairwise([inputs, *widths[:-1]])
        )
        self.conv = ConvBlock(widths[-2], widths[-1], drop)
        self.up_conv, self.up_transpose_conv = nn.ModuleList(), nn.ModuleList()
        for b, a in reversed(list(pairwise(widths))):
            self.up_transpose_conv.append(TransposeConvBlock(a, b))
            self.up_conv.append(ConvBlock(a, b, drop))
        self.up_conv[-1] = nn.Sequential(self.up_conv[-1], nn.Conv2d(channels, outputs, 1))

    def forward(self, z: Tensor) -> Tensor:
        """Reconstruct (B, outputs, H, W) from z (B, inputs, H, W)."""
        kept, h = [], z
        for block in self.down_sample_layers:
            kept.append(block(h))
            h = F.avg_pool2d(kept[-1], 2)
        h = self.conv(h)
        for up, block in zip(self.up_transpose_conv, self.up_conv, strict=True):
            skip = kept.pop()
            h = block(torch.cat([_grown(up(h), skip), skip], dim=1))
        found: Tensor = h
        return found

    def features(self, z: Tensor) -> Tensor:
        """What is left of z (B, inputs, H, W) at the lowest level."""
        h = z
        for block in self.down_sample_layers:
            h = F.avg_pool2d(block(h), 2)
        found: Tensor = self.conv(h)
        return found


def _grown(h: Tensor, like: Tensor) -> Tensor:
    """Reflect the last row or column of h where pooling had lost one."""
    rows, columns = (want - have for want, have in zip(like.shape[2:], h.shape[2:], strict=True))
    return F.pad(h, (0, columns, 0, rows), "reflect") if rows or columns else h


def most_pools(height: int, width: int) -> int:
    """Most poolings that leave two pixels; with one there is nothing to normalise."""
    pools = 0
    while min(height // 2, width // 2) >= 1 and (height // 2) * (width // 2) >= 2:
        height, width, pools = height // 2, width // 2, pools + 1
    return pools


def require_room(shape: tuple[int, int, int], pools: int, key: str) -> None:
    """Refuse more poolings than images of `shape` (C, H, W) have room for; ConfigError."""
    height, width = shape[1:]
    most = most_pools(height, width)
    if pools > most:
        allow = f"allow at most {most}" if most else "are too small for it: choose another network"
        raise ConfigError(f"{key}: {pools} given; images of {height}x{width} {allow}")
