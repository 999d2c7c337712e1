"""Reconstruction networks x_hat = f(z), plain `torch.nn.Module`s."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from recondoor import registry, seeding
from recondoor.config import Model
from recondoor.errors import DataError

__all__ = ["build", "parameter_count", "reconstruct"]

PIXELS_IN_A_BATCH = 400_000


def build(shape: tuple[int, int, int], settings: Model, *stream: int | str) -> nn.Module:
    """Return a freshly initialised network for images of `shape` (C, H, W).

    The initial weights follow from the names in `stream`, the first of which is the root seed;
    torch's global generator is left as it was. Raises ConfigError for an unknown network.
    """
    root, *names = stream
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seeding.derive(int(root), "init", *names))
        model: nn.Module = registry.load("models", settings.name).build(shape, settings)
    return model.to(memory_format=torch.channels_last)  # type: ignore[call-overload, no-any-return]


def parameter_count(model: nn.Module) -> int:
    """Return the number of trainable parameters."""
    return sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)


@torch.no_grad()
def reconstruct(
    model: nn.Module, z: Tensor, advance: Callable[[int], None] = lambda n: None
) -> Tensor:
    """Return f(z) for all of z (N, C, H, W), in batches whose size nobody can choose.

    Raises DataError where there is no image.
    """
    if len(z) == 0:
        raise DataError("no image to reconstruct; give at least one")
    flags = {module: module.training for module in model.modules()}
    model.eval()
    parts = []
    try:
        for part in torch.split(z, max(1, PIXELS_IN_A_BATCH // z[0].numel())):
            parts.append(model(part).contiguous())
            advance(len(part))
    finally:
        for module, flag in flags.items():
            module.training = flag
    return torch.cat(parts)
