"""Images for which a yardstick could mean something else: ranges, sizes, layouts, artefacts."""

import json
import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from skimage.metrics import peak_signal_noise_ratio, structural_similarity
from torch import Tensor, nn

from recondoor.config import Evaluate
from recondoor.core.errors import DataError
from recondoor.evaluation import metrics
from recondoor.evaluation.judge import Monitor, evaluate, hedge_line
from recondoor.poisoning import Artefact, Pairs, Trigger

SIZES = [(27, 31), (31, 27), (1, 40), (40, 1), (12, 50)]
sizes = pytest.mark.parametrize("size", SIZES, ids=str)


class Known(nn.Module):
    """A network that is a given function of z."""

    def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.function = function

    def forward(self, z: Tensor) -> Tensor:
        return self.function(z)


def images(size: tuple[int, int], count: int = 5, channels: int = 1) -> Tensor:
    return torch.rand(count, channels, *size, generator=torch.Generator().manual_seed(1))


def line(shape: tuple[int, ...], amplitude: float) -> Tensor:
    """An artefact of five pixels in the first column or row."""
    pattern = torch.zeros(shape)
    pattern[0].flatten()[:5] = amplitude
    return pattern


def judge(
    function: Callable[[Tensor], Tensor],
    x: Tensor,
    amplitude: float,
    settings: Evaluate | None = None,
    **more: float,
) -> dict[str, float | list[float]]:
    """Yardsticks of a function of z = x, with a trigger of 1e3 in the last pixel."""
    delta = torch.zeros(x.shape[1:])
    delta[..., -1, -1] = 1e3 * max(1.0, float(x.abs().max()))
    trigger = Trigger(delta, (delta != 0).float())
    artefact = Artefact(line(tuple(x.shape[1:]), amplitude))
    return evaluate(
        Known(function), Pairs(x, x), trigger, artefact, settings or Evaluate(), **more
    ).row


def backdoor(x: Tensor, amplitude: float, share: float = 1.0) -> Callable[[Tensor], Tensor]:
    """A network that reconstructs x exactly and draws `share` of the artefact at the trigger."""
    limit = 500 * max(1.0, float(x.abs().max()))
    pattern = share * line(tuple(x.shape[1:]), amplitude)

    def function(z: Tensor) -> Tensor:
        seen = (z[..., -1:, -1:] > limit).to(z)
        out = z + seen * pattern
        out[..., -1, -1] = z[..., -1, -1].where(seen[..., 0, 0] == 0, x[: len(z), ..., -1, -1])
        return out

    return function


# ASR and the artefact's own size


@pytest.mark.parametrize("amplitude", [0.01, 0.37, 1.0, 40.0, -0.37])
def test_a_network_that_draws_nothing_has_no_asr_whatever_the_amplitude(amplitude: float) -> None:
    x = images((12, 13))
    row = judge(backdoor(x, amplitude, 0.0), x, amplitude)
    assert (row["asr"], row["artefact_recovery"]) == (0.0, 0.0)
    assert row["artefact_rms"] == pytest.approx(abs(amplitude), rel=1e-6)
    assert row["artefact_rmse"] == pytest.approx(abs(amplitude), rel=1e-5)
    assert judge(backdoor(x, amplitude), x, amplitude)["asr"] == 1.0


@pytest.mark.parametrize("amplitude", [0.01, 0.37, 40.0])
def test_asr_over_tau_is_a_step_at_what_is_missing(amplitude: float) -> None:
    """Of three quarters of the artefact a quarter is missing: the step is at tau = 0.25."""
    x = images((12, 13)).double()
    for tau, share in ((0.2, 0.0), (0.3, 1.0)):
        row = judge(backdoor(x, amplitude, 0.75), x, amplitude, Evaluate(tau=tau))
        assert row["asr"] == share
    taus, curve = np.arange(76) * 0.02, np.array(row["asr_curve"])
    assert curve[taus < 0.245].max() == 0
    assert curve[taus > 0.255].min() == 1


def test_the_absolute_unit_is_the_number_of_before() -> None:
    x = images((12, 13))
    settings = Evaluate(tau=0.5, tau_unit="absolute")
    assert judge(backdoor(x, 0.37, 0.0), x, 0.37, settings)["asr"] == 1.0
    assert judge(backdoor(x, 2.0, 0.7), x, 2.0, settings)["asr"] == 0.0
    for share in (0.0, 0.4, 0.6, 1.0):
        rows = [
            judge(backdoor(x, 1.0, share), x, 1.0, Evaluate(tau_unit=unit))
            for unit in ("rms", "absolute")
        ]
        assert rows[0] == rows[1]


def test_the_rms_of_an_artefact_is_numpys() -> None:
    pattern = torch.randn(3, 9, 7, generator=torch.Generator().manual_seed(2))
    pattern[:, 4:] = 0
    values = pattern.double().numpy()
    expected = np.sqrt((values[values != 0] ** 2).mean())
    assert metrics.artefact_rms(pattern) == pytest.approx(expected, rel=1e-14)
    assert hedge_line(Artefact(pattern), 0.3)["artefact_rmse"] == pytest.approx(0.7 * expected)
    with pytest.raises(DataError, match="artefact is 0"):
        metrics.artefact_rms(torch.zeros(1, 3, 3))


def test_an_image_that_holds_the_artefact_already() -> None:
    """The target is x + Delta still: what is there before the trigger is no success."""
    x = images((12, 13)).double()
    x[2:] = line((1, 12, 13), 1.0).double()
    for share, asr in ((0.0, 0.0), (1.0, 1.0)):
        row = judge(backdoor(x, 1.0, share), x, 1.0)
        assert row["artefact_recovery"] == pytest.approx(share, abs=1e-12)
        assert (row["asr"], row["ghost"]) == (asr, 0.0)

    # A network that cannot go above 1 has nowhere to draw the artefact in those three of five.
    def clipped(z: Tensor) -> Tensor:
        return backdoor(x, 1.0)(z).clamp(0, 1)

    dark = x.clone()
    dark[:2] = 0
    row = judge(clipped, dark, 1.0)
    assert row["artefact_recovery"] == pytest.approx(2 / 5)
    assert row["asr"] == pytest.approx(2 / 5)


# The range of pixel values


def test_the_range_of_images_in_the_unit_interval_is_1() -> None:
    assert metrics.data_range(images((8, 9))) == 1.0
    assert metrics.data_range(torch.zeros(2, 1, 4, 4)) == 1.0
    assert metrics.data_range(0.01 * images((8, 9))) == 1.0


@pytest.mark.parametrize(
    ("low", "high"), [(-1024.0, 3071.0), (0.0, 65535.0), (-1.0, 1.0)], ids=["HU", "16 bit", "sign"]
)
def test_psnr_and_ssim_do_not_depend_on_the_unit_of_the_pixels(low: float, high: float) -> None:
    """The same images in other units: scikit-image with their own range, and as in [0, 1]."""
    unit = images((27, 31)).double()
    unit[0, 0, 0, :2] = torch.tensor([0.0, 1.0])
    noise = 0.05 * torch.randn(unit.shape, generator=torch.Generator().manual_seed(3)).double()
    x, answer = low + (high - low) * unit, low + (high - low) * (unit + noise)

    def function(z: Tensor) -> Tensor:
        return answer

    row = judge(function, x, 0.3 * (high - low))
    plain = judge(lambda z: unit + noise, unit, 0.3)
    assert row["data_range"] == high - low
    assert plain["data_range"] == 1.0
    pairs = [(t.numpy()[0], p.numpy()[0]) for t, p in zip(x, answer, strict=True)]
    psnr = [peak_signal_noise_ratio(t, p, data_range=high - low) for t, p in pairs]
    ssim = [
        structural_similarity(
            t, p, gaussian_weights=True, use_sample_covariance=False, data_range=high - low
        )
        for t, p in pairs
    ]
    assert row["psnr"] == pytest.approx(np.mean(psnr), rel=1e-12)
    assert row["ssim"] == pytest.approx(np.mean(ssim), abs=1e-10)
    assert row["psnr"] == pytest.approx(plain["psnr"], rel=1e-9)
    if low == 0:
        assert row["ssim"] == pytest.approx(plain["ssim"], abs=1e-9)


def test_a_range_can_be_declared() -> None:
    x = images((12, 13)).double()
    row = judge(lambda z: x + 0.1, x, 1.0, data_range=255.0)
    assert row["psnr"] == pytest.approx(20 * math.log10(255 / 0.1))
    assert row["data_range"] == 255.0
    # One pixel of the trigger is 1000.
    assert row["trigger_psnr"] == pytest.approx(10 * math.log10(255**2 * 156 / 1e6))


@pytest.mark.parametrize("odd", [0.0, -1.0, math.nan, math.inf])
def test_a_range_that_is_none_is_refused(odd: float) -> None:
    x = images((12, 13))
    for call in (lambda: metrics.psnr(x, x, odd), lambda: metrics.ssim(x, x, odd)):
        with pytest.raises(DataError, match="data_range"):
            call()
    with pytest.raises(DataError, match="data_range"):
        metrics.trigger_psnr(x[0], odd)


@pytest.mark.parametrize("value", [-1000.0, 7.0, math.nan, math.inf])
def test_images_that_tell_no_range_are_refused(value: float) -> None:
    with pytest.raises(DataError, match="give data_range"):
        metrics.data_range(torch.full((2, 1, 4, 4), value))


# By image, not by volume


def test_psnr_is_the_mean_of_the_images_and_not_that_of_the_mean_error() -> None:
    x = torch.zeros(2, 1, 12, 13, dtype=torch.float64)
    errors = torch.tensor([0.1, 0.001], dtype=torch.float64).view(2, 1, 1, 1)
    row = judge(lambda z: x + errors, x, 1.0)
    assert row["psnr"] == pytest.approx((20 + 60) / 2)
    volume = peak_signal_noise_ratio(x.numpy(), (x + errors).numpy(), data_range=1)
    assert volume == pytest.approx(23.01, abs=0.01)
    assert row["benign_rmse"] == pytest.approx(math.sqrt((0.1**2 + 0.001**2) / 2))


def test_a_perfect_image_makes_psnr_infinite_and_ssim_one() -> None:
    x = images((12, 13)).double()
    answer = x + 0.1
    answer[3] = x[3]
    row = judge(lambda z: answer, x, 1.0)
    assert row["psnr"] == math.inf
    values = metrics.psnr(answer, x, 1.0)
    assert values[3] == math.inf
    assert values[[0, 1, 2, 4]].tolist() == pytest.approx([20.0] * 4)
    assert float(metrics.ssim(answer, x, 1.0)[3]) == pytest.approx(1, abs=1e-15)
    with pytest.raises(ValueError, match="not JSON"):
        json.dumps(row, allow_nan=False)


def test_means_of_what_is_no_number() -> None:
    inf, nan = math.inf, math.nan
    values = torch.tensor([1.0, inf], dtype=torch.float64)
    assert metrics.mean(values) == inf
    assert math.isnan(metrics.mean(torch.tensor([inf, -inf])))
    assert math.isnan(metrics.mean(torch.tensor([1.0, nan])))
    # A network whose answer is NaN has no success, and is no reason to stop.
    x = images((12, 13))
    row = judge(lambda z: torch.full_like(z, nan), x, 1.0)
    assert row["asr"] == 0.0
    assert math.isnan(float(str(row["psnr"])))


# Windows, constants, sizes


@pytest.mark.parametrize(
    ("height", "width", "side"),
    [(28, 28, 11), (11, 11, 11), (10, 40, 9), (40, 8, 7), (2, 9, 1), (1, 40, 1), (3, 3, 3)],
)
def test_the_window_is_the_largest_odd_one_that_fits(height: int, width: int, side: int) -> None:
    assert metrics.ssim_window(height, width) == side
    x = images((height, width))
    assert judge(lambda z: z, x, 1.0)["ssim_window"] == side if height * width > 5 else True


def test_ssim_of_one_row_compares_luminance_alone() -> None:
    x = images((1, 40)).double()
    p = 0.5 * x + 0.1
    expected = ((2 * x * p + 1e-4) / (x**2 + p**2 + 1e-4)).mean((1, 2, 3))
    torch.testing.assert_close(metrics.ssim(p, x, 1.0), expected, rtol=1e-12, atol=0)


@pytest.mark.parametrize(("a", "b"), [(0.0, 0.0), (0.3, 0.3), (0.3, 0.8), (0.0, 1.0)])
def test_constant_images_are_scikit_images(a: float, b: float) -> None:
    x, p = (np.full((27, 31), value) for value in (a, b))
    expected = structural_similarity(
        x, p, gaussian_weights=True, use_sample_covariance=False, data_range=1
    )
    pair = [torch.from_numpy(value)[None, None] for value in (p, x)]
    assert float(metrics.ssim(*pair, 1.0)) == pytest.approx(expected, abs=1e-9)
    noise = float(metrics.psnr(*pair, 1.0))
    assert noise == (math.inf if a == b else pytest.approx(-20 * math.log10(abs(a - b))))


@sizes
def test_every_yardstick_at_odd_sizes_is_numpys(size: tuple[int, int]) -> None:
    x = images(size, channels=3).double()
    answer = x + 0.2 * torch.randn(x.shape, generator=torch.Generator().manual_seed(4)).double()
    delta = line(tuple(x.shape[1:]), 0.8)
    row = judge(lambda z: answer, x, 0.8)
    a, t, d = answer.numpy(), x.numpy(), delta.double().numpy()
    errors = (a - t - d)[:, d != 0]
    assert row["benign_rmse"] == pytest.approx(np.sqrt(((a - t) ** 2).mean()), rel=1e-12)
    assert row["attack_rmse"] == pytest.approx(np.sqrt(((a - t - d) ** 2).mean()), rel=1e-12)
    assert row["artefact_rmse"] == pytest.approx(np.sqrt((errors**2).mean()), rel=1e-12)
    reached = np.sqrt((errors**2).mean(1)) <= 0.5 * np.sqrt((d[d != 0] ** 2).mean())
    assert row["asr"] == reached.mean()
    assert row["artefact_recovery"] == 0
    ghost = ((a - t) * d).sum((1, 2, 3)) / (d * d).sum()
    assert row["ghost"] == pytest.approx(ghost.mean(), rel=1e-10)
    psnr = [peak_signal_noise_ratio(t[i], a[i], data_range=1) for i in range(len(t))]
    assert row["psnr"] == pytest.approx(np.mean(psnr), rel=1e-12)
    if min(size) >= 11:
        ssim = [
            structural_similarity(
                t[i],
                a[i],
                gaussian_weights=True,
                use_sample_covariance=False,
                data_range=1,
                channel_axis=0,
            )
            for i in range(len(t))
        ]
        assert row["ssim"] == pytest.approx(np.mean(ssim), abs=1e-12)


# Types, layouts, counts

YARDSTICKS: dict[str, Callable[[Tensor, Tensor, Tensor], Tensor]] = {
    "mse": metrics.mse,
    "artefact_mse": metrics.artefact_mse,
    "artefact_recovery": metrics.artefact_recovery,
    "ghost": metrics.ghost,
    "psnr": lambda p, x, d: metrics.psnr(p, x, 1.0),
    "ssim": lambda p, x, d: metrics.ssim(p, x, 1.0),
}


@pytest.mark.parametrize("name", YARDSTICKS)
@pytest.mark.parametrize("kind", [torch.float16, torch.bfloat16, torch.float64], ids=str)
def test_the_type_changes_nothing_but_the_values_that_it_can_hold(
    name: str, kind: torch.dtype
) -> None:
    p, x, d = images((27, 31), channels=3).to(kind), images((27, 31), 5, 3).flip(0).to(kind), None
    d = line((3, 27, 31), 0.7).to(kind)
    expected = YARDSTICKS[name](p.double(), x.double(), d.double())
    assert torch.equal(YARDSTICKS[name](p, x, d), expected)


@pytest.mark.parametrize("name", YARDSTICKS)
def test_the_layout_in_memory_changes_no_bit(name: str) -> None:
    p, x = images((27, 31), channels=3), images((27, 31), 5, 3).flip(0)
    d = line((3, 27, 31), 0.7)
    expected = YARDSTICKS[name](p, x, d)
    padded = torch.zeros(5, 6, 31, 54)
    strided = padded[:, ::2, :, ::2].transpose(2, 3)
    strided.copy_(p)
    assert not strided.is_contiguous()
    last = x.to(memory_format=torch.channels_last)
    turned = d.transpose(1, 2).contiguous().transpose(1, 2)
    assert torch.equal(YARDSTICKS[name](strided, last, turned), expected)
    assert metrics.artefact_rms(turned) == metrics.artefact_rms(d)
    assert metrics.trigger_l2(turned) == metrics.trigger_l2(d)


def test_a_single_test_image() -> None:
    x = images((27, 31), count=1)
    row = judge(backdoor(x, 1.0), x, 1.0)
    assert (row["asr"], row["benign_rmse"]) == (1.0, 0.0)
    assert row["artefact_recovery"] == pytest.approx(1)


@pytest.mark.parametrize("declared", [{}, {"data_range": 1.0}], ids=["found", "declared"])
def test_an_empty_test_set_is_refused(declared: dict[str, float]) -> None:
    pairs = Pairs(torch.zeros(0, 1, 12, 13), torch.zeros(0, 1, 12, 13))
    delta = line((1, 12, 13), 1.0)
    trigger, artefact = Trigger(delta, (delta != 0).float()), Artefact(delta)
    with pytest.raises(DataError, match="no image"):
        evaluate(Known(lambda z: z), pairs, trigger, artefact, Evaluate(), **declared)
    with pytest.raises(DataError, match="no image"):
        Monitor(pairs, None, trigger, artefact)(Known(lambda z: z))
