"""What every registered network is."""

from abc import ABC, abstractmethod
from typing import ClassVar

from torch import nn

from recondoor.config import Model
from recondoor.core.registry import PlugIn


class Network(PlugIn, ABC):
    """A make of networks x_hat = f(z) that can be chosen by name."""

    kind: ClassVar[str] = "models"
    needs_operator: ClassVar[bool] = False
    """Whether `build` takes the measurement operator too, as `operator`: z has to be A^T y."""
    channels_last: ClassVar[bool] = True
    """Whether it trains faster in that layout of memory; measured, docs/networks.md."""

    farther: ClassVar[str] = "take a network that sees farther (more layers, larger kernels)"
    """What lets a pixel of its answer see more of z; a remedy where no trigger reaches one."""

    @abstractmethod
    def build(self, shape: tuple[int, int, int], settings: Model) -> nn.Module:
        """A freshly initialised network for images of `shape` (C, H, W).

        It maps (B, C, H, W) to the same shape, for any height, width and number of channels. Draw
        from torch's global generator, which the caller has seeded. Where the default device is
        `meta`, no memory is taken.
        """
