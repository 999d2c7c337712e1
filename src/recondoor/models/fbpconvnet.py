"""FBPConvNet (Jin et al., IEEE TIP 2017): a U-Net, here fastMRI's, whose output is added to z."""

from torch import Tensor, nn

from recondoor import config
from recondoor.config import Model
from recondoor.models._base import Network
from recondoor.models._unet import UNet, require_room


class ResidualUNet(nn.Module):
    """z + unet(z)."""

    def __init__(self, unet: UNet) -> None:
        super().__init__()
        self.correction = unet

    def forward(self, z: Tensor) -> Tensor:
        """Reconstruct (B, C, H, W) from z of the same shape."""
        change: Tensor = self.correction(z)
        return z + change

    def features(self, z: Tensor) -> Tensor:
        """What is left of z (B, C, H, W) at the lowest level of the U-Net."""
        return self.correction.features(z)


class Fbpconvnet(Network):
    """U-Net that corrects z."""

    Settings = config.Fbpconvnet
    settings: config.Fbpconvnet
    farther = "raise model.fbpconvnet.pools"

    def build(self, shape: tuple[int, int, int], settings: Model) -> nn.Module:
        """Return the network for images of `shape` (C, H, W); ConfigError if they are too small."""
        own = self.settings
        require_room(shape, own.pools, "model.fbpconvnet.pools")
        return ResidualUNet(UNet(shape[0], shape[0], own.channels, own.pools, own.drop))
