"""`ct-parallel` against scikit-image's transforms, an explicit matrix and line integrals."""

import math
import warnings
from typing import Any

import numpy as np
import pytest
import torch
from skimage.data import shepp_logan_phantom
from skimage.transform import iradon, radon, rescale

from operator_kit import images
from recondoor import operators
from recondoor.config import from_dict
from recondoor.core.errors import ConfigError
from recondoor.operators.ct_parallel import CtParallel


def make(
    shape: tuple[int, int, int], views: int = 60, dtype: torch.dtype = torch.float64
) -> CtParallel:
    settings = {"name": "ct-parallel", "sigma": 0.0, "ct_parallel": {"views": views}}
    built = operators.build(shape, from_dict({"operator": settings}).operator, 3, dtype)
    assert isinstance(built, CtParallel)
    return built


def phantom(side: int) -> np.ndarray[Any, Any]:
    """Shepp and Logan's head, zero outside of the circle."""
    image: np.ndarray[Any, Any] = rescale(shepp_logan_phantom(), side / 400, anti_aliasing=True)
    return np.clip(image, 0, 1)


@pytest.mark.parametrize("shape", [(1, 9, 12), (2, 7, 5), (1, 1, 6), (1, 1, 1)], ids=str)
def test_weights_are_linear_in_the_distance_from_a_ray(shape: tuple[int, int, int]) -> None:
    operator = make(shape, views=7)
    _, height, width = shape
    x = images(shape)
    bins = operator.bins
    rays = np.arange(bins) - (bins - 1) / 2
    row, column = np.mgrid[:height, :width]
    up, right = (height - 1) / 2 - row, column - (width - 1) / 2
    y = np.empty((4, shape[0], 7, bins))
    for view in range(7):
        place = right * math.cos(math.pi * view / 7) + up * math.sin(math.pi * view / 7)
        weight = np.clip(1 - np.abs(rays - place[..., None]), 0, None)
        y[:, :, view] = np.einsum("bchw,hwk->bck", x.numpy(), weight)
    np.testing.assert_allclose(operator.A(x).numpy(), y, atol=1e-12)
    assert operator.A(x[:0]).shape == (0, *y.shape[1:])


def test_no_view_loses_any_of_the_image() -> None:
    x = images((2, 27, 31))
    y = make((2, 27, 31)).A(x)
    total = x.sum((2, 3))[..., None].expand(-1, -1, 60)
    torch.testing.assert_close(y.sum(-1), total, rtol=1e-12, atol=1e-12)


def test_the_transpose_is_exact() -> None:
    operator = make((1, 9, 12), views=7)
    unit = torch.eye(108, dtype=torch.float64).reshape(108, 1, 9, 12)
    matrix = operator.A(unit).reshape(108, -1)
    rays = torch.eye(matrix.shape[1], dtype=torch.float64).reshape(-1, 1, 7, operator.bins)
    assert torch.equal(operator.A_adjoint(rays).reshape(-1, 108), matrix.T)


def test_sinograms_are_those_of_scikit_image() -> None:
    side = 129  # of an odd side both have the same centre
    image = phantom(side)
    theirs = radon(image, theta=np.arange(60) * 3.0, circle=True).T
    operator = make((1, side, side))
    ours = operator.A(torch.from_numpy(image)[None, None])[0, 0].numpy()
    margin = (operator.bins - side) // 2
    assert np.abs(ours[:, :margin]).max() < 1e-9
    inner = ours[:, margin:-margin]
    error = np.linalg.norm(inner - theirs) / np.linalg.norm(theirs)
    assert error < 0.02
    # A discrete line integral of a step is off by up to a pixel at its ends, in both.
    assert np.abs(inner - theirs).max() < 0.1 * theirs.max()


def psnr(image: np.ndarray[Any, Any], truth: np.ndarray[Any, Any]) -> float:
    return float(-10 * np.log10(np.mean((image - truth) ** 2)))


@pytest.mark.parametrize(("views", "loss"), [(60, 2.0), (180, 0.5)])
def test_filtered_back_projection_is_scikit_images(views: int, loss: float) -> None:
    """Of the same sinogram they agree; of our own, whose weights are simpler, it loses a little."""
    side = 129
    image = phantom(side)
    theta = np.arange(views) * 180 / views
    sinogram = radon(image, theta=theta)
    theirs = iradon(sinogram, theta=theta, filter_name="ramp")
    inside = np.hypot(*(np.mgrid[:side, :side] - side // 2)) < side // 2
    operator = make((1, side, side), views=views)
    y = torch.zeros(1, 1, views, operator.bins, dtype=torch.float64)
    margin = (operator.bins - side) // 2
    y[0, 0, :, margin:-margin] = torch.from_numpy(sinogram.T)
    alike = operator.network_input(y, "fbp")[0, 0].numpy()
    np.testing.assert_allclose(alike[inside], theirs[inside], atol=1e-12)
    ours = operator.fbp(operator.A(torch.from_numpy(image)[None, None]))[0, 0].numpy()
    assert psnr(ours[inside], image[inside]) > psnr(theirs[inside], image[inside]) - loss


def test_back_projection_keeps_the_level_of_a_disc() -> None:
    side = 101
    distance = np.hypot(*(np.mgrid[:side, :side] - 50))
    x = torch.from_numpy(np.clip(35.5 - distance, 0, 1))[None, None]
    operator = make((1, side, side), views=180)
    inner = operator.fbp(operator.A(x))[0, 0].numpy()[distance < 30]
    assert abs(inner.mean() - 1) < 0.01 and inner.std() < 0.03


def test_pinv_is_that_of_the_matrix() -> None:
    operator = make((1, 9, 12), views=5)
    unit = torch.eye(108, dtype=torch.float64).reshape(108, 1, 9, 12)
    matrix = operator.A(unit).reshape(108, -1).T.numpy()
    y = operator.A(images((1, 9, 12)))
    expected = y.reshape(4, -1).numpy() @ np.linalg.pinv(matrix, rcond=1e-10).T
    found = operator.network_input(y, "pinv").reshape(4, -1).numpy()
    np.testing.assert_allclose(found, expected, atol=1e-6)


@pytest.mark.parametrize("count", [1, 3])
def test_gradients_of_32_bits_are_products_with_the_transpose(count: int) -> None:
    operator = make((1, 16, 12), dtype=torch.float32)
    x = images((1, 16, 12), count).float().requires_grad_()
    y = operator.A(x)
    (gradient,) = torch.autograd.grad(y.square().sum() / 2, x, create_graph=True)
    torch.testing.assert_close(gradient, operator.A_adjoint(y))
    (second,) = torch.autograd.grad(gradient.square().sum() / 2, x)
    normal = operator.A_adjoint(operator.A(gradient.detach()))
    torch.testing.assert_close(second, normal)


def test_a_function_transform_differentiates_it() -> None:
    operator = make((1, 6, 5), views=4)
    x = images((1, 6, 5), 1)
    found = torch.func.grad(lambda v: operator.A(v).square().sum() / 2)(x)
    torch.testing.assert_close(found, operator.A_adjoint(operator.A(x)))


def test_nothing_is_said_of_young_rows() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        make((1, 6, 5)).A(images((1, 6, 5)))


def test_a_matrix_too_large_for_memory_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"views: 400 views of 640 x 640 .* at most 327 views"):
        make((1, 640, 640), views=400)
