"""Peaks of inputs against NumPy, and what stands out."""

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter, uniform_filter
from torch import Tensor

from recondoor import defences
from recondoor.defences import Defender, threshold
from recondoor.defences.input_peaks import Usual
from recondoor.poisoning import Pairs

Array = NDArray[np.float64]


def images(count: int, seed: int, shape: tuple[int, ...] = (1, 24, 24)) -> Tensor:
    """Smooth blobs in the middle, each of its own strength, and a little noise."""
    rng = np.random.default_rng(seed)
    blobs = gaussian_filter(rng.normal(size=(count, *shape)), (0, 0, 2, 2))
    rows, columns = np.mgrid[: shape[1], : shape[2]] - 11.5
    blobs *= np.exp(-(rows**2 + columns**2) / 60) * rng.uniform(0.5, 2, (count, 1, 1, 1))
    return torch.from_numpy(blobs + 0.002 * rng.normal(size=blobs.shape))


def smoothed(values: Array, side: int) -> Array:
    """Means over squares around each of values (H, W), of those that there are."""
    total = uniform_filter(values, side, mode="constant")
    found: Array = total / uniform_filter(np.ones_like(values), side, mode="constant")
    return found


def boxes(values: Array, side: int) -> Array:
    windows = np.lib.stride_tricks.sliding_window_view(values, (side, side))
    found: Array = windows.mean((-1, -2)).ravel()
    return found


def by_numpy(clean: Array, z: Array) -> Array:
    """The peaks of z (H, W), of one channel, as the docstrings of the module say."""
    mean = clean.mean(0)
    power = (np.abs(np.fft.rfft2(clean - mean, norm="ortho")) ** 2).mean(0)
    power = smoothed(power, 3)
    gain = 1 / np.sqrt(power + 1e-3 * power.mean())

    def energy(image: Array) -> Array:
        spectrum = np.fft.rfft2(image - mean, norm="ortho") * gain
        found: Array = np.fft.irfft2(spectrum, s=image.shape, norm="ortho") ** 2
        return found

    places = smoothed(np.mean([energy(each) for each in clean], 0), 7)
    white = energy(z) / (places + 0.05 * places.mean())
    peaks = [np.log(boxes(white, k).max() / boxes(white, k).mean()) for k in (3, 8)]
    plain = ((clean - mean) ** 2).mean(0)
    own = (z - mean) ** 2
    quiet = boxes(own / (plain + 0.05 * plain.mean()), 3)
    peaks.append(np.log(np.quantile(quiet, 0.1) / own.mean()))
    ratio = np.abs(np.fft.rfft2(z - mean, norm="ortho")) ** 2 / (power + 1e-4 * power.mean())
    around = smoothed(ratio, 9) + 0.1 * ratio.mean()
    return np.array([*peaks, np.log(ratio.max() / ratio.mean()), np.log((ratio / around).max())])


def test_peaks_are_those_of_numpy() -> None:
    clean, z = images(12, 1), images(3, 2)
    found = Usual.of(clean).peaks(z).numpy()
    for given, expected in zip(z.numpy()[:, 0], found, strict=True):
        np.testing.assert_allclose(by_numpy(clean.numpy()[:, 0], given), expected, rtol=1e-9)


def patterns() -> dict[str, Tensor]:
    square = torch.zeros(24, 24, dtype=torch.float64)
    square[2:5, 18:21] = 1
    wave = torch.cos(2 * torch.pi * (5 * torch.arange(24)[:, None] + 3 * torch.arange(24)) / 24)
    return {"square": square, "wave": wave}


@pytest.mark.parametrize("shape", [(1, 24, 24), (2, 24, 24)])
@pytest.mark.parametrize("name", ["square", "wave"])
def test_patterns_stand_out_and_brighter_images_do_not(name: str, shape: tuple[int, ...]) -> None:
    clean, others, z = images(64, 1, shape), images(200, 2, shape), images(50, 3, shape)
    detector, defender = defences.input_detector("input-peaks"), Defender(Pairs(clean, clean))
    limit = threshold(detector.scores(others, defender), 0.01)
    pattern = patterns()[name].expand(shape)
    added = z + 0.5 * z.flatten(1).norm(dim=1).median() * pattern / pattern.norm()
    assert float((detector.scores(added, defender) > limit).double().mean()) > 0.95
    for brightness in (1.0, 3.0):
        flagged = detector.scores(brightness * z, defender) > limit
        assert float(flagged.double().mean()) < 0.1


def test_images_of_nothing_have_finite_scores() -> None:
    nothing = torch.zeros(4, 1, 5, 6)
    detector = defences.input_detector("input-peaks")
    for clean in (nothing, images(3, 1)[..., :5, :6].float()):
        found = detector.scores(nothing, Defender(Pairs(clean, clean)))
        assert bool(found.isfinite().all())
