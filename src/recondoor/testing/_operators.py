"""The contract of measurement operators."""

import dataclasses
from typing import ClassVar

import pytest
import torch
from torch import Tensor
from torch.autograd.gradcheck import gradcheck, gradgradcheck

from recondoor import operators
from recondoor.config import Operator, from_dict
from recondoor.core import registry
from recondoor.core.errors import ConfigError, DataError
from recondoor.operators import LinearOperator
from recondoor.testing._contract import Contract, generator, global_generators_stay

Shape = tuple[int, int, int]
SHAPES: tuple[Shape, ...] = ((1, 28, 28), (3, 17, 20), (1, 27, 31), (2, 1, 24))
"""Even and odd sides, H unlike W, several channels, one row."""


def shapes_of(name: str) -> tuple[Shape, ...]:
    """Shapes of images to try an operator with: of channels that it measures."""
    channels = operators.load(name).channels
    if channels is None:
        return SHAPES
    return tuple((min(each, max(channels)), *sides) for each, *sides in SHAPES)  # type: ignore[misc]


def small_of(name: str) -> Shape:
    """A small shape of channels that it measures."""
    return min(2, max(operators.load(name).channels or (2,))), 5, 6


def images(shape: Shape, count: int = 4, seed: int = 0) -> Tensor:
    """Random images in [0, 1], (count, C, H, W), float64."""
    return torch.rand(count, *shape, generator=generator(seed), dtype=torch.float64)


def like(y: Tensor, seed: int = 1) -> Tensor:
    """Normal numbers of the shape and type of y."""
    return torch.randn(y.shape, generator=generator(seed), dtype=y.dtype)


def inner(a: Tensor, b: Tensor) -> float:
    """Real part of the inner product."""
    return float((a.conj() * b).sum().real)


def tensors(operator: LinearOperator) -> dict[str, bytes]:
    """The content of an operator's tensors by name."""
    values = {f.name: getattr(operator, f.name) for f in dataclasses.fields(operator)}
    return {k: v.numpy().tobytes() for k, v in values.items() if isinstance(v, Tensor)}


class OperatorContract(Contract):
    """A linear operator with an exact adjoint, twice differentiable, that no call changes."""

    kind: ClassVar[str] = "operators"

    def pytest_generate_tests(self, metafunc: pytest.Metafunc) -> None:
        """Each name with each of its shapes."""
        if "shape" not in metafunc.fixturenames:
            super().pytest_generate_tests(metafunc)
            return
        pairs = [(name, shape) for name in self.names for shape in shapes_of(name)]
        ids = [f"{name}-{'x'.join(map(str, shape))}" for name, shape in pairs]
        metafunc.parametrize(("name", "shape"), pairs, ids=ids)

    def settings(self, name: str, shape: Shape, ratio: float, sigma: float) -> Operator:
        """Settings of an operator for images of `shape`; override it where more is needed."""
        own = {registry.key(name): {"ratio": ratio}} if operators.load(name).has_ratio else {}
        return from_dict({"operator": {"name": name, "sigma": sigma, **own}}).operator

    def make(
        self,
        name: str,
        shape: Shape,
        *,
        ratio: float = 0.4,
        sigma: float = 0.1,
        seed: int = 3,
        dtype: torch.dtype = torch.float64,
    ) -> LinearOperator:
        """An operator to be tested."""
        return operators.build(shape, self.settings(name, shape, ratio, sigma), seed, dtype)

    def test_adjoint_identity(self, name: str, shape: Shape) -> None:
        """Re <A x, y> = <x, A_adjoint y> for real x, to 1e-10 in float64."""
        operator = self.make(name, shape)
        x = images(shape) - 0.5
        ax = operator.A(x)
        y = like(ax)
        scale = float(ax.abs().square().sum().sqrt() * y.abs().square().sum().sqrt())
        assert abs(inner(ax, y) - inner(x, operator.A_adjoint(y))) <= 1e-10 * scale

    def test_shapes_and_types(self, name: str, shape: Shape) -> None:
        """The shape of y begins with (B, C), z is like x, and both have the precision of x."""
        for dtype in (torch.float32, torch.float64):
            operator = self.make(name, shape, dtype=dtype)
            x = images(shape).to(dtype)
            y = operator.forward(x, generator())
            z = operator.A_adjoint(y)
            assert len(y) == len(x) and y.ndim >= 3
            assert operators.load(name).mixes_channels or y.shape[1] == x.shape[1]
            assert y.real.dtype == dtype
            assert z.shape == x.shape
            assert z.dtype == dtype
            assert operator.shape == shape

    def test_linear(self, name: str, shape: Shape) -> None:
        """A and its adjoint are linear."""
        operator = self.make(name, shape)
        x, w = images(shape, seed=1), images(shape, seed=2)
        expected = 2 * operator.A(x) - 3 * operator.A(w)
        torch.testing.assert_close(operator.A(2 * x - 3 * w), expected, rtol=1e-12, atol=1e-12)
        y, v = like(expected, 1), like(expected, 2)
        expected = 2 * operator.A_adjoint(y) - 3 * operator.A_adjoint(v)
        found = operator.A_adjoint(2 * y - 3 * v)
        torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)

    def test_each_image_is_measured_alone(self, name: str, shape: Shape) -> None:
        """The others in a batch do not count."""
        operator = self.make(name, shape)
        x = images(shape)
        alone = torch.cat([operator.A_adjoint(operator.A(one[None])) for one in x])
        together = operator.A_adjoint(operator.A(x))
        torch.testing.assert_close(together, alone, rtol=1e-12, atol=1e-12)

    def test_channels_last_images_give_the_same(self, name: str, shape: Shape) -> None:
        """The layout of the memory does not count."""
        operator = self.make(name, shape)
        x = images(shape)
        other = x.to(memory_format=torch.channels_last)
        torch.testing.assert_close(operator.A(other), operator.A(x), rtol=1e-12, atol=1e-12)
        measured, expected = (operator.measure(each, generator()) for each in (other, x))
        torch.testing.assert_close(measured, expected, rtol=1e-12, atol=1e-12)

    def test_derivatives_agree_with_finite_differences(self, name: str) -> None:
        """First and second ones, of A and of its adjoint."""
        shape = small_of(name)
        operator = self.make(name, shape)
        x = images(shape, 2).requires_grad_()
        y = like(operator.A(x)).requires_grad_()
        for function, at in ((operator.A, x), (operator.A_adjoint, y)):
            assert gradcheck(function, (at,))
            assert gradgradcheck(function, (at,))

    def test_differentiates_twice(self, name: str, shape: Shape) -> None:
        """The Hessian of half the squared norm of A x, applied to v is A_adjoint(A(v))."""
        operator = self.make(name, shape)
        x, v = images(shape, seed=1).requires_grad_(), images(shape, seed=2)
        energy = operator.A(x).abs().square().sum() / 2
        (gradient,) = torch.autograd.grad(energy, x, create_graph=True)
        (product,) = torch.autograd.grad((gradient * v).sum(), x)
        torch.testing.assert_close(gradient.detach(), operator.A_adjoint(operator.A(x.detach())))
        torch.testing.assert_close(product, operator.A_adjoint(operator.A(v)))

    def test_gradient_flows_through_the_noise(self, name: str) -> None:
        """The gradient of <forward(x), y> is A_adjoint(y)."""
        shape = shapes_of(name)[0]
        operator = self.make(name, shape)
        x = images(shape).requires_grad_()
        y = like(operator.A(x))
        product = (operator.forward(x, generator()) * y.conj()).real.sum()
        (through,) = torch.autograd.grad(product, x)
        torch.testing.assert_close(through, operator.A_adjoint(y))

    def test_calls_change_nothing(self, name: str, shape: Shape) -> None:
        """Neither the operator nor its inputs, also where a result is edited."""
        operator = self.make(name, shape)
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

    def test_global_random_state_stays(self, name: str) -> None:
        """Everything random comes from the generators that are passed in."""
        with global_generators_stay():
            operator = self.make(name, shapes_of(name)[1])
            x = images(shapes_of(name)[1])
            operator.forward(x, generator())
            operator.measure(x, generator())

    def test_cannot_be_edited(self, name: str) -> None:
        """It is a frozen dataclass."""
        with pytest.raises(dataclasses.FrozenInstanceError):
            self.make(name, shapes_of(name)[0]).sigma = 0.5  # type: ignore[misc]

    def test_another_seed_is_another_operator_if_it_draws(self, name: str, shape: Shape) -> None:
        """The fact `draws` is true: and the same seed is the same operator in any case."""
        x = images(shape)
        first, other = self.make(name, shape), self.make(name, shape, seed=4)
        measured = first.measure(x, generator())
        assert torch.equal(measured, self.make(name, shape).measure(x, generator()))
        assert not torch.equal(measured, first.measure(x, generator(6)))
        assert torch.equal(first.A(x), other.A(x)) != operators.load(name).draws

    def test_float32_is_the_same_operator(self, name: str, shape: Shape) -> None:
        """The type changes the precision alone."""
        x = images(shape)
        exact = self.make(name, shape).A(x)
        rounded = self.make(name, shape, dtype=torch.float32).A(x.float())
        torch.testing.assert_close(rounded.to(exact.dtype), exact, rtol=1e-4, atol=1e-5)

    def test_noise_level(self, name: str, shape: Shape) -> None:
        """Mean 0 and deviation sigma of each real part, which do not depend on each other."""
        operator = self.make(name, shape, sigma=0.2)
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

    def test_no_noise_when_sigma_is_0(self, name: str) -> None:
        """Then y = A x."""
        operator = self.make(name, shapes_of(name)[0], sigma=0)
        x = images(shapes_of(name)[0])
        assert torch.equal(operator.forward(x, generator()), operator.A(x))
        assert torch.equal(operator.forward(x), operator.A(x))

    def test_the_ratio_counts_if_it_has_one(self, name: str, shape: Shape) -> None:
        """The fact `has_ratio` is true: m/n is kept up to whole rows, lines or pixels."""
        x, has_ratio = images(shape, 1), operators.load(name).has_ratio
        measured = [self.make(name, shape, ratio=ratio).A(x) for ratio in (0.1, 0.5, 1.0)]
        if not has_ratio:
            assert all(torch.equal(each, measured[0]) for each in measured)
            return
        for ratio, y in zip((0.1, 0.5, 1.0), measured, strict=True):
            assert abs(y.numel() / x.numel() - ratio) <= 0.5 / min(shape[1:])

    @pytest.mark.parametrize("ratio", [0.0, -0.1, 1.5, float("nan"), 1e-6])
    def test_a_bad_ratio_is_refused_if_it_has_one(self, name: str, ratio: float) -> None:
        """With the setting's name and what was given."""
        if not operators.load(name).has_ratio:
            pytest.skip("it has no ratio")
        with pytest.raises(
            ConfigError, match=rf"operator\.{registry.key(name)}\.ratio: "
        ) as caught:
            operators.build(
                shapes_of(name)[0], self.settings(name, shapes_of(name)[0], ratio, 0.0), 0
            )
        assert str(ratio) in str(caught.value)

    @pytest.mark.parametrize("sigma", [-0.1, float("nan"), float("inf")])
    def test_a_bad_sigma_is_refused(self, name: str, sigma: float) -> None:
        """As `LinearOperator` does."""
        settings = self.settings(name, shapes_of(name)[0], 0.5, 0.0).model_copy(
            update={"sigma": sigma}
        )
        with pytest.raises(ConfigError, match=r"operator\.sigma: "):
            operators.build(shapes_of(name)[0], settings, 0)

    def test_measure_is_the_adjoint_of_forward(self, name: str) -> None:
        """Z = A_adjoint(A x + v), also of no image at all, and without gradients."""
        operator = self.make(name, shapes_of(name)[1])
        x = images(shapes_of(name)[1], 7).requires_grad_()
        found = operator.measure(x, generator())
        assert torch.equal(found, operator.A_adjoint(operator.forward(x, generator())))
        assert not found.requires_grad
        assert operator.measure(x[:0], generator()).shape == x[:0].shape

    def test_what_is_solved_has_its_measurement(self, name: str) -> None:
        """A w and A x are alike for w = pinv(A x), and a projection on the range stays."""
        shape = small_of(name)
        operator = self.make(name, shape)
        x = images(shape, 2)
        y = operator.A(x)
        error = (operator.A(operator.pinv(y)) - y).norm()
        assert float(error) <= 1e-3 * float(y.norm())
        inside = operator.project_range(x)
        again = operator.project_range(inside)
        torch.testing.assert_close(again, inside, rtol=1e-6, atol=1e-6 * float(x.norm()))
        b = operator.A_adjoint(y)
        normal = operator.A_adjoint(operator.A(operator.solve_normal(b)))
        assert float((normal - b).norm()) <= 1e-6 * float(b.norm())

    def test_network_inputs(self, name: str) -> None:
        """Each linear map of y gives images; 'adjoint' is A_adjoint, and no other name is taken."""
        shape = small_of(name)
        operator = self.make(name, shape)
        assert operator.input_maps[:2] == ("adjoint", "pinv")
        y = operator.A(images(shape, 2))
        v = like(y)
        for way in [each for each in operator.input_maps if each != "rss"]:
            z = operator.network_input(y, way)
            assert z.shape == (2, *shape) and z.dtype == torch.float64
            expected = 2 * z - 3 * operator.network_input(v, way)
            found = operator.network_input(2 * y - 3 * v, way)
            torch.testing.assert_close(
                found, expected, rtol=1e-5, atol=1e-5 * float(expected.abs().max())
            )
        assert torch.equal(operator.network_input(y, "adjoint"), operator.A_adjoint(y))
        with pytest.raises(ConfigError, match=r"input map 'adjiont' given; .*'adjoint'"):
            operator.network_input(y, "adjiont")

    def test_operators_of_samples_agree_with_their_rows(self, name: str) -> None:
        """Where each image is measured in its own way as where all are measured in one."""
        shape = shapes_of(name)[0]
        operator = self.make(name, shape).per_sample(4, generator())
        x = images(shape)
        y = operator.A(x)
        for index in (slice(1, 3), torch.tensor([3, 0])):
            some = operator.rows(index)
            torch.testing.assert_close(some.A(x[index]), y[index], rtol=1e-12, atol=1e-12)
            z = operator.A_adjoint(y)[index]
            torch.testing.assert_close(some.A_adjoint(y[index]), z, rtol=1e-12, atol=1e-12)

    def test_to_leaves_the_original(self, name: str) -> None:
        """All tensors are fields, and move."""
        operator = self.make(name, shapes_of(name)[0])
        before = tensors(operator)
        moved = operator.to("meta")
        assert type(moved) is type(operator)
        assert all(getattr(moved, key).device.type == "meta" for key in before)
        assert tensors(operator) == before

    @pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
    def test_gpu_agrees_with_cpu(self, name: str, shape: Shape) -> None:
        """The same z, up to rounding."""
        operator = self.make(name, shape)
        x = images(shape, 9)
        on_gpu = operator.to("cuda").measure(x.cuda(), generator())
        torch.testing.assert_close(on_gpu.cpu(), operator.measure(x, generator()))

    @pytest.mark.parametrize(
        "wrong", [(4, 1, 28, 27), (4, 2, 28, 28), (28, 28), (1, 28, 28)], ids=str
    )
    def test_images_of_another_shape_are_refused(self, name: str, wrong: tuple[int, ...]) -> None:
        """As `LinearOperator` does."""
        operator = self.make(name, shapes_of(name)[0])
        with pytest.raises(DataError, match=r"\(any, 1, 28, 28\)"):
            operator.forward(torch.zeros(wrong, dtype=torch.float64))
        with pytest.raises(DataError):
            operator.measure(torch.zeros(wrong, dtype=torch.float64))
