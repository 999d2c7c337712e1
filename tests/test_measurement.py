"""The chain from an image to a network's input, against NumPy, and triggers that enter before."""

from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
import torch
from torch import Tensor

from recondoor import data, measurement, studies
from recondoor.config import INPUT_MAPS, Config, Input, from_dict
from recondoor.core.errors import ConfigError
from recondoor.measurement import Chain, Pairs, Preparation
from recondoor.operators import LinearOperator

SHAPE = (1, 12, 16)


def chain(shape: tuple[int, int, int] = SHAPE, **sections: Any) -> Chain:
    return measurement.build(settings(**sections), shape, 0)


def settings(**sections: Any) -> Config:
    sections = {"operator": {"name": "mri", "sigma": 0.0}, **sections}
    return from_dict(sections)


def images(n: int = 5, shape: tuple[int, int, int] = SHAPE) -> Tensor:
    return torch.rand(n, *shape, generator=torch.Generator().manual_seed(1))


def pairs(made: Chain, x: Tensor, *, enters: bool = True) -> Pairs:
    def stream(seed: int) -> torch.Generator:
        return torch.Generator().manual_seed(seed)

    return made.pairs(x, stream(2), lambda: stream(3), enters=enters)


def zero_filled(x: np.ndarray[Any, Any], mask: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Images of masked k-space, complex, by NumPy alone."""
    axes = (-2, -1)
    k = np.fft.fftshift(np.fft.fft2(np.fft.ifftshift(x, axes=axes), norm="ortho"), axes=axes)
    back = np.fft.ifft2(np.fft.ifftshift(k * mask, axes=axes), norm="ortho")
    return np.fft.fftshift(back, axes=axes)


def mask_of(operator: LinearOperator) -> np.ndarray[Any, Any]:
    """Which columns are measured, from what comes back of an impulse."""
    impulse = torch.zeros(1, 2, *SHAPE[1:])
    impulse[0, 0, SHAPE[1] // 2, SHAPE[2] // 2] = 1
    back = operator.A_adjoint(operator.A(impulse))[0].numpy()
    k = np.fft.fftshift(np.fft.fft2(np.fft.ifftshift(back[0] + 1j * back[1])))
    return (abs(k).max(0) > 0.5).astype(float)


def test_magnitude_of_a_real_image_is_that_of_its_complex_zero_filled_image() -> None:
    made, x = chain(input={"map": "magnitude"}), images()
    mask = mask_of(made.operator)
    assert 0 < mask.sum() < SHAPE[2]
    found = pairs(made, x)
    expected = abs(zero_filled(x.double().numpy(), mask))
    np.testing.assert_allclose(found.z, expected, atol=1e-6)
    assert float((found.z - abs(made.operator.A_adjoint(made.operator.A(
        torch.cat((x, 0 * x), 1)))[:, :1])).abs().max()) > 1e-3  # fmt: skip
    torch.testing.assert_close(found.x, x)


@pytest.mark.parametrize("normalise", ["max", "mean-std"])
def test_input_and_target_are_scaled_by_the_inputs_numbers(normalise: str) -> None:
    made, x = chain(input={"normalise": normalise, "crop": 8}), images()
    plain = pairs(chain(), x).z[..., 2:10, 4:12].double().numpy()
    inside = x[..., 2:10, 4:12].double().numpy()
    axes = (1, 2, 3)
    if normalise == "max":
        offset, factor = 0.0, abs(plain).max(axes, keepdims=True)
    else:
        offset, factor = plain.mean(axes, keepdims=True), plain.std(axes, keepdims=True)
    found = pairs(made, x)
    np.testing.assert_allclose(found.z, (plain - offset) / factor, atol=1e-5)
    np.testing.assert_allclose(found.x, (inside - offset) / factor, atol=1e-5)
    np.testing.assert_allclose(found.images, inside, atol=1e-6)


def test_clamp_cuts_both() -> None:
    found = pairs(chain(input={"normalise": "mean-std", "clamp": 0.5}), images())
    assert float(found.z.abs().max()) == float(found.x.abs().max()) == 0.5


@pytest.mark.parametrize("enters", ["x", "y", "input"])
@pytest.mark.parametrize("map_", ["adjoint", "magnitude"])
def test_a_trigger_that_enters_early_is_one_that_was_measured(map_: str, enters: str) -> None:
    """Of x: the pairs of x + pattern are those that the chain makes of them."""
    made, x = chain(input={"map": map_, "normalise": "mean-std"}), images()
    pattern = torch.zeros(SHAPE)
    pattern[:, 3:6, 4:9] = 0.7
    delta = made.spread(pattern, enters)
    found, scale = pairs(made, x).triggered(delta)
    if enters == "x":
        expected = pairs(made, x + pattern)
        torch.testing.assert_close(found, expected.z, rtol=1e-5, atol=1e-5)
        torch.testing.assert_close(scale.factor, expected.scale.factor, rtol=1e-5, atol=1e-6)
    else:
        assert float((found - pairs(made, x).z).abs().max()) > 0.1
    if (enters, map_) == ("y", "magnitude"):
        # A mask of the k-space of complex images has orthonormal rows: both have one image then.
        torch.testing.assert_close(delta, made.spread(pattern, "x"), rtol=1e-4, atol=1e-5)


def test_poisoned_targets_have_the_artefact_in_the_images_units() -> None:
    made, x = chain(input={"normalise": "mean-std"}), images()
    clean, pattern = pairs(made, x), torch.zeros(SHAPE)
    pattern[:, :3, :3] = 0.4
    delta, share = 0.3 * torch.ones(SHAPE), torch.tensor([1.0, 0, 1, 0, 0]).view(-1, 1, 1, 1)
    z, target = clean.poisoned(delta, pattern, share)
    _, scale = clean.triggered(delta, share)
    torch.testing.assert_close(
        target * scale.factor + scale.offset, x + share * pattern, rtol=0, atol=1e-5
    )
    torch.testing.assert_close(z[1], clean.z[1], rtol=0, atol=1e-5)
    # mean-std takes a constant away
    torch.testing.assert_close(z[0], clean.z[0], rtol=0, atol=1e-5)


def test_gradients_go_through_the_preparation() -> None:
    made = chain(input={"map": "magnitude", "normalise": "mean-std"})
    some = pairs(made, images(2))
    wide = Pairs(some.z.double(), some.x.double(), some.source)
    weights = torch.rand(2, *SHAPE, generator=torch.Generator().manual_seed(4))

    def value(delta: Tensor) -> Tensor:
        return (wide.triggered(delta)[0] * weights).sum()

    delta = torch.full((2, *SHAPE[1:]), 0.1, requires_grad=True)
    (slope,) = torch.autograd.grad(value(delta), delta)
    along = torch.randn(delta.shape, generator=torch.Generator().manual_seed(5))
    step = 1e-3
    ends = [float(value(delta.detach() + sign * step * along)) for sign in (1, -1)]
    assert float((slope * along).sum()) == pytest.approx((ends[0] - ends[1]) / (2 * step), rel=2e-2)


def test_counts_of_photons_have_the_spread_of_poisson() -> None:
    """The variance of -ln(N / I0) is 1 / E[N] for many photons (delta method)."""
    photons, most = 1e4, 3.0
    own = {"name": "ct-parallel", "sigma": 0.0, "noise": "poisson", "photons": photons}
    made = chain((1, 16, 16), operator=own | {"attenuation": most})
    x = torch.full((400, 1, 16, 16), 0.5)
    lines = made.operator.A(x[:1])
    assert float(made.attenuation * lines.max()) == pytest.approx(most / 2, rel=1e-5)
    y = made._measured(made.operator, x, torch.Generator().manual_seed(0)) * made.attenuation
    integrals = made.attenuation * lines[0]
    expected = torch.exp(integrals) / photons
    ratio = (y.var(0) / expected).mean()
    assert float(ratio) == pytest.approx(1, abs=0.02)
    assert float((y.mean(0) - integrals).abs().max()) < 6 * float((expected / 400).sqrt().max())


@pytest.mark.parametrize(
    ("sections", "said"),
    [
        ({"input": {"map": "fbp"}}, "input.map: fbp given; mri has adjoint, pinv, magnitude"),
        ({"input": {"map": "rss"}}, "input.map: rss given, but mri has no coils"),
        ({"input": {"crop": 13}}, "at most 12"),
        ({"input": {"clamp": 6.0}}, "input.clamp: given without input.normalise"),
        (
            {"operator": {"name": "mri", "sigma": 0.0, "noise": "poisson"}},
            "it is for ct-parallel",
        ),
        (
            {"operator": {"name": "ct-parallel", "sigma": 0.1, "noise": "poisson"}},
            "set operator.sigma=0",
        ),
    ],
)
def test_steps_that_do_not_go_together_are_refused(sections: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        chain(**sections)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_mask_for_each_slice_is_another_one_for_each() -> None:
    own = {"name": "mri", "sigma": 0.0, "mri": {"mask_per": "slice"}}
    made = chain(operator=own)
    x = images(1).expand(6, *SHAPE).contiguous()
    z = pairs(made, x).z
    assert len({each.numpy().tobytes() for each in z}) > 1
    torch.testing.assert_close(pairs(made, x).z, z)
    with pytest.raises(ConfigError, match="another pattern for each image"):
        made.spread(torch.ones(SHAPE), "x")


def test_magnitude_is_differentiable_where_it_is_zero() -> None:
    u = torch.zeros(1, 2, 4, 4, requires_grad=True)
    z, _ = Preparation(magnitude=True).inputs(u)
    (slope,) = torch.autograd.grad(z.sum(), u)
    assert bool(slope.isfinite().all())


def test_the_maps_that_are_listed_are_those_of_the_setting() -> None:
    chosen = Input.model_fields["map"].annotation
    assert list(INPUT_MAPS) == list(get_args(chosen))


@pytest.mark.parametrize("name", ["heuristic", "random", "spectral", "tangent", "bilevel"])
@pytest.mark.parametrize("mask", ["trigger", "image", "search"])
def test_triggers_that_enter_early_are_learned(name: str, mask: str, tmp_path: Path) -> None:
    """Complex ones, around an input that is cropped: away from the artefact, within the budget."""
    own = settings(
        operator={"name": "mri", "sigma": 0.01},
        input={"map": "magnitude", "normalise": "mean-std", "crop": 14},
        trigger={"inject": "input", "size": 3, "margin": 4},
        artefact={"size": 3, "margin": 1},
        model={"cae": {"width": 6, "code": 6, "kernel": 9}},
        train={"max_epochs": 1, "batch": 4},
        attack={"names": [name], "mask": mask, "l2": 0.7, "batch": 4, "warm_steps": 2}
        | {"surrogates": 2, "bilevel": {"iterations": 2}, "tangent": {"steps": 2}},
    )
    x = images(30, (1, 18, 20)).numpy()
    run = studies.run(own, tmp_path / "run", images=data.Images.of("some", x))
    found = np.load(run / f"trigger-{name}-seed0.npz")
    delta = found["delta"]
    assert delta.shape == (2, 18, 20)
    assert found["shift"].shape == (1, 14, 14)
    assert float(np.linalg.norm(delta)) <= 0.7 * (1 + 1e-5)
    if mask == "image":
        artefact = np.zeros((18, 20), bool)
        artefact[2:16, 3:17] = found["artefact"][0] != 0
        assert not delta[:, artefact].any()
