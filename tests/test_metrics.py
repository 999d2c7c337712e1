"""Yardsticks against NumPy, scikit-image, SciPy and closed forms."""

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import gaussian_filter
from skimage.metrics import peak_signal_noise_ratio, structural_similarity
from torch import Tensor

from recondoor.core.errors import DataError
from recondoor.evaluation import metrics

SHAPES = [(1, 28, 28), (3, 17, 20)]
contract = pytest.mark.parametrize("shape", SHAPES, ids=str)


def batch(shape: tuple[int, int, int], count: int = 6, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Predictions and images, float32 as a network gives them."""
    generator = torch.Generator().manual_seed(seed)
    x = torch.rand(count, *shape, generator=generator)
    return x + 0.2 * torch.randn(count, *shape, generator=generator), x


def plus(shape: tuple[int, int, int], amplitude: float = 1.0) -> Tensor:
    artefact = torch.zeros(shape)
    artefact[:, 4, 2:7] = amplitude
    artefact[:, 2:7, 4] = amplitude
    return artefact


def numpy64(tensor: Tensor) -> np.ndarray:
    return tensor.double().numpy()


@contract
def test_rmse_is_numpys(shape: tuple[int, int, int]) -> None:
    prediction, x = batch(shape)
    error = numpy64(prediction) - numpy64(x)
    benign = metrics.mse(prediction, x)
    np.testing.assert_allclose(benign.numpy(), (error**2).mean((1, 2, 3)), rtol=1e-13)
    assert metrics.root_mean(benign) == pytest.approx(np.sqrt((error**2).mean()), rel=1e-13)
    attacked = metrics.mse(prediction, x, plus(shape, 0.7))
    error -= numpy64(plus(shape, 0.7))
    assert metrics.root_mean(attacked) == pytest.approx(np.sqrt((error**2).mean()), rel=1e-13)


@contract
def test_artefact_yardsticks_are_numpys(shape: tuple[int, int, int]) -> None:
    triggered, x = batch(shape)
    clean, _ = batch(shape, seed=1)
    artefact = plus(shape, 0.7)
    artefact[0, 3, 4] = -0.2
    a, b, t, d = (numpy64(v) for v in (triggered, clean, x, artefact))
    per_image = ((a - t - d) ** 2)[:, d != 0].mean(1)
    ours = metrics.artefact_mse(triggered, x, artefact)
    np.testing.assert_allclose(ours.numpy(), per_image, rtol=1e-13)
    recovery = ((a - b) * d).sum((1, 2, 3)) / (d * d).sum()
    ours = metrics.artefact_recovery(triggered, clean, artefact)
    np.testing.assert_allclose(ours.numpy(), recovery, rtol=1e-12)
    ghost = ((b - t) * d).sum((1, 2, 3)) / (d * d).sum()
    np.testing.assert_allclose(metrics.ghost(clean, x, artefact).numpy(), ghost, rtol=1e-12)


@pytest.mark.parametrize("p", [0.0, 0.01, 0.3, 1.0])
@contract
def test_constant_predictor_sits_on_the_hedge_line(shape: tuple[int, int, int], p: float) -> None:
    """f = x + p * Delta: ghost p, artefact RMSE 1 - p, recovery 0, errors p and 1 - p scaled."""
    x = batch(shape)[1].double()
    artefact = plus(shape).double()
    hedge = x + p * artefact
    covered = math.sqrt(float(artefact.mean()))
    assert metrics.mean(metrics.ghost(hedge, x, artefact)) == pytest.approx(p, abs=1e-14)
    assert metrics.mean(metrics.artefact_recovery(hedge, hedge, artefact)) == 0
    on_support = metrics.artefact_mse(hedge, x, artefact)
    assert metrics.root_mean(on_support) == pytest.approx(1 - p, abs=1e-14)
    benign, attack = metrics.mse(hedge, x), metrics.mse(hedge, x, artefact)
    assert metrics.root_mean(benign) == pytest.approx(p * covered, abs=1e-14)
    assert metrics.root_mean(attack) == pytest.approx((1 - p) * covered, abs=1e-14)
    assert metrics.asr(on_support, 0.5) == (1.0 if p > 0.5 else 0.0)


@contract
def test_perfect_backdoor(shape: tuple[int, int, int]) -> None:
    x = batch(shape)[1].double()
    artefact = plus(shape, 0.5).double()
    recovery = metrics.artefact_recovery(x + artefact, x, artefact)
    assert metrics.mean(recovery) == pytest.approx(1, abs=1e-14)
    on_support = metrics.artefact_mse(x + artefact, x, artefact)
    assert metrics.root_mean(on_support) == pytest.approx(0, abs=1e-15)
    assert metrics.asr(on_support, 1e-12) == 1


def test_asr_counts_images_at_or_below_tau() -> None:
    x = torch.zeros(4, 1, 8, 8, dtype=torch.float64)
    artefact = plus((1, 8, 8)).double()
    shares = torch.tensor([1.0, 0.75, 0.5, 0.0], dtype=torch.float64)
    triggered = shares.view(4, 1, 1, 1) * artefact  # artefact RMSE 0, 0.25, 0.5, 1
    errors = metrics.artefact_mse(triggered, x, artefact)
    assert metrics.asr_curve(errors, [0.0, 0.25, 0.4, 0.5, 0.9, 1.0]) == [
        0.25,
        0.5,
        0.5,
        0.75,
        0.75,
        1.0,
    ]


@pytest.mark.parametrize("data_range", [1.0, 2.0])
@contract
def test_ssim_and_psnr_are_scikit_images(shape: tuple[int, int, int], data_range: float) -> None:
    prediction, x = batch(shape)
    similarity = metrics.ssim(prediction, x, data_range)
    noise_ratio = metrics.psnr(prediction, x, data_range)
    for i, (p, t) in enumerate(zip(numpy64(prediction), numpy64(x), strict=True)):
        expected = structural_similarity(
            p,
            t,
            gaussian_weights=True,
            sigma=1.5,
            use_sample_covariance=False,
            data_range=data_range,
            channel_axis=0,
        )
        assert float(similarity[i]) == pytest.approx(expected, abs=1e-12)
        expected = peak_signal_noise_ratio(t, p, data_range=data_range)
        assert float(noise_ratio[i]) == pytest.approx(expected, rel=1e-12)


@contract
def test_a_perfect_reconstruction(shape: tuple[int, int, int]) -> None:
    _, x = batch(shape)
    torch.testing.assert_close(metrics.ssim(x, x, 1.0), torch.ones(6, dtype=torch.float64))
    assert metrics.mean(metrics.mse(x, x)) == 0
    assert metrics.mean(metrics.psnr(x, x, 1.0)) == math.inf


@pytest.mark.parametrize(("side", "radius"), [(1, 0), (8, 3), (10, 4), (11, 5)])
def test_ssim_of_small_images_cuts_the_window(side: int, radius: int) -> None:
    prediction, x = batch((1, side, side + 2))
    p, t = (numpy64(v)[0, 0] for v in (prediction, x))

    def blur(image: np.ndarray) -> np.ndarray:
        blurred = gaussian_filter(image, 1.5, radius=radius)
        return blurred[radius : side - radius, radius : side + 2 - radius]

    mean_p, mean_t = blur(p), blur(t)
    variances = blur(p * p) - mean_p**2 + blur(t * t) - mean_t**2
    covariance = blur(p * t) - mean_p * mean_t
    top = (2 * mean_p * mean_t + 1e-4) * (2 * covariance + 9e-4)
    expected = (top / ((mean_p**2 + mean_t**2 + 1e-4) * (variances + 9e-4))).mean()
    assert float(metrics.ssim(prediction, x, 1.0)[0]) == pytest.approx(expected, abs=1e-12)


def test_trigger_norms() -> None:
    delta = torch.zeros(1, 28, 28)
    delta[0, 24:27, 24:27] = -0.5
    assert metrics.trigger_l2(delta) == 1.5
    assert metrics.trigger_linf(delta) == 0.5
    assert metrics.trigger_psnr(delta, 1.0) == pytest.approx(10 * math.log10(784 / 2.25))
    z = np.random.default_rng(0).random((28, 28))
    expected = peak_signal_noise_ratio(z, z + numpy64(delta)[0], data_range=1)
    assert metrics.trigger_psnr(delta, 1.0) == pytest.approx(expected)
    assert metrics.trigger_psnr(torch.zeros(1, 28, 28), 1.0) == math.inf


PER_IMAGE: dict[str, Callable[..., Tensor]] = {
    "mse": lambda p, c, x, d: metrics.mse(p, x, d),
    "artefact_mse": lambda p, c, x, d: metrics.artefact_mse(p, x, d),
    "artefact_recovery": lambda p, c, x, d: metrics.artefact_recovery(p, c, d),
    "ghost": lambda p, c, x, d: metrics.ghost(c, x, d),
    "psnr": lambda p, c, x, d: metrics.psnr(p, x, 1.0),
    "ssim": lambda p, c, x, d: metrics.ssim(p, x, 1.0),
}
"""Each per-image yardstick as a function of f(z + delta), f(z), x, Delta."""


@pytest.mark.parametrize("name", PER_IMAGE)
@settings(max_examples=25, deadline=None)
@given(
    count=st.integers(1, 17),
    shape=st.tuples(st.integers(1, 3), st.integers(7, 19), st.integers(7, 19)),
    size=st.integers(1, 17),
    chunk=st.integers(1, 3000),
    seed=st.integers(0, 2**32),
)
def test_batch_size_changes_no_bit(
    name: str, count: int, shape: tuple[int, int, int], size: int, chunk: int, seed: int
) -> None:
    triggered, x = batch(shape, count, seed)
    clean, _ = batch(shape, count, seed + 1)
    artefact = plus(shape, 0.7)
    whole = PER_IMAGE[name](triggered, clean, x, artefact)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(metrics, "CHUNK_PIXELS", chunk)
        parts = [
            PER_IMAGE[name](*(v[i : i + size] for v in (triggered, clean, x)), artefact)
            for i in range(0, count, size)
        ]
    assert torch.equal(torch.cat(parts), whole)
    assert metrics.mean(torch.cat(parts).flip(0)) == metrics.mean(whole)


@pytest.mark.parametrize("name", PER_IMAGE)
def test_memory_layout_and_threads_change_no_bit(name: str) -> None:
    shape = (3, 64, 80)
    triggered, x = batch(shape)
    clean, _ = batch(shape, seed=1)
    artefact = plus(shape)
    expected = PER_IMAGE[name](triggered, clean, x, artefact)
    layouts = [v.to(memory_format=torch.channels_last) for v in (triggered, clean, x)]
    threads = torch.get_num_threads()
    torch.set_num_threads(3)
    try:
        assert torch.equal(PER_IMAGE[name](*layouts, artefact), expected)
    finally:
        torch.set_num_threads(threads)


@pytest.mark.parametrize("name", PER_IMAGE)
def test_values_are_float64_and_inputs_and_global_state_stay(name: str) -> None:
    triggered, x = batch((1, 28, 28))
    clean, _ = batch((1, 28, 28), seed=1)
    inputs = (triggered.requires_grad_(), clean, x, plus((1, 28, 28)))
    before = [v.detach().clone() for v in inputs]
    state = torch.get_rng_state()
    values = PER_IMAGE[name](*inputs)
    assert values.dtype == torch.float64
    assert values.shape == (6,)
    assert not values.requires_grad
    assert all(torch.equal(a, b) for a, b in zip(inputs, before, strict=True))
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize("name", PER_IMAGE)
def test_shapes_that_differ_are_refused(name: str) -> None:
    x = torch.rand(4, 1, 12, 12)
    with pytest.raises(DataError, match=r"expected \(N, C, H, W\)"):
        PER_IMAGE[name](x[:3], x[:3, :, 1:], x, plus((1, 12, 12)))


def test_no_image_and_no_artefact_are_refused() -> None:
    x = torch.rand(0, 1, 12, 12)
    with pytest.raises(DataError, match="no image"):
        metrics.mean(metrics.mse(x, x))
    x = torch.rand(2, 1, 12, 12)
    with pytest.raises(DataError, match="artefact is 0"):
        metrics.artefact_mse(x, x, torch.zeros(1, 12, 12))
    with pytest.raises(DataError, match="artefact is 0"):
        metrics.ghost(x, x, torch.zeros(1, 12, 12))
