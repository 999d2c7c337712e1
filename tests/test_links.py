"""What lies between images and inputs where it is no filter: closed forms of each family."""

import numpy as np
import pytest
import torch

import pipelines_kit as kit
from recondoor.defences._links import Lines, gains_of, link_of, polynomials, unexplained
from recondoor.defences._nuisance import Nuisance
from recondoor.defences._sums import Sum, mirrored

COUNT = 60


def found_by(z: kit.Array, x: kit.Array) -> tuple[Nuisance, Nuisance | None]:
    """The fit of one gain, and what is taken instead."""
    pairs, every = kit.of(z, x), torch.arange(len(x))
    plain = Nuisance.of(pairs.z, pairs.x, None, every)
    return plain, plain.with_link(pairs.z, pairs.x, every)


def test_what_one_gain_explains_keeps_it() -> None:
    x = kit.heads(COUNT, 0)
    plain, other = found_by(*kit.plain(x, np.random.default_rng(1)))
    assert plain.explained > 0.99 and other is None


def test_lines_of_each_slice_are_the_even_part_of_its_mask() -> None:
    """Of a real image, the real part of what a mask m leaves has gains (m(k) + m(-k)) / 2."""
    x = kit.heads(COUNT, 0)
    masks = np.stack([kit.mask(100 + i) for i in range(COUNT)]).astype(float)
    z = kit.ifft(kit.fft(x) * masks[:, None]).real
    link = found_by(z, x)[1]
    assert link is not None and isinstance(link.normal, Lines)
    even = (masks + np.roll(masks[:, ::-1], 1, 1)) / 2
    half = kit.SIDE // 2 + 1
    scale = link.of_x / link.of_z
    gains = link.normal.gains[:, 0, 0] / scale
    np.testing.assert_allclose(gains[:, 1:half].numpy(), even[:, 1:half], atol=2e-3)
    held = link.held(torch.arange(COUNT))
    assert held is not None
    assert torch.equal(held[:, 0, 0, 1:], torch.from_numpy(even[:, 1:half] > 0))
    turned = found_by(z.transpose(0, 2, 1), x.transpose(0, 2, 1))[1]
    assert turned is not None and turned.explained > 1 - 1e-5
    assert isinstance(turned.normal, Lines) and turned.normal.axis == -2


def complex_pairs(count: int, masks: kit.Array, noise: float = 0.0) -> tuple[torch.Tensor, ...]:
    """Complex images (N, 2, H, W) behind masks of k-space (N or 1, 1, W)."""
    rng = np.random.default_rng(5)
    rows, columns = np.mgrid[: kit.SIDE, : kit.SIDE] / kit.SIDE
    turn = rng.uniform(-2, 2, (3, count, 1, 1))
    x = kit.heads(count, 0) * np.exp(1j * (turn[0] + turn[1] * rows + turn[2] * columns**2))
    z = kit.ifft((kit.fft(x) + noise * kit.complex_noise(x.shape, rng)) * masks)
    return tuple(torch.from_numpy(np.stack((each.real, each.imag), 1)).float() for each in (z, x))


@pytest.mark.parametrize("many", [1, COUNT])
def test_a_mask_of_complex_images_is_explained_though_it_mixes_their_channels(many: int) -> None:
    masks = np.stack([kit.mask(100 + i) for i in range(many)])[:, None].astype(float)
    z, x = complex_pairs(COUNT, masks)
    every = torch.arange(COUNT)
    plain = Nuisance.of(z, x, None, every)
    link = plain.with_link(z, x, every)
    assert plain.explained < 0.999 and link is not None
    # Of each pair: a scale makes up for what 32 bits round.
    assert float(link.unexplained(z, x, every).max()) < 1e-8 * float((z / link.of_z)[0].numel())
    held = link.held(every)
    if held is not None:
        either = (masks + np.roll(masks[..., ::-1], 1, -1))[:, 0] > 0
        half = torch.from_numpy(either[:, : kit.SIDE // 2 + 1])
        assert torch.equal(held[:, 0, 0, 1:], half[:, 1:].expand(COUNT, -1))


def test_gains_of_complex_images_are_those_of_the_mask() -> None:
    """By hand: k-space times g gives gains g, where images have anything."""
    g = np.exp(1j * np.arange(kit.SIDE)) * kit.mask(3)
    z, x = complex_pairs(COUNT, g[None, None])
    link = gains_of(z, x)
    shown = np.abs(kit.fft(kit.heads(COUNT, 0))).mean(0) > 1e-3
    shown[0, 0] = False
    expected = np.broadcast_to(g, shown.shape)
    np.testing.assert_allclose(link.gain.numpy()[shown], expected[shown], atol=2e-2)


def test_a_gain_that_changes_over_the_image_is_a_polynomial() -> None:
    x = kit.heads(COUNT, 0)
    rows, columns = np.mgrid[: kit.SIDE, : kit.SIDE] / (kit.SIDE - 1) * 2 - 1
    blurred = kit.ifft(kit.fft(x * (1 + rows * columns)) * kit.mask(3)).real
    plain, other = found_by(blurred, x)
    assert other is not None
    assert 1 - other.explained < 1e-4 * (1 - plain.explained)


def test_polynomials_are_those_of_legendre() -> None:
    maps = polynomials(torch.Size((5, 7)), 2)
    rows, columns = np.linspace(-1, 1, 5)[:, None], np.linspace(-1, 1, 7)[None]
    expected = [1, columns, (3 * columns**2 - 1) / 2, rows, rows * columns, (3 * rows**2 - 1) / 2]
    whole = [each * np.ones((5, 7)) for each in expected]
    np.testing.assert_allclose(maps.numpy(), np.stack(whole), atol=1e-6)


def test_magnitudes_behind_a_mask_are_no_filter_of_the_image() -> None:
    """Z = |h * x| with a complex h: one gain leaves much, the root of squares nearly nothing."""
    x = kit.heads(200, 0)
    z = np.abs(kit.ifft(kit.fft(x) * kit.mask(3)))
    plain, other = found_by(z, x)
    assert other is not None and isinstance(other.normal, Sum) and other.normal.floor is not None
    assert 1 - other.explained < 0.1 * (1 - plain.explained)


@pytest.mark.parametrize(("pipeline", "step"), [(kit.kept_pixels, 1), (kit.half_as_many_pixels, 2)])
def test_pixels_that_are_missing_are_read_off(pipeline: kit.Pipeline, step: int) -> None:
    class Silent(np.random.Generator):
        def standard_normal(self, *args, **more):  # type: ignore[no-untyped-def, override]
            return 0 * super().standard_normal(*args, **more)

    rough = kit.heads(COUNT, 0) + np.random.default_rng(2).random((COUNT, kit.SIDE, kit.SIDE))
    z, x = pipeline(rough, Silent(np.random.PCG64(0)))
    plain, other = found_by(z, x)
    assert other is not None and other.step == step
    # Beyond the mirrored border the fit goes on with the other side, which leaves a little.
    assert 1 - other.explained < 0.05 * (1 - plain.explained)


def test_a_mirror_repeats_the_border() -> None:
    """As NumPy's symmetric padding."""
    image = torch.arange(12.0).view(1, 1, 3, 4)
    expected = np.pad(image[0, 0].numpy(), 2, mode="symmetric")
    np.testing.assert_array_equal(mirrored(image, 2)[0, 0].numpy(), expected)


def test_noise_has_no_link() -> None:
    rng = torch.Generator().manual_seed(0)
    z, x = torch.randn(2, 40, 1, 16, 16, generator=rng)
    left = unexplained(z, x)
    assert link_of(z, x, torch.arange(40), left) is None
