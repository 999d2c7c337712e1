"""Networks of other shapes than (B, C, H, W): what is only written otherwise is adapted."""

import torch
from torch import Tensor, nn

from recondoor import models
from recondoor.audit._pairs._source import Shape
from recondoor.core import caller
from recondoor.core.errors import FAILURES
from recondoor.defences import SideBySide


class Adapted(nn.Module):
    """A network of one's own behind another shape of its images."""

    told = ""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model


class OnACopy(Adapted):
    """For a network that works in its input's memory, which detectors look at once more."""

    told = "The network changes its input, and is given a copy."

    def forward(self, z: Tensor) -> Tensor:
        """(B, C, H, W) to the same."""
        found: Tensor = self.model(z.clone())
        return found


class WithoutChannels(Adapted):
    """For a network of images (B, H, W)."""

    told = "The network takes images without channels, (B, H, W), and is given such."

    def forward(self, z: Tensor) -> Tensor:
        """(B, 1, H, W) to the same."""
        found: Tensor = self.model(z[:, 0].clone())
        return found[:, None]


class Complex(Adapted):
    """For a network of complex images (B, 1, H, W)."""

    told = "The network takes complex images, and is given the two channels as such."

    def forward(self, z: Tensor) -> Tensor:
        """(B, 2, H, W), real and imaginary part, to the same."""
        found: Tensor = self.model(torch.complex(z[:, :1], z[:, 1:]))
        return torch.view_as_real(found)[:, 0].movedim(-1, 1)


class ComplexWithoutChannels(Adapted):
    """For a network of complex images (B, H, W)."""

    told = Complex.told

    def forward(self, z: Tensor) -> Tensor:
        """(B, 2, H, W), real and imaginary part, to the same."""
        found: Tensor = self.model(torch.complex(z[:, 0], z[:, 1]))
        return torch.view_as_real(found).movedim(-1, 1)


def bare(model: nn.Module) -> nn.Module:
    """The network itself, without what runs it elsewhere or otherwise: several devices, a compiler.

    Every size of a batch would be compiled anew, and no network of the same make has its class.
    """
    while True:
        compiled = getattr(model, "_orig_mod", None)  # as `torch.compile` leaves it
        inner = model.module if isinstance(model, nn.DataParallel) else compiled
        if not isinstance(inner, nn.Module):
            return model
        model = inner


def adapted(model: nn.Module, shape: Shape) -> tuple[nn.Module, tuple[str, ...]]:
    """The network as it is if it maps images of `shape` (C, H, W) to such; else behind an adapter.

    So is one that changes its input. Returns it as it is where no adapter helps: `probe` says then
    what it does.
    """
    found, changed = _asked(model, shape)
    if _fits(found, shape):
        if not changed:
            return model, ()
        return OnACopy(model).eval(), (OnACopy.told,)
    kinds = {1: (WithoutChannels,), 2: (Complex, ComplexWithoutChannels)}
    if shape[0] == 2 and isinstance(found, Tensor) and not found.is_complex():
        return model, ()  # it takes two real channels, and combines them
    for kind in kinds.get(shape[0], ()):
        wrapped = kind(model)
        if _fits(_asked(wrapped, shape)[0], shape):
            return wrapped.eval(), (kind.told,)
    return model, ()


def own(model: nn.Module) -> nn.Module:
    """The user's own network, or two of them side by side, without an adapter."""
    if isinstance(model, SideBySide):
        numbers = model.usual, model.limit, model.mirrored
        return SideBySide(own(model.given), own(model.mended), *numbers)
    return model.model if isinstance(model, Adapted) else model


def _asked(model: nn.Module, shape: Shape) -> tuple[object, bool]:
    """What the network makes of two images, and whether it changes them; None where it fails."""
    z = torch.rand(2, *shape, generator=torch.Generator().manual_seed(0))
    try:
        with caller.as_found():
            return models.asked(model, z)
    except FAILURES:
        return None, False


def _fits(found: object, shape: Shape) -> bool:
    expected = (2, *shape)
    return isinstance(found, Tensor) and found.shape == expected and found.dtype == torch.float32
