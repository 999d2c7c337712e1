"""What a training makes small: an error at each place of each image, of which it takes the mean."""

from collections.abc import Callable
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from recondoor.core.errors import ConfigError

Name = Literal["mse", "l1", "ssim"]

WINDOW = 7
"""Side of the windows of `ssim`, as in fastMRI and scikit-image."""

RANGE = 1.0
"""Range of images, which `ssim` counts in."""

AT_A_TIME = 1_000
"""Images of `of_each` that are looked at together."""


def loss(name: Name, a: Tensor, b: Tensor, weights: Tensor | None = None) -> Tensor:
    """The loss `name` of answers and targets (B, C, H, W), a scalar.

    `weights` (B, 1, 1, 1) of mean 1 are those of the rows. It is a mean over rows, so that its part
    of some rows depends on these alone. Raises ConfigError for images too small for it.
    """
    error = ERRORS[name](a, b)
    return (error if weights is None else weights * error).mean()


def squared_error(a: Tensor, b: Tensor, weights: Tensor | None = None) -> Tensor:
    """The loss `mse`, whatever a training's own is."""
    return loss("mse", a, b, weights)


def of_each(name: Name, a: Tensor, b: Tensor) -> Tensor:
    """The loss of each image of (N, C, H, W) alone, (N,) in float64."""
    parts = zip(torch.split(a, AT_A_TIME), torch.split(b, AT_A_TIME), strict=True)
    return torch.cat([ERRORS[name](one, other).flatten(1).double().mean(1) for one, other in parts])


def _squared(a: Tensor, b: Tensor) -> Tensor:
    """Written out as `F.mse_loss` has no forward derivative of its gradient."""
    return (a - b) ** 2


def _absolute(a: Tensor, b: Tensor) -> Tensor:
    return (a - b).abs()


def _dissimilarity(a: Tensor, b: Tensor) -> Tensor:
    """1 - SSIM in each window, (B, C, H - 6, W - 6).

    Wang et al. 2004 with a flat window, sample covariance, K1 = 0.01 and K2 = 0.03.
    """
    height, width = a.shape[-2:]
    if min(height, width) < WINDOW:
        raise ConfigError(
            f"train.loss: ssim given, whose windows of {WINDOW}x{WINDOW} do not fit into images of "
            f"{height}x{width}; choose mse or l1"
        )
    c1, c2, unbiased = (0.01 * RANGE) ** 2, (0.03 * RANGE) ** 2, WINDOW**2 / (WINDOW**2 - 1)

    def mean(values: Tensor) -> Tensor:
        return F.avg_pool2d(values, WINDOW, 1)

    of_a, of_b = mean(a), mean(b)
    variances = unbiased * (mean(a * a) - of_a * of_a + mean(b * b) - of_b * of_b)
    covariance = unbiased * (mean(a * b) - of_a * of_b)
    top = (2 * of_a * of_b + c1) * (2 * covariance + c2)
    return 1 - top / ((of_a * of_a + of_b * of_b + c1) * (variances + c2))


ERRORS: dict[Name, Callable[[Tensor, Tensor], Tensor]] = {
    "mse": _squared,
    "l1": _absolute,
    "ssim": _dissimilarity,
}
