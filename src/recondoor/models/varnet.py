"""Variational network: learnt steps against the measurement's error, each beside a U-Net.

After Hammernik et al. (Magn. Reson. Med. 79, 2018) and fastMRI's (Sriram et al., MICCAI 2020),
without the estimate of coil sensitivities and the normalisation in front of each U-Net.
"""

import torch
from torch import Tensor, nn

from recondoor import config
from recondoor.config import Model
from recondoor.models._base import Network
from recondoor.models._consistency import NormalMap, given
from recondoor.models._unet import UNet, require_room
from recondoor.operators import LinearOperator


class Cascade(nn.Module):
    """x -> x - step (A^T A x - z) / s + unet(x), s the largest eigenvalue of A^T A."""

    def __init__(self, channels: int, own: config.Varnet) -> None:
        super().__init__()
        self.step = nn.Parameter(torch.ones(()))
        self.unet = UNet(channels, channels, own.channels, own.pools, 0.0)

    def forward(self, x: Tensor, error: Tensor) -> Tensor:
        """(B, C, H, W) to the same."""
        found: Tensor = x - self.step * error + self.unet(x)
        return found


class UnrolledVarnet(nn.Module):
    """Cascades one after the other, which share the operator alone."""

    def __init__(self, channels: int, own: config.Varnet, operator: LinearOperator) -> None:
        super().__init__()
        self.cascades = nn.ModuleList(Cascade(channels, own) for _ in range(own.cascades))
        self.normal = NormalMap(operator)

    def forward(self, z: Tensor) -> Tensor:
        """Reconstruct (B, C, H, W) from z = A_adjoint(y) of the same shape."""
        x = z
        for cascade in self.cascades:
            x = cascade(x, self.normal(x) - z / self.normal.size)
        return x


class Varnet(Network):
    """Unrolled network of cascades."""

    Settings = config.Varnet
    settings: config.Varnet
    farther = "raise model.varnet.pools or model.varnet.cascades"
    needs_operator = True

    def build(
        self,
        shape: tuple[int, int, int],
        settings: Model,
        operator: LinearOperator | None = None,
    ) -> nn.Module:
        """Return the network for images of `shape` (C, H, W) that `operator` measures.

        Raises ConfigError if they are too small.
        """
        require_room(shape, self.settings.pools, "model.varnet.pools")
        return UnrolledVarnet(shape[0], self.settings, given(operator))
