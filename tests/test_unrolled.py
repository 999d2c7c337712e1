"""Networks that work with the operator, against NumPy's linear algebra."""

import copy

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.autograd.gradcheck import gradcheck, gradgradcheck

from operator_kit import NAMES, make
from recondoor import models, operators
from recondoor.config import Model, Modl, Operator, Varnet
from recondoor.core.errors import ConfigError
from recondoor.core.seeding import torch_generator
from recondoor.models._consistency import NormalMap, conjugate_gradients
from recondoor.operators import LinearOperator

SHAPE = (2, 6, 7)
N = 84
every = pytest.mark.parametrize("operator", NAMES)
unrolled = pytest.mark.parametrize("name", ["modl", "varnet"])


def small(name: str, **own: int) -> Model:
    modl = {"width": 3, "iterations": 2, "steps": 3} | (own if name == "modl" else {})
    varnet = {"channels": 2, "pools": 1, "cascades": 2} | (own if name == "varnet" else {})
    return Model(name=name, modl=Modl(**modl), varnet=Varnet(**varnet))


def normal_matrix(operator: LinearOperator) -> NDArray[np.float64]:
    """A^T A, column by column."""
    columns = torch.eye(N, dtype=torch.float64).view(N, *SHAPE)
    return operator.A_adjoint(operator.A(columns)).reshape(N, N).numpy().T


def inputs(operator: LinearOperator, count: int = 3) -> Tensor:
    x = torch.rand(count, *SHAPE, generator=torch_generator(0, "x"), dtype=torch.float64)
    return operator.measure(x, torch_generator(0, "v"))


@every
def test_normal_map_is_scaled_to_its_largest_eigenvalue(operator: str) -> None:
    measured = make(operator, SHAPE)
    matrix = normal_matrix(measured)
    largest = np.linalg.eigvalsh(matrix)[-1]
    normal = NormalMap(measured).double()
    assert 0.9 * largest <= normal.size <= (1 + 1e-5) * largest
    x = inputs(measured)
    expected = x.reshape(-1, N).numpy() @ matrix / normal.size
    np.testing.assert_allclose(normal(x).reshape(-1, N).numpy(), expected, rtol=1e-5, atol=1e-6)


@every
def test_modl_solves_its_equations(operator: str) -> None:
    """With a denoiser that adds nothing, each turn is (N + lambda)^-1 (z / s + lambda x)."""
    measured = make(operator, SHAPE)
    model = models.build(SHAPE, small("modl", steps=90), 0, operator=measured).double()
    with torch.no_grad():
        model.denoiser.layers[-1].weight.zero_()
        model.denoiser.layers[-1].bias.zero_()
    z = inputs(measured)
    size, penalty = model.normal.size, float(model.log_penalty.exp().detach())
    assert penalty == pytest.approx(0.05)
    scaled = normal_matrix(make(operator, SHAPE)) / size
    x = right = z.reshape(-1, N).numpy().T
    for _ in range(2):
        x = np.linalg.solve(scaled + penalty * np.eye(N), right / size + penalty * x)
    found = model(z).detach().reshape(-1, N).numpy().T
    np.testing.assert_allclose(found, x, rtol=1e-4, atol=1e-5)


@every
def test_varnet_steps_against_the_error_of_the_measurement(operator: str) -> None:
    """With U-Nets that answer 0, the steps are x - (A^T A x - z) / s."""
    measured = make(operator, SHAPE)
    model = models.build(SHAPE, small("varnet"), 0, operator=measured).double()
    with torch.no_grad():
        for cascade in model.cascades:
            for part in cascade.unet.up_conv[-1][1].parameters():
                part.zero_()
        model.cascades[1].step.fill_(0.5)
    z = inputs(measured)
    matrix, size = normal_matrix(measured), model.normal.size
    x = right = z.reshape(-1, N).numpy().T
    for step in (1.0, 0.5):
        x = x - step * (matrix @ x - right) / size
    found = model(z).detach().reshape(-1, N).numpy().T
    np.testing.assert_allclose(found, x, rtol=1e-5, atol=1e-6)


def low_rank(v: Tensor) -> Tensor:
    """N + lambda with two different eigenvalues: solved after two steps."""
    mask = torch.zeros(v.shape[1:], dtype=v.dtype)
    mask[..., ::2] = 1
    return mask * v + 0.05 * v


@pytest.mark.parametrize("steps", [1, 2, 5, 20])
def test_conjugate_gradients_keep_their_derivatives_once_solved(steps: int) -> None:
    b = torch.randn(2, 1, 2, 3, generator=torch_generator(0, "b"), dtype=torch.float64)
    b.requires_grad_()
    found = conjugate_gradients(low_rank, b, steps)
    if steps > 1:
        torch.testing.assert_close(low_rank(found), b, rtol=1e-10, atol=1e-12)
        # Of solutions: the inverse is symmetric.
        w = torch.randn(b.shape, generator=torch_generator(0, "w"), dtype=torch.float64)
        (slope,) = torch.autograd.grad(found, b, w)
        torch.testing.assert_close(low_rank(slope), w, rtol=1e-7, atol=1e-7)
    assert gradcheck(lambda b: conjugate_gradients(low_rank, b, steps), b)
    assert gradgradcheck(lambda b: conjugate_gradients(low_rank, b, steps).sin(), b, atol=1e-4)


def test_an_image_of_zeros_is_solved_and_has_finite_derivatives() -> None:
    b = torch.zeros(2, 1, 2, 3)
    b[1] = 1
    b.requires_grad_()
    found = conjugate_gradients(low_rank, b, 4)
    assert not bool(found[0].any())
    (slope,) = torch.autograd.grad(found.square().sum(), b, create_graph=True)
    (again,) = torch.autograd.grad(slope.square().sum(), b)
    assert bool(slope.isfinite().all())
    assert bool(again.isfinite().all())


@unrolled
def test_the_operator_is_no_weight_and_goes_along(name: str) -> None:
    measured = operators.build(SHAPE, Operator(), 0)
    model = models.build(SHAPE, small(name), 0, operator=measured)
    assert not any("normal" in key or "matrix" in key for key in model.state_dict())
    assert len(list(model.buffers())) == 0
    z = inputs(operators.build(SHAPE, Operator(), 0, torch.float64))
    exact = copy.deepcopy(model).double()
    torch.testing.assert_close(model(z.float()).double(), exact(z), rtol=1e-3, atol=1e-4)
    # The copy's precision is its own, and the operator that was given stays as it is.
    assert model(z.float()).dtype == torch.float32
    assert measured.matrix.dtype == torch.float32
    assert models.copy_of(exact)(z).dtype == torch.float64


@unrolled
def test_weights_fit_whatever_precision_the_operator_came_in(name: str) -> None:
    single, double = (
        operators.build(SHAPE, Operator(), 0, dtype) for dtype in (torch.float32, torch.float64)
    )
    first, second = (models.build(SHAPE, small(name), 0, operator=o) for o in (single, double))
    z = inputs(double).float()
    assert torch.equal(first(z), second(z))


class Halves:
    """As another library's operator: two measurements of each image, in 64 bits alone."""

    def A(self, x: Tensor) -> Tensor:
        assert x.dtype == torch.float64
        return torch.stack([x, 0.5 * x], 2)

    def A_adjoint(self, y: Tensor) -> Tensor:
        assert y.dtype == torch.float64
        return y[:, :, 0] + 0.5 * y[:, :, 1]


@unrolled
def test_an_operator_of_another_library(name: str) -> None:
    measured = operators.of_caller(Halves(), SHAPE)
    model = models.build(SHAPE, small(name), 0, operator=measured)
    assert model.normal.size == pytest.approx(1.25)
    z = inputs(measured).float()
    assert model(z).dtype == torch.float32
    assert model(z).shape == z.shape


@unrolled
def test_without_an_operator_it_is_refused_in_a_line(name: str) -> None:
    with pytest.raises(ConfigError, match=f"model.name: '{name}' works with the measurement op"):
        models.build(SHAPE, small(name), 0)
    other = operators.build((2, 6, 8), Operator(), 0)
    with pytest.raises(ConfigError, match=r"images of \(2, 6, 7\), and the operator measures"):
        models.build(SHAPE, small(name), 0, operator=other)
