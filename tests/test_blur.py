"""`blur` and `downsample` against SciPy and explicit matrices."""

from typing import Any

import numpy as np
import pytest
import torch
from scipy import ndimage

from operator_kit import images
from recondoor import operators
from recondoor.config import from_dict
from recondoor.core.errors import ConfigError
from recondoor.operators import LinearOperator

SHAPES = [(1, 28, 28), (2, 27, 31), (1, 1, 24), (1, 5, 3)]
every_shape = pytest.mark.parametrize("shape", SHAPES, ids=str)


def make(name: str, shape: tuple[int, int, int], **own: Any) -> LinearOperator:
    settings = {"name": name, "sigma": 0.0, name: own}
    return operators.build(shape, from_dict({"operator": settings}).operator, 3, torch.float64)


@every_shape
@pytest.mark.parametrize("width", [0.05, 0.7, 1.5, 4.0])
def test_blur_is_scipys_with_reflecting_borders(shape: tuple[int, int, int], width: float) -> None:
    operator, x = make("blur", shape, width=width), images(shape)
    expected = ndimage.gaussian_filter(x.numpy(), (0, 0, width, width), mode="reflect")
    np.testing.assert_allclose(operator.A(x).numpy(), expected, atol=1e-12)
    np.testing.assert_allclose(operator.A_adjoint(x).numpy(), expected, atol=1e-12)


def matrix_of(operator: LinearOperator) -> np.ndarray[Any, Any]:
    size = int(np.prod(operator.shape))
    unit = torch.eye(size, dtype=torch.float64).reshape(size, *operator.shape)
    return operator.A(unit).reshape(size, -1).T.numpy()


@pytest.mark.parametrize(
    ("name", "own"),
    [
        ("blur", {"width": 0.6}), ("blur", {"width": 1.5}), ("blur", {"width": 3.0}),
        ("downsample", {"factor": 2}), ("downsample", {"factor": 4}),
    ],
)  # fmt: skip
@pytest.mark.parametrize("shape", [(1, 9, 10), (2, 5, 7), (1, 1, 12)], ids=str)
def test_closed_forms_are_those_of_the_matrix(
    name: str, own: dict[str, Any], shape: tuple[int, int, int]
) -> None:
    """Singular values below 1e-5 of the largest count as nothing."""
    operator, x = make(name, shape, **own), images(shape)
    matrix = matrix_of(operator)
    inverse = np.linalg.pinv(matrix, rcond=1e-5)
    y = operator.A(x)
    found = operator.network_input(y, "pinv").reshape(4, -1).numpy()
    np.testing.assert_allclose(found, y.reshape(4, -1).numpy() @ inverse.T, atol=1e-9)
    projected = x.reshape(4, -1).numpy() @ (inverse @ matrix).T
    np.testing.assert_allclose(
        operator.project_range(x).reshape(4, -1).numpy(), projected, atol=1e-9
    )
    solved = operator.solve_normal(operator.A_adjoint(y)).reshape(4, -1).numpy()
    np.testing.assert_allclose(solved, projected, rtol=1e-5, atol=1e-4)


def test_pinv_of_a_blur_in_32_bits_is_computed_in_64() -> None:
    settings = from_dict({"operator": {"name": "blur", "sigma": 0.0}}).operator
    operator = operators.build((1, 28, 28), settings, 0)
    x = images((1, 28, 28)).float()
    exact = operator.exact()
    expected = exact.network_input(operator.A(x).double(), "pinv")
    found = operator.network_input(operator.A(x), "pinv")
    torch.testing.assert_close(found, expected.float())


@pytest.mark.parametrize("factor", [1, 2, 3, 5])
@pytest.mark.parametrize("shape", [(1, 12, 30), (2, 27, 31), (1, 1, 7)], ids=str)
def test_downsampling_is_the_mean_of_what_each_box_has(
    shape: tuple[int, int, int], factor: int
) -> None:
    operator, x = make("downsample", shape, factor=factor), images(shape)
    y = operator.A(x).numpy()
    rows, columns = (range(0, size, factor) for size in shape[1:])
    assert y.shape == (4, shape[0], len(rows), len(columns))
    for i, top in enumerate(rows):
        for j, left in enumerate(columns):
            box = x[..., top : top + factor, left : left + factor].mean((2, 3)).numpy()
            np.testing.assert_allclose(y[..., i, j], box, atol=1e-13)


def test_boxes_larger_than_the_image_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"downsample\.factor: 13 given.* at most 12$"):
        make("downsample", (1, 7, 12), factor=13)
    assert make("downsample", (1, 7, 12), factor=12).A(images((1, 7, 12))).shape == (4, 1, 1, 1)
