"""Budgets against random allowed triggers, and the distance to the artefact by brute force."""

import math
from collections.abc import Iterator

import pytest
import torch
from torch import Tensor

from recondoor.attacks import Budget
from recondoor.attacks._budget import near
from recondoor.core.seeding import torch_generator
from toy_problem import problem

SHAPE = (2, 4, 5)
RADIUS = 0.8
KINDS = ("l2", "linf", "box", "free")
every_kind = pytest.mark.parametrize("kind", KINDS)


def budget(kind: str) -> Budget:
    mask = (torch.rand(SHAPE, generator=torch_generator(0, "mask")) < 0.4).double()
    return Budget(kind, RADIUS, mask)  # type: ignore[arg-type]


def draws(scale: float = 1.0, count: int = 50) -> Iterator[Tensor]:
    generator = torch_generator(0, "draws")
    for _ in range(count):
        yield scale * torch.randn(SHAPE, generator=generator, dtype=torch.float64)


def allowed(bounds: Budget) -> Tensor:
    """Random triggers inside the budget, many of them on its edge; made without `project`."""
    return torch.stack(list(_allowed(bounds)))


def _allowed(bounds: Budget) -> Iterator[Tensor]:
    generator = torch_generator(0, "allowed")
    for turn in range(200):
        uniform = torch.rand(SHAPE, generator=generator, dtype=torch.float64)
        normal = torch.randn(SHAPE, generator=generator, dtype=torch.float64) * bounds.mask
        if bounds.kind == "l2":
            yield normal / normal.norm() * (RADIUS * (1 if turn % 2 else float(uniform[0, 0, 0])))
        elif bounds.kind == "linf":
            inner = 2 * uniform - 1
            yield RADIUS * (inner.sign() if turn % 2 else inner) * bounds.mask
        elif bounds.kind == "box":
            yield (uniform.round() if turn % 2 else uniform) * bounds.mask
        else:
            yield normal


@every_kind
@pytest.mark.parametrize("scale", [0.01, 1.0, 100.0])
def test_projection_is_the_nearest_allowed_trigger(kind: str, scale: float) -> None:
    bounds, others = budget(kind), allowed(budget(kind))
    for delta in draws(scale, 20):
        nearest = bounds.project(delta)
        torch.testing.assert_close(bounds.project(nearest), nearest, rtol=1e-14, atol=0)
        assert bounds.excess(nearest) is None
        assert not bool(nearest[bounds.mask == 0].any())
        distance = float((nearest - delta).norm())
        assert float((others - delta).flatten(1).norm(dim=1).min()) >= distance * (1 - 1e-12)


@every_kind
def test_an_allowed_trigger_stays(kind: str) -> None:
    bounds = budget(kind)
    for delta in allowed(bounds):
        torch.testing.assert_close(bounds.project(delta), delta, rtol=1e-14, atol=0)
        assert bounds.excess(delta) is None


@every_kind
@pytest.mark.parametrize("scale", [0.01, 100.0])
def test_fill_uses_the_whole_l2(kind: str, scale: float) -> None:
    bounds = budget(kind)
    for delta in draws(scale, 5):
        expected = bounds.project(delta)
        if kind == "l2":
            expected = RADIUS * delta * bounds.mask / (delta * bounds.mask).norm()
        torch.testing.assert_close(bounds.fill(delta), expected, rtol=1e-12, atol=0)
        assert bounds.excess(bounds.fill(delta)) is None


@every_kind
def test_nothing_allowed_has_a_larger_inner_product(kind: str) -> None:
    bounds, others = budget(kind), allowed(budget(kind))
    if kind == "free":
        others *= RADIUS / others.flatten(1).norm(dim=1).view(-1, 1, 1, 1)
    for direction in draws(count=20):
        best = bounds.maximise(direction)
        assert bounds.excess(best) is None
        assert not bool(best[bounds.mask == 0].any())
        product = float((best * direction).sum())
        inside = direction[bounds.mask == 1]
        expected = {
            "l2": RADIUS * float(inside.norm()),  # Cauchy and Schwarz
            "linf": RADIUS * float(inside.abs().sum()),
            "box": float(inside.clamp_min(0).sum()),
            "free": RADIUS * float(inside.norm()),
        }[kind]
        assert product == pytest.approx(expected, rel=1e-12)
        assert float((others * direction).flatten(1).sum(1).max()) <= product + 1e-12


@pytest.mark.parametrize("kind", ["l2", "linf"])
def test_scale_is_the_largest_multiple(kind: str) -> None:
    bounds = budget(kind)
    for pattern in draws(7.0, 20):
        inside = pattern * bounds.mask
        found = bounds.scale(pattern)
        size = float(found.norm() if kind == "l2" else found.abs().max())
        assert size == pytest.approx(RADIUS, rel=1e-12)
        factor = float((found * inside).sum() / inside.square().sum())
        assert factor > 0
        torch.testing.assert_close(found, factor * inside, rtol=1e-12, atol=0)
        assert bounds.excess(1.001 * found) is not None


def test_scale_without_a_norm() -> None:
    for pattern in draws(count=5):
        inside = pattern * budget("box").mask
        assert torch.equal(budget("free").scale(pattern), inside)
        assert torch.equal(budget("box").scale(pattern), inside.clamp(0, 1))


@every_kind
@pytest.mark.parametrize("radius", [0.01, 1.0, 1000.0])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_nothing_stays_nothing(kind: str, radius: float, dtype: torch.dtype) -> None:
    bounds = Budget(kind, radius, budget(kind).mask)  # type: ignore[arg-type]
    nothing = torch.zeros(SHAPE, dtype=dtype)
    for made in (bounds.scale(nothing), bounds.project(nothing), bounds.maximise(nothing)):
        assert torch.equal(made, nothing)


@every_kind
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_type_of_the_trigger_stays(kind: str, dtype: torch.dtype) -> None:
    delta, bounds = next(draws(5.0)).to(dtype), budget(kind)
    for made in (bounds.project(delta), bounds.scale(delta), bounds.maximise(delta)):
        assert made.dtype == dtype
        assert bounds.excess(made) is None


@pytest.mark.parametrize(
    ("kind", "pixels", "said"),
    [
        ("l2", [0.6, 0.6], "L2 0.8485 exceeds 0.8000"),
        ("l2", [0.6, 0.5], None),
        ("l2", [math.nan, 0], "L2 nan exceeds 0.8000"),
        ("l2", [math.inf, 0], "L2 inf exceeds 0.8000"),
        ("linf", [-0.81, 0.8], "L-inf 0.8100 exceeds 0.8000"),
        ("linf", [-0.8, 0.8], None),
        ("linf", [math.nan, 0], "L-inf nan exceeds 0.8000"),
        ("box", [-0.5, 1], "pixels from -0.5000 to 1.0000 leave [0, 1]"),
        ("box", [0, 1.5], "pixels from 0.0000 to 1.5000 leave [0, 1]"),
        ("box", [0, math.nan], "pixels from nan to nan leave [0, 1]"),
        ("box", [0, 1], None),
        ("free", [-1e9, 1e9], None),
        ("free", [0, math.nan], "a pixel is not finite"),
    ],
)
def test_excess(kind: str, pixels: list[float], said: str | None) -> None:
    bounds = Budget(kind, RADIUS, torch.ones(1, 1, 2))  # type: ignore[arg-type]
    assert bounds.excess(torch.tensor([[pixels]])) == said


@pytest.mark.parametrize(
    ("settings", "radius", "length"),
    [  # the hand-made trigger has 9 pixels of 1
        ({}, 3, 3),
        ({"l2": 0.5, "linf": 0.1}, 0.5, 0.5),
        ({"budget": "free"}, 3, 3),
        ({"budget": "free", "l2": 0.5}, 0.5, 0.5),
        ({"budget": "linf"}, 1, 3),
        ({"budget": "linf", "linf": 0.2, "l2": 9}, 0.2, 0.6),
        ({"budget": "box", "l2": 9, "linf": 9}, 1, 3),
    ],
)
def test_radius_and_length_follow_from_the_settings(
    settings: dict[str, object], radius: float, length: float
) -> None:
    """The length is that of the longest trigger."""
    found = problem(**settings).budget
    assert found.radius == pytest.approx(radius, rel=1e-6)
    assert found.length == pytest.approx(length, rel=1e-6)
    if found.kind != "free":
        longest = found.maximise(found.mask)
        assert float(longest.norm()) == pytest.approx(length, rel=1e-6)


@pytest.mark.parametrize("distance", [0, 1, 2, 3, 5, 30])
@pytest.mark.parametrize("shape", [(1, 9, 12), (3, 12, 9)])
def test_near_is_the_chebyshev_distance(distance: int, shape: tuple[int, int, int]) -> None:
    """Between places: an artefact of one channel keeps the trigger of another one off too."""
    support = torch.zeros(shape, dtype=torch.bool)
    for channel, row, column in ((0, 0, 3), (shape[0] - 1, 7, 8), (0, 6, 2)):
        support[channel, row, column] = True
    places = [(row, column) for _, row, column in support.nonzero().tolist()]
    found = near(support, distance)
    assert found.shape == shape
    for row in range(shape[1]):
        for column in range(shape[2]):
            away = min(max(abs(row - i), abs(column - j)) for i, j in places)
            assert found[:, row, column].tolist() == [away < distance] * shape[0]


def test_what_iterations_leave_undone_is_no_fault_of_the_trigger() -> None:
    """A projection that keeps 0.99 of a direction: its own result passes, 2 % outside do not."""
    kept = torch.tensor([1.0, 0.99, 0.0], dtype=torch.float64).view(3, 1, 1)
    mask = torch.ones(3, 1, 1, dtype=torch.float64)
    iterated = Budget("l2", 10.0, mask, lambda delta: kept * delta)
    assert iterated.excess(kept * torch.ones(3, 1, 1, dtype=torch.float64)) is None
    exact = Budget("l2", 10.0, mask, lambda delta: kept.round() * delta)
    outside = torch.tensor([1.0, 1.0, 0.05], dtype=torch.float64).view(3, 1, 1)
    for bounds in (iterated, exact):
        assert "cannot reach" in str(
            bounds.excess(outside + torch.tensor([0, 0, 0.02]).view(3, 1, 1))
        )
