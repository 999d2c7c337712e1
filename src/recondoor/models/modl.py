"""MoDL (Aggarwal et al., IEEE TMI 2019): one denoiser and data consistency in turns."""

import math

import torch
from torch import Tensor, nn

from recondoor import config
from recondoor.config import Model
from recondoor.models._base import Network
from recondoor.models._consistency import NormalMap, conjugate_gradients, given
from recondoor.operators import LinearOperator

DILATIONS = (1, 2, 4, 8, 1)
"""Of the denoiser's convolutions, 3 wide: a pixel sees 16 others in each direction."""

PENALTY = 0.05
"""Weight of the denoised image before training, in units of the operator's largest eigenvalue."""


class Denoiser(nn.Module):
    """x plus five convolutions of x, ReLU in between."""

    def __init__(self, channels: int, width: int) -> None:
        super().__init__()
        sizes = (channels, width, width, width, width, channels)
        self.layers = nn.ModuleList(
            nn.Conv2d(sizes[k], sizes[k + 1], 3, padding=d, dilation=d)
            for k, d in enumerate(DILATIONS)
        )

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) to the same."""
        h = x
        for layer in self.layers[:-1]:
            h = torch.relu_(layer(h))
        found: Tensor = x + self.layers[-1](h)
        return found


class UnrolledModl(nn.Module):
    """In turns: r = denoiser(x), and x nearest to both r and the measurement.

    That is (N + lambda) x = z / s + lambda r with N = A^T A / s, s the largest eigenvalue of A^T A.
    It is solved for x - r, which A can see, by conjugate gradients from 0.
    """

    def __init__(
        self, channels: int, width: int, iterations: int, steps: int, operator: LinearOperator
    ) -> None:
        super().__init__()
        self.iterations, self.steps = iterations, steps
        self.denoiser = Denoiser(channels, width)
        self.log_penalty = nn.Parameter(torch.tensor(math.log(PENALTY)))
        self.normal = NormalMap(operator)

    def forward(self, z: Tensor) -> Tensor:
        """Reconstruct (B, C, H, W) from z = A_adjoint(y) of the same shape."""
        x, penalty = z, self.log_penalty.exp()
        for _ in range(self.iterations):
            r = self.denoiser(x)
            left = z / self.normal.size - self.normal(r)
            x = r + conjugate_gradients(lambda v: self.normal(v) + penalty * v, left, self.steps)
        return x


class Modl(Network):
    """Unrolled network with one denoiser."""

    Settings = config.Modl
    settings: config.Modl
    farther = "raise model.modl.iterations or model.modl.steps"
    needs_operator = True

    def build(
        self,
        shape: tuple[int, int, int],
        settings: Model,
        operator: LinearOperator | None = None,
    ) -> nn.Module:
        """Return the network for images of `shape` (C, H, W) that `operator` measures."""
        own = self.settings
        return UnrolledModl(shape[0], own.width, own.iterations, own.steps, given(operator))
