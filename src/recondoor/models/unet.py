"""U-Net of fastMRI, with its names of weights; 1.9 million parameters at 16 channels."""

from torch import nn

from recondoor import config
from recondoor.config import Model
from recondoor.models._base import Network
from recondoor.models._unet import UNet, require_room


class Unet(Network):
    """fastMRI's network, of as many output channels as z has."""

    Settings = config.Unet
    settings: config.Unet
    farther = "raise model.unet.pools"

    def build(self, shape: tuple[int, int, int], settings: Model) -> nn.Module:
        """Return the network for images of `shape` (C, H, W); ConfigError if they are too small."""
        own = self.settings
        require_room(shape, own.pools, "model.unet.pools")
        return UNet(shape[0], shape[0], own.channels, own.pools, own.drop)
