"""Contract of every registered measurement operator, and closed forms of each."""

import dataclasses
import pickle
import random

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.autograd.gradcheck import gradcheck, gradgradcheck

from operator_kit import NAMES, SHAPES, contract, every, generator, images, make
from recondoor import registry
from recondoor.operators import LinearOperator, _base


def like(y: Tensor, seed: int = 1) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(y.shape, generator=generator, dtype=y.dtype)


def inner(a: Tensor, b: Tensor) -> float:
    return float((a.conj() * b).sum().real)


def tensors(operator: LinearOperator) -> dict[str, bytes]:
    values = {f.name: getattr(operator, f.name) for f in dataclasses.fields(operator)}
    return {k: v.numpy().tobytes() for k, v in values.items() if isinstance(v, Tensor)}


def test_the_four_operators_of_the_study_are_registered() -> None:
    assert {"gaussian", "fourier", "pixel-mask", "identity"} <= set(NAMES)


@every
def test_description_is_one_line(name: str) -> None:
    assert 10 < len(registry.describe("operators")[name]) <= 100


@every
@contract
def test_adjoint_identity(name: str, shape: tuple[int, int, int]) -> None:
    operator = make(name, shape)
    x = images(shape) - 0.5
    ax = operator.A(x)
    y = like(ax)
    scale = float(ax.abs().square().sum().sqrt() * y.abs().square().sum().sqrt())
    assert abs(inner(ax, y) - inner(x, operator.A_adjoint(y))) <= 1e-10 * scale


@every
@contract
def test_shapes_and_types(name: str, shape: tuple[int, int, int]) -> None:
    for dtype in (torch.float32, torch.float64):
        operator = make(name, shape, dtype=dtype)
        x = images(shape).to(dtype)
        y = operator.forward(x, generator())
        z = operator.A_adjoint(y)
        channels = 1 if name == "matrix" else x.shape[1]  # a matrix may mix them
        assert y.shape[:2] == (len(x), channels)
        assert y.real.dtype == dtype
        assert z.shape == x.shape
        assert z.dtype == dtype
        assert operator.shape == shape


@every
@contract
def test_linear(name: str, shape: tuple[int, int, int]) -> None:
    operator = make(name, shape)
    x, w = images(shape, seed=1), images(shape, seed=2)
    expected = 2 * operator.A(x) - 3 * operator.A(w)
    torch.testing.assert_close(operator.A(2 * x - 3 * w), expected, rtol=1e-12, atol=1e-12)
    y, v = like(expected, 1), like(expected, 2)
    expected = 2 * operator.A_adjoint(y) - 3 * operator.A_adjoint(v)
    torch.testing.assert_close(operator.A_adjoint(2 * y - 3 * v), expected, rtol=1e-12, atol=1e-12)


@every
@contract
def test_each_image_is_measured_alone(name: str, shape: tuple[int, int, int]) -> None:
    operator = make(name, shape)
    x = images(shape)
    alone = torch.cat([operator.A_adjoint(operator.A(one[None])) for one in x])
    together = operator.A_adjoint(operator.A(x))
    torch.testing.assert_close(together, alone, rtol=1e-12, atol=1e-12)


@every
@contract
def test_channels_last_images_give_the_same(name: str, shape: tuple[int, int, int]) -> None:
    operator = make(name, shape)
    x = images(shape)
    other = x.to(memory_format=torch.channels_last)
    torch.testing.assert_close(operator.A(other), operator.A(x), rtol=1e-12, atol=1e-12)
    measured = operator.measure(other, generator())
    torch.testing.assert_close(measured, operator.measure(x, generator()), rtol=1e-12, atol=1e-12)


@every
def test_derivatives_agree_with_finite_differences(name: str) -> None:
    shape = (2, 5, 6)
    operator = make(name, shape)
    x = images(shape, 2).requires_grad_()
    y = like(operator.A(x)).requires_grad_()
    for function, at in ((operator.A, x), (operator.A_adjoint, y)):
        assert gradcheck(function, (at,))
        assert gradgradcheck(function, (at,))


@every
@contract
def test_differentiates_twice(name: str, shape: tuple[int, int, int]) -> None:
    """The Hessian of |A x|^2 / 2 applied to v is A_adjoint(A(v))."""
    operator = make(name, shape)
    x, v = images(shape, seed=1).requires_grad_(), images(shape, seed=2)
    energy = operator.A(x).abs().square().sum() / 2
    (gradient,) = torch.autograd.grad(energy, x, create_graph=True)
    (product,) = torch.autograd.grad((gradient * v).sum(), x)
    torch.testing.assert_close(gradient.detach(), operator.A_adjoint(operator.A(x.detach())))
    torch.testing.assert_close(product, operator.A_adjoint(operator.A(v)))


@every
def test_gradient_flows_through_the_noise(name: str) -> None:
    shape = SHAPES[0]
    operator = make(name, shape)
    x = images(shape).requires_grad_()
    y = like(operator.A(x))
    (through,) = torch.autograd.grad((operator.forward(x, generator()) * y.conj()).real.sum(), x)
    torch.testing.assert_close(through, operator.A_adjoint(y))


@every
@contract
def test_calls_change_nothing(name: str, shape: tuple[int, int, int]) -> None:
    operator = make(name, shape)
    x = images(shape)
    before, images_before = tensors(operator), x.clone()
    y = operator.forward(x, generator())
    y_before = y.clone()
    results = [operator.A(x), operator.A_adjoint(y), operator.measure(x, generator())]
    for result in results:
        result.add_(1)  # a result that shared memory with an input would change it here
    assert tensors(operator) == before
    assert torch.equal(x, images_before)
    assert torch.equal(y, y_before)


@every
def test_global_random_state_stays(name: str) -> None:
    def state() -> tuple[bytes, bytes, object]:
        numpy_state = pickle.dumps(np.random.get_state(legacy=False))  # noqa: NPY002
        return torch.get_rng_state().numpy().tobytes(), numpy_state, random.getstate()

    before = state()
    operator = make(name, SHAPES[1])
    x = images(SHAPES[1])
    operator.forward(x, generator())
    operator.measure(x, generator())
    assert state() == before


@every
def test_cannot_be_edited(name: str) -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        make(name, SHAPES[0]).sigma = 0.5  # type: ignore[misc]


@every
@contract
def test_same_seed_same_operator(name: str, shape: tuple[int, int, int]) -> None:
    x = images(shape)
    first = make(name, shape).measure(x, generator())
    assert torch.equal(first, make(name, shape).measure(x, generator()))
    assert not torch.equal(first, make(name, shape).measure(x, generator(6)))
    if tensors(make(name, shape)):
        assert tensors(make(name, shape, seed=4)) != tensors(make(name, shape))


@every
@contract
def test_float32_is_the_same_operator(name: str, shape: tuple[int, int, int]) -> None:
    x = images(shape)
    exact = make(name, shape).A(x)
    rounded = make(name, shape, dtype=torch.float32).A(x.float())
    torch.testing.assert_close(rounded.to(exact.dtype), exact, rtol=1e-4, atol=1e-5)


@every
@contract
def test_noise_level(name: str, shape: tuple[int, int, int]) -> None:
    operator = make(name, shape, sigma=0.2)
    x = images(shape, 100)
    noise = operator.forward(x, generator()) - operator.A(x)
    parts = [noise.real, noise.imag] if noise.is_complex() else [noise]
    for part in parts:
        spread = 5 * 0.2 / part.numel() ** 0.5
        assert abs(float(part.mean())) < spread
        assert abs(float(part.std()) - 0.2) < spread
    if len(parts) == 2:
        correlation = float((parts[0] * parts[1]).mean()) / 0.2**2
        assert abs(correlation) < 5 / noise.numel() ** 0.5


@every
def test_no_noise_when_sigma_is_0(name: str) -> None:
    operator = make(name, SHAPES[0], sigma=0)
    x = images(SHAPES[0])
    assert torch.equal(operator.forward(x, generator()), operator.A(x))
    assert torch.equal(operator.forward(x), operator.A(x))


@every
def test_without_a_generator_the_global_one_draws(name: str) -> None:
    operator = make(name, SHAPES[0])
    x = images(SHAPES[0])
    with torch.random.fork_rng():
        torch.manual_seed(5)
        drawn = operator.forward(x)
    assert torch.equal(drawn, operator.forward(x, generator(5)))


@every
@contract
@pytest.mark.parametrize("ratio", [0.1, 0.5, 1.0])
def test_ratio_is_honoured(name: str, shape: tuple[int, int, int], ratio: float) -> None:
    """Numbers kept per pixel: exact up to the rounding to whole rows, lines or pixels."""
    x = images(shape, 1)
    kept = make(name, shape, ratio=ratio).A(x).numel() / x.numel()
    expected = 1.0 if name == "identity" else ratio
    assert abs(kept - expected) <= 0.5 / min(shape[1:])


@every
def test_measure_is_adjoint_of_forward_in_chunks(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    shape = SHAPES[1]
    operator = make(name, shape)
    x = images(shape, 7)
    expected = operator.A_adjoint(operator.forward(x, generator()))
    assert torch.equal(operator.measure(x, generator()), expected)
    monkeypatch.setattr(_base, "CHUNK_PIXELS", 2 * x[0].numel() + 1)
    stream = generator()
    pairs = [x[start : start + 2] for start in range(0, 7, 2)]
    parts = [operator.A_adjoint(operator.forward(pair, stream)) for pair in pairs]
    assert torch.equal(operator.measure(x, generator()), torch.cat(parts))
    monkeypatch.setattr(_base, "CHUNK_PIXELS", 1)
    assert operator.measure(x, generator()).shape == x.shape
    assert operator.measure(x[:0], generator()).shape == x[:0].shape


@every
def test_measure_records_no_gradient(name: str) -> None:
    x = images(SHAPES[0]).requires_grad_()
    assert not make(name, SHAPES[0]).measure(x, generator()).requires_grad


@every
def test_to_leaves_the_original(name: str) -> None:
    operator = make(name, SHAPES[0])
    before = tensors(operator)
    moved = operator.to("meta")
    assert type(moved) is type(operator)
    assert all(getattr(moved, key).device.type == "meta" for key in before)
    assert tensors(operator) == before


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@every
@contract
def test_gpu_agrees_with_cpu(name: str, shape: tuple[int, int, int]) -> None:
    operator = make(name, shape)
    x = images(shape, 9)
    on_gpu = operator.to("cuda").measure(x.cuda(), generator())
    torch.testing.assert_close(on_gpu.cpu(), operator.measure(x, generator()))
