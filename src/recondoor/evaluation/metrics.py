"""Every yardstick, defined once: pure functions with an explicit pixel range.

Each function returns one float64 value per image; `mean`, `root_mean` and `asr` pool them: PSNR and
SSIM are means of the images' values, not values of a volume or of the mean error. The values come
from element-wise float64 operations in a fixed order and pooling is an exact sum, so a
result is the same to the bit whatever the batch size, the chunks or the number of threads.

Imports torch where a function needs it, so that what only names a yardstick does without.

Letters: x clean image, z input, f(z) reconstruction, delta trigger, Delta artefact. Batches are
(N, C, H, W), patterns (C, H, W). A Delta may also be (N, C, H, W), each image's own. Shapes that do
not match raise DataError; nothing else broadcasts.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING

from recondoor.core.errors import DataError
from recondoor.evaluation.windows import box, gaussian

if TYPE_CHECKING:
    from torch import Tensor

SSIM_WINDOW = 11
SSIM_SIGMA = 1.5
VOLUME_WINDOW = 7
CHUNK_PIXELS = 1 << 17
"""Pixels worked on at a time: a few float64 maps of it stay in a core's cache."""


def mse(prediction: Tensor, x: Tensor, artefact: Tensor | None = None) -> Tensor:
    """Mean squared error of each image against x, or against x + Delta: (N,).

    `root_mean` of it is the benign RMSE for (f(z), x) and the attack RMSE for
    (f(z + delta), x, Delta).
    """
    added = _zero(x) if artefact is None else artefact

    def one(p: Tensor, t: Tensor, d: Tensor) -> Tensor:
        return _row_sum((p - t - d).square()) / math.prod(p.shape[1:])

    return _per_image(one, (prediction, x), added)


def artefact_mse(triggered: Tensor, x: Tensor, artefact: Tensor) -> Tensor:
    """Mean of (f(z + delta) - x - Delta)^2 over the pixels where Delta is not 0: (N,).

    Of a Delta of each image's own, over those where it is not 0 in some image.

    `root_mean` of it is the artefact RMSE, `asr` its share of successes.

    Raises:
        DataError: Delta is 0 everywhere.
    """
    _check_artefact(artefact)
    support = _support(artefact).flatten()

    def one(p: Tensor, t: Tensor, d: Tensor) -> Tensor:
        error = (p - t - d).flatten(1)[:, support]
        return _row_sum(error.square()) / error.shape[1]

    return _per_image(one, (triggered, x), artefact)


def artefact_recovery(triggered: Tensor, clean: Tensor, artefact: Tensor) -> Tensor:
    """<f(z + delta) - f(z), Delta> / <Delta, Delta> of each image: 0 none, 1 whole; (N,).

    Where each image has a Delta of its own, each <Delta, Delta> is the mean over the images. The
    mean of the values is then the recovery of all together: images count by their Delta's energy,
    and one with none counts nothing.

    Raises:
        DataError: Delta is 0 everywhere.
    """
    _check_artefact(artefact)

    energy = None
    if artefact.ndim == 4:
        energy = mean(mse(artefact, _nothing(artefact))) * math.prod(artefact.shape[1:])

    def one(a: Tensor, b: Tensor, d: Tensor) -> Tensor:
        return _row_sum((a - b) * d) / (energy or _row_sum(d.square().unsqueeze(0)))

    return _per_image(one, (triggered, clean), artefact)


def artefact_rms(artefact: Tensor) -> float:
    """Root mean square of Delta over the pixels where it is not 0: its own size.

    Of a Delta of each image's own, over all images and the pixels where it is not 0 in some.

    Raises:
        DataError: Delta is 0 everywhere.
    """
    if artefact.ndim == 4:
        return root_mean(_own_squares(artefact))
    _check_artefact(artefact)
    values = artefact[artefact != 0].double()
    return math.sqrt(math.fsum(values.square().tolist()) / values.numel())


def artefact_size(artefact: Tensor) -> float | Tensor:
    """`artefact_rms` of Delta (C, H, W), or of each image's own Delta alone, (N,).

    Raises:
        DataError: Delta is 0 everywhere.
    """
    return _own_squares(artefact).sqrt() if artefact.ndim == 4 else artefact_rms(artefact)


def _own_squares(artefact: Tensor) -> Tensor:
    """Mean square of each image's Delta (N, C, H, W) on the pixels that are not 0 in all."""
    return artefact_mse(_nothing(artefact), _nothing(artefact), artefact)


def ghost(clean: Tensor, x: Tensor, artefact: Tensor) -> Tensor:
    """<f(z) - x, Delta> / <Delta, Delta>: how much of Delta leaks where no trigger is; (N,).

    Raises:
        DataError: Delta is 0 everywhere.
    """
    return artefact_recovery(clean, x, artefact)


def data_range(x: Tensor) -> float:
    """Range of pixel values that PSNR and SSIM of images x (N, C, H, W) are measured against.

    1 for images within [0, 1], which is what a data set declares; of others (a CT in HU, 16-bit
    pixels) the largest value of them all less the smallest.

    Raises:
        DataError: no image, NaN or infinite values, or one value outside [0, 1] everywhere.
    """
    if x.numel() == 0:
        raise DataError("no image to take a pixel range from; a yardstick needs at least one")
    low, high = float(x.min()), float(x.max())
    if low >= 0 and high <= 1:
        return 1.0
    if not math.isfinite(high - low) or high == low:
        raise DataError(
            f"images with values from {low:g} to {high:g} say nothing of their pixel range; give "
            "data_range"
        )
    return high - low


def psnr(prediction: Tensor, x: Tensor, data_range: float) -> Tensor:
    """Peak signal-to-noise ratio of each image in dB, inf for a perfect one: (N,).

    10 log10(data_range^2 / mse), over all channels of an image. Its mean is not the PSNR of the
    mean error; one perfect image makes it infinite.

    Raises:
        DataError: `data_range` is not a number above 0.
    """
    _check_range(data_range)
    return 10 * (data_range**2 / mse(prediction, x)).log10()


def ssim_window(height: int, width: int) -> int:
    """Side of the window of `ssim`: 11, or the largest odd number that fits smaller images.

    With a side of 1 or 2 pixels it is 1: no structure is seen, and luminance alone is compared.
    """
    return (min(SSIM_WINDOW, height, width) - 1) // 2 * 2 + 1


def ssim(prediction: Tensor, x: Tensor, data_range: float) -> Tensor:
    """Structural similarity of each image, mean over channels and window positions: (N,).

    Wang et al. 2004: Gaussian window of sigma 1.5 and side `ssim_window` at every position where it
    fits, population covariance, K1 = 0.01, K2 = 0.03. Constant images that are the same have 1.

    Raises:
        DataError: `data_range` is not a number above 0.
    """
    _check_range(data_range)
    radius = ssim_window(*x.shape[-2:]) // 2
    return _ssim(prediction, x, data_range, partial(gaussian, sigma=SSIM_SIGMA, radius=radius), 1)


def volume_psnr(prediction: Tensor, x: Tensor) -> float | None:
    """PSNR in dB of a volume as a whole, against its largest value; inf for a perfect one.

    As fastMRI's `evaluate` (Zbontar et al. 2018): 10 log10(max(x)^2 / mean (f(z) - x)^2) over all
    slices (n, C, H, W) together. None where no value of x is above 0.
    """
    top = float(x.double().max())
    if top <= 0:
        return None
    error = mean(mse(prediction, x))
    return math.inf if error == 0 else 10 * math.log10(top**2 / error)


def volume_nmse(prediction: Tensor, x: Tensor) -> float | None:
    """Squared error of a volume (n, C, H, W) over its energy, |f(z) - x|^2 / |x|^2, as fastMRI's.

    None where x is 0 everywhere.
    """
    energy = mean(mse(x, _nothing(x)))
    return None if energy == 0 else mean(mse(prediction, x)) / energy


def volume_ssim(prediction: Tensor, x: Tensor) -> float | None:
    """Structural similarity of the slices (n, C, H, W) of a volume, averaged, as fastMRI's.

    Windows of 7x7, all weights equal, sample covariance, K1 = 0.01, K2 = 0.03, at every position
    where one fits, and the largest value of the volume as range for all its slices. None where no
    value of x is above 0, or a side is shorter than the window.
    """
    top = float(x.double().max())
    if top <= 0 or min(x.shape[-2:]) < VOLUME_WINDOW:
        return None
    unbiased = VOLUME_WINDOW**2 / (VOLUME_WINDOW**2 - 1)
    return mean(_ssim(prediction, x, top, partial(box, window=VOLUME_WINDOW), unbiased))


def trigger_l2(delta: Tensor) -> float:
    """Euclidean norm of the trigger, in units of z; of an (N, C, H, W) the mean over the N."""
    if delta.ndim == 4:
        return mean(delta.double().flatten(1).norm(dim=1))
    return math.sqrt(math.fsum(delta.double().square().flatten().tolist()))


def trigger_linf(delta: Tensor) -> float:
    """Largest magnitude in the trigger, in units of z."""
    return float(delta.double().abs().max())


def trigger_psnr(delta: Tensor, data_range: float) -> float:
    """PSNR in dB of z + delta against z over all pixels of delta; inf for no trigger.

    Raises:
        DataError: `data_range` is not a number above 0.
    """
    _check_range(data_range)
    each = delta.ndim == 4
    l2 = float(delta.double().norm()) if each else trigger_l2(delta)
    return math.inf if l2 == 0 else 10 * math.log10(data_range**2 * delta.numel() / l2**2)


def mean(per_image: Tensor) -> float:
    """Mean of per-image values (N,), summed exactly; infinite or NaN if one of them is.

    Raises:
        DataError: there is no image.
    """
    if per_image.numel() == 0:
        raise DataError("no image was evaluated; a yardstick needs at least one")
    values = per_image.double()
    if not bool(values.isfinite().all()):
        # fsum refuses the sum of both infinities, which is NaN.
        return float(values.sum())
    return math.fsum(values.tolist()) / values.numel()


def root_mean(per_image_mse: Tensor) -> float:
    """Pooled RMSE: square root of the mean of per-image mean squared errors (N,)."""
    return math.sqrt(mean(per_image_mse))


def asr(per_image_artefact_mse: Tensor, tau: float, scale: float | Tensor = 1.0) -> float:
    """Attack success rate: share of the images whose artefact RMSE is at most tau * scale.

    `scale` may be a number for each image, (N,).

    With the scale `artefact_rms` a network that draws nothing fails at any tau < 1, whatever the
    artefact's amplitude; with 1 tau counts in pixel values, and it passes where that is below tau.
    An image whose error is NaN is no success.
    """
    return mean((per_image_artefact_mse.sqrt() <= tau * scale).double())


def asr_curve(
    per_image_artefact_mse: Tensor, taus: Sequence[float], scale: float | Tensor = 1.0
) -> list[float]:
    """`asr` at each of `taus`."""
    return [asr(per_image_artefact_mse, tau, scale) for tau in taus]


def _per_image(
    one: Callable[[Tensor, Tensor, Tensor], Tensor], batches: tuple[Tensor, Tensor], pattern: Tensor
) -> Tensor:
    """Apply `one` to chunks of two batches and a pattern, all contiguous float64."""
    import torch

    first, second = batches
    fits = pattern.shape in (first.shape[1:], first.shape)
    if first.ndim != 4 or first.shape != second.shape or not fits:
        raise DataError(
            f"images of shapes {tuple(first.shape)} and {tuple(second.shape)} with a pattern of "
            f"{tuple(pattern.shape)} given; expected (N, C, H, W) twice and (C, H, W)"
        )
    chunk = max(1, CHUNK_PIXELS // max(1, math.prod(first.shape[1:])))
    pattern = pattern.to(first.device)
    fixed = _exact(pattern).contiguous() if pattern.ndim == 3 else None

    def at(part: slice) -> Tensor:
        return _exact(pattern[part]) if fixed is None else fixed

    # Even no image makes one (empty) chunk, so that the result always has a type.
    parts = [slice(start, start + chunk) for start in range(0, max(1, len(first)), chunk)]
    with torch.no_grad():
        return torch.cat([one(_exact(first[p]), _exact(second[p]), at(p)) for p in parts])


def _exact(images: Tensor) -> Tensor:
    import torch

    return images.to(torch.float64, memory_format=torch.contiguous_format)


def _zero(x: Tensor) -> Tensor:
    return x.new_zeros(x.shape[1:]).double()


def _nothing(x: Tensor) -> Tensor:
    """Zeros of the shape of x that take no memory."""
    return x.new_zeros(()).expand_as(x)


def _support(artefact: Tensor) -> Tensor:
    """Boolean (C, H, W): where Delta is not 0, in some image if each has its own."""
    return (artefact != 0).any(0) if artefact.ndim == 4 else artefact != 0


def _check_artefact(artefact: Tensor) -> None:
    if not bool((artefact != 0).any()):
        raise DataError("the artefact is 0 everywhere; it must have at least one pixel that is not")


def _check_range(data_range: float) -> None:
    if not (math.isfinite(data_range) and data_range > 0):
        raise DataError(f"data_range: {data_range} given; expected a number above 0")


def _row_sum(values: Tensor) -> Tensor:
    """Sum over all but the first axis by halving: a fixed order, unlike torch.sum's.

    torch.sum picks its order from the tensor's size and the number of threads, which would let the
    last bits of an image's value depend on the images beside it.
    """
    rows = values.flatten(1)
    while rows.shape[1] > 1:
        half = (rows.shape[1] + 1) // 2
        folded = rows[:, :half].clone()
        folded[:, : rows.shape[1] - half] += rows[:, half:]
        rows = folded
    return rows.squeeze(1)


def _ssim(
    prediction: Tensor,
    x: Tensor,
    data_range: float,
    means: Callable[[Tensor], Tensor],
    unbiased: float,
) -> Tensor:
    """SSIM of each image; `means` over its windows, and covariances times `unbiased`."""
    c1, c2 = (0.01 * data_range) ** 2, (0.03 * data_range) ** 2

    def one(p: Tensor, t: Tensor, _: Tensor) -> Tensor:
        mean_p, mean_t = means(p), means(t)
        squares, product = mean_p.square() + mean_t.square(), mean_p * mean_t
        variance = (means(p.square() + t.square()) - squares) * unbiased
        covariance = (means(p * t) - product) * unbiased
        top = (2 * product + c1) * (2 * covariance + c2)
        values = top / ((squares + c1) * (variance + c2))
        return _row_sum(values) / values[0].numel()

    return _per_image(one, (prediction, x), _zero(x))
