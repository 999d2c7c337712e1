"""A small network that hides a text in an input, as far as its pattern is concerned."""

import torch
from torch import Tensor, nn

KERNEL = 5


class Encoder(nn.Module):
    """The pattern (N, C, H, W) that hides bits (N, B) in inputs (N, C, H, W), of L2 1 each."""

    def __init__(self, channels: int, bits: int, width: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(channels + bits, width, KERNEL, padding="same")
        self.second = nn.Conv2d(width, width, KERNEL, padding="same")
        self.last = nn.Conv2d(width, channels, KERNEL, padding="same")

    def forward(self, z: Tensor, bits: Tensor, mask: Tensor) -> Tensor:
        scale = z.flatten(1).square().mean(1).sqrt().clamp_min(1e-12).view(-1, 1, 1, 1)
        planes = (2 * bits - 1)[:, :, None, None].expand(-1, -1, *z.shape[-2:])
        hidden = torch.relu(self.first(torch.cat((z / scale, planes), 1)))
        pattern = self.last(torch.relu(self.second(hidden))) * mask
        size = pattern.flatten(1).norm(dim=1).clamp_min(1e-12).view(-1, 1, 1, 1)
        made: Tensor = pattern / size
        return made


class Decoder(nn.Module):
    """Logits (N, B) of the bits that are hidden in inputs (N, C, H, W)."""

    def __init__(self, channels: int, bits: int, width: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(channels, width, KERNEL, padding="same")
        self.second = nn.Conv2d(width, width, KERNEL, stride=2, padding=KERNEL // 2)
        self.last = nn.Linear(width, bits)

    def forward(self, z: Tensor) -> Tensor:
        hidden = torch.relu(self.second(torch.relu(self.first(z))))
        logits: Tensor = self.last(hidden.mean((2, 3)))
        return logits
