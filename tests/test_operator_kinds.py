"""What is particular to each operator, and what none of them takes."""

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from operator_files import file_of
from operator_kit import NAMES, SHAPES, contract, every, images, make
from recondoor import operators
from recondoor.config import Operator
from recondoor.core import registry, seeding
from recondoor.core.errors import ConfigError, DataError
from recondoor.operators.fourier import Fourier
from recondoor.operators.gaussian import Gaussian
from recondoor.operators.pixel_mask import PixelMask


def test_gaussian_is_its_matrix() -> None:
    shape = (3, 17, 20)
    operator = make("gaussian", shape)
    assert isinstance(operator, Gaussian)
    matrix = operator.matrix.numpy()
    assert matrix.shape == (136, 340)
    x = images(shape).numpy()
    expected = np.einsum("mn,bcn->bcm", matrix, x.reshape(4, 3, 340))
    np.testing.assert_allclose(operator.A(torch.from_numpy(x)).numpy(), expected, atol=1e-13)


def test_gaussian_entries_have_variance_1_over_m() -> None:
    operator = make("gaussian", (1, 28, 28), ratio=0.5)
    assert isinstance(operator, Gaussian)
    entries = operator.matrix.flatten() * 392**0.5
    spread = 5 / entries.numel() ** 0.5
    assert abs(float(entries.mean())) < spread
    assert abs(float(entries.square().mean()) - 1) < 2**0.5 * spread
    assert abs(float(entries.pow(4).mean()) - 3) < 96**0.5 * spread  # kurtosis of a Gaussian


@pytest.mark.parametrize("shape", [(1, 28, 28), (3, 17, 20), (1, 8, 33)], ids=str)
def test_fourier_is_numpys_orthonormal_transform(shape: tuple[int, int, int]) -> None:
    operator = make("fourier", shape)
    assert isinstance(operator, Fourier)
    x = images(shape)
    expected = np.fft.fft2(x.numpy(), norm="ortho")[..., operator.lines.numpy()]
    np.testing.assert_allclose(operator.A(x).numpy(), expected, atol=1e-13)


@pytest.mark.parametrize("width", [2, 3, 20, 28, 33])
@pytest.mark.parametrize("ratio", [0.35, 0.5, 1.0])
def test_fourier_keeps_the_centre_and_distinct_lines(width: int, ratio: float) -> None:
    operator = make("fourier", (1, 4, width), ratio=ratio)
    assert isinstance(operator, Fourier)
    lines = operator.lines.tolist()
    kept = round(ratio * width)
    assert len(lines) == len(set(lines)) == kept
    assert lines == sorted(lines)
    assert set(lines) <= set(range(width))
    frequencies = {line if line < (width + 1) // 2 else line - width for line in lines}
    centre = max(1, round(0.32 * kept))
    assert set(range(-(centre // 2), (centre + 1) // 2)) <= frequencies


@pytest.mark.parametrize("name", ["fourier", "pixel-mask", "identity"])
@contract
def test_whole_sampling_returns_the_image(name: str, shape: tuple[int, int, int]) -> None:
    operator = make(name, shape, ratio=1.0, sigma=0)
    x = images(shape)
    torch.testing.assert_close(operator.measure(x), x, rtol=1e-12, atol=1e-12)


def test_pixel_mask_keeps_pixels_and_zeroes_the_others() -> None:
    operator = make("pixel-mask", (3, 17, 20))
    assert isinstance(operator, PixelMask)
    x = images((3, 17, 20)) + 1
    z = operator.A_adjoint(operator.A(x))
    mask = torch.zeros(340, dtype=torch.bool)
    mask[operator.pixels] = True
    assert int(mask.sum()) == 136
    assert torch.equal(z, torch.where(mask.view(17, 20), x, 0.0))


def test_build_draws_from_the_named_stream() -> None:
    operator = make("gaussian", SHAPES[0], seed=11)
    assert isinstance(operator, Gaussian)
    stream = seeding.torch_generator(11, "operator")
    drawn = torch.randn(operator.matrix.shape, generator=stream, dtype=torch.float64)
    assert torch.equal(operator.matrix, drawn / operator.matrix.shape[0] ** 0.5)


@pytest.mark.parametrize("name", [name for name in NAMES if operators.load(name).has_ratio])
@pytest.mark.parametrize("ratio", [0.0, -0.1, 1.5, float("nan"), 1e-6])
def test_bad_ratio_is_refused(name: str, ratio: float) -> None:
    settings = Operator(name=name).model_copy(update={"ratio": ratio})
    with pytest.raises(ConfigError, match=rf"operator\.{registry.key(name)}\.ratio: ") as caught:
        operators.build(SHAPES[0], settings, 0)
    assert str(ratio) in str(caught.value)


@every
@pytest.mark.parametrize("sigma", [-0.1, float("nan"), float("inf")])
def test_bad_sigma_is_refused(name: str, sigma: float) -> None:
    file = file_of(name, SHAPES[0], 0.5, 0)
    settings = Operator(name=name, file=file).model_copy(update={"sigma": sigma})
    with pytest.raises(ConfigError, match=r"operator\.sigma: "):
        operators.build(SHAPES[0], settings, 0)


def test_unknown_name_is_refused_with_the_nearest() -> None:
    settings = Operator.model_construct(name="gausian", ratio=0.5, sigma=0.0)
    with pytest.raises(ConfigError, match=r"operator\.name: .*did you mean 'gaussian'"):
        operators.build(SHAPES[0], settings, 0)


def test_dense_matrix_too_large_for_memory_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"'gaussian' needs a dense .* 'fourier'"):
        make("gaussian", (1, 512, 512), ratio=0.5)


@every
@pytest.mark.parametrize("wrong", [(4, 1, 28, 27), (4, 2, 28, 28), (28, 28), (1, 28, 28)], ids=str)
def test_images_of_another_shape_are_refused(name: str, wrong: tuple[int, ...]) -> None:
    operator = make(name, SHAPES[0])
    with pytest.raises(DataError, match=r"\(any, 1, 28, 28\)"):
        operator.forward(torch.zeros(wrong, dtype=torch.float64))
    with pytest.raises(DataError):
        operator.measure(torch.zeros(wrong, dtype=torch.float64))


def test_matrix_is_its_file() -> None:
    shape = (3, 5, 4)
    operator = make("matrix", shape)
    matrix = np.load(str(file_of("matrix", shape, 0.4, 3)))
    x = images(shape).numpy()
    y = operator.A(torch.from_numpy(x))
    np.testing.assert_allclose(y[:, 0].numpy(), x.reshape(4, 60) @ matrix.T, atol=1e-13)
    z = operator.A_adjoint(y).numpy().reshape(4, 60)
    np.testing.assert_allclose(z, (y[:, 0].numpy() @ matrix.conj()).real, atol=1e-13)


class Bomb:
    """Writes a file when it is unpickled."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> tuple[object, tuple[object, ...]]:
        return Path.touch, (self.target,)


@pytest.mark.parametrize(
    ("array", "said"),
    [
        (np.ones((2, 5)), "need 12 columns"),
        (np.ones(12), "of shape (m, C * H * W)"),
        (np.full((2, 12), np.nan), "NaN"),
        (np.zeros((2, 12)), "zeros alone"),
        (np.array([["a", "b"]]), "real or complex"),
    ],
)
def test_a_matrix_that_does_not_fit_is_refused(
    array: np.ndarray[Any, Any], said: str, tmp_path: Path
) -> None:
    np.save(tmp_path / "m.npy", array)
    settings = Operator(name="matrix", file=tmp_path / "m.npy")
    with pytest.raises(ConfigError, match=re.escape(said)):
        operators.build((1, 3, 4), settings, 0)


def test_no_matrix_is_unpickled_or_taken_at_its_word(tmp_path: Path) -> None:
    path, planted = tmp_path / "m.npy", tmp_path / "planted"
    np.save(path, np.array([[Bomb(planted)]], dtype=object), allow_pickle=True)
    settings = Operator(name="matrix", file=path)
    with pytest.raises(ConfigError, match="real or complex"):
        operators.build((1, 1, 1), settings, 0)
    assert not planted.exists()
    with path.open("wb") as stream:
        head = {"descr": "<f8", "fortran_order": False, "shape": (10**9, 10**9)}
        np.lib.format.write_array_header_1_0(stream, head)
    with pytest.raises(ConfigError, match="2 GiB are allowed"):
        operators.build((1, 1, 1), settings, 0)
    path.write_bytes(b"not an array")
    with pytest.raises(ConfigError, match="cannot be read"):
        operators.build((1, 1, 1), settings, 0)
    with pytest.raises(ConfigError, match="none given"):
        operators.build((1, 1, 1), Operator(name="matrix"), 0)
