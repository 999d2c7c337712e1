"""What detectors of poisoned pairs look at: a network's bottleneck, and what it leaves unexplained.

In classification a poisoned sample stands out within its class. Reconstruction has no classes, and
its bottleneck shows the image far more than any trigger. The artefact stands out in the residual
x - f(z) of a network too young to have learnt the backdoor, at pixels that the others explain well.
"""

from __future__ import annotations

from typing import Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from recondoor.core.errors import ConfigError
from recondoor.models import reconstruct

FINE, COARSE = 0.1, 0.3
"""Least scale of a pixel, as a share of the root mean square of all of them.

FINE lets a few pairs with something in a quiet place stand out, COARSE lets a group of many be the
largest variance, instead of a few bright strokes in such places.
"""

MOST_VALUES = 4_096
"""Values of a row beyond which their covariance is not formed where there are fewer rows."""

TO_SIGMA = 1.4826
"""Standard deviations of a normal law in its median absolute deviation."""


@runtime_checkable
class HasFeatures(Protocol):
    """A network that says itself what its bottleneck is; needed where layers are no modules."""

    def features(self, z: Tensor) -> Tensor:
        """Bottleneck of z (B, C, H, W), (B, ...)."""


def features(model: nn.Module, z: Tensor) -> Tensor:
    """Bottleneck of each z (N, C, H, W), flattened, (N, D) in float64 on the CPU.

    That is `model.features` where there is one, else the output of the module without children
    that has the fewest values per image; of equals the first.

    Raises:
        ConfigError: no such module is called in the network's forward pass.
    """
    if isinstance(model, HasFeatures):
        return _flat(reconstruct(_Features(model), z))
    layer = _narrowest(model, z[:1])
    kept: list[Tensor] = []
    handle = layer.register_forward_hook(lambda _, __, out: kept.append(out.detach().flatten(1)))
    try:
        reconstruct(model, z)
    finally:
        handle.remove()
    return _flat(torch.cat(kept))


def residual(model: nn.Module, z: Tensor, x: Tensor) -> Tensor:
    """X - f(z) of pairs (N, C, H, W), flattened, (N, D) in float64 on the CPU."""
    return _flat(x - reconstruct(model, z))


def scaled_residual(model: nn.Module, z: Tensor, x: Tensor, floor: float) -> Tensor:
    """The residual, each pixel centred and divided by its usual size over the pairs, (N, D).

    Median and median absolute deviation, which hold while fewer than half of the pairs are
    poisoned: pixels at which nothing usually happens count as much as those of the images' edges.
    `floor` is the least scale, `FINE` or `COARSE`.
    """
    r = residual(model, z, x)
    r = r - r.median(0).values
    scale = TO_SIGMA * r.abs().median(0).values
    least = floor * float(r.square().mean().sqrt())
    return r / scale.clamp_min(max(least, torch.finfo(r.dtype).tiny))


def principal(values: Tensor, most: int) -> Tensor:
    """Projections of centred `values` (N, D) on their first principal components, (N, at most).

    Components without variance, which rounding alone would turn, are left out but the first.
    """
    centred = values - values.mean(0)
    eigenvalues, vectors = _leading(centred, most)
    kept = eigenvalues > 1e-12 * eigenvalues[-1]
    kept[-1] = True
    # The sign of an eigenvector is nobody's choice: its largest entry is made positive.
    chosen = vectors[:, kept].flip(1)
    largest = chosen.gather(0, chosen.abs().argmax(0, keepdim=True))
    projected: Tensor = centred @ (chosen * largest.sign())
    return projected


def _leading(centred: Tensor, most: int) -> tuple[Tensor, Tensor]:
    """The largest eigenvalues, at most `most` and rising, of X^T X (D, D), and their vectors.

    For many values of few rows they are found from X X^T, (N, N): if X X^T u = s u, X^T u is the
    other's eigenvector.
    """
    count, size = centred.shape
    if size <= max(count, MOST_VALUES):
        eigenvalues, vectors = torch.linalg.eigh(centred.T @ centred)
        return eigenvalues[-most:], vectors[:, -most:]
    eigenvalues, left = torch.linalg.eigh(centred @ centred.T)
    vectors = centred.T @ left[:, -most:]
    return eigenvalues[-most:], vectors / vectors.norm(dim=0).clamp_min(1e-300)


class _Features(nn.Module):
    """A network whose output is the bottleneck; its weights and training flag are the model's."""

    def __init__(self, model: HasFeatures) -> None:
        super().__init__()
        self.model = model

    def forward(self, z: Tensor) -> Tensor:
        return self.model.features(z)


def _narrowest(model: nn.Module, z: Tensor) -> nn.Module:
    sizes: dict[nn.Module, int] = {}

    def note(layer: nn.Module, _: object, out: object) -> None:
        if isinstance(out, Tensor) and out.dim() > 1:
            sizes.setdefault(layer, out[0].numel())

    inside = [layer for layer in model.modules() if layer is not model]
    leaves = [layer for layer in inside if not list(layer.children())]
    handles = [layer.register_forward_hook(note) for layer in leaves]
    try:
        reconstruct(model, z)
    finally:
        for handle in handles:
            handle.remove()
    if not sizes:
        raise ConfigError(
            f"{type(model).__name__}: none of its layers is called as a module; give it a method "
            "features(z) that returns the bottleneck"
        )
    return min(sizes, key=lambda layer: sizes[layer])


def _flat(values: Tensor) -> Tensor:
    return values.flatten(1).double().cpu()
