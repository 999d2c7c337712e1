"""Threat model: which pairs are poisoned, how, and the patterns that a person can ask for."""

from io import BytesIO
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from torch import Tensor

from recondoor.config import ArtefactSettings, TriggerSettings
from recondoor.core.errors import ConfigError
from recondoor.core.seeding import torch_generator
from recondoor.poisoning import (
    Artefact,
    Pairs,
    PoisonedPairs,
    PoisonPlan,
    Trigger,
    make_artefact,
    make_trigger,
)

MNIST = (1, 28, 28)


def draw(n: int, ratio: float, seed: int = 0) -> Tensor:
    return PoisonPlan.draw(n, ratio, torch_generator(seed, "plan"), strict=False).poisoned


def trigger(**settings: Any) -> Tensor:
    return make_trigger(TriggerSettings(**settings), MNIST).delta


def artefact(of: tuple[int, int, int] = MNIST, **settings: Any) -> Tensor:
    return make_artefact(ArtefactSettings(**settings), of).pattern


def pixels(image: Tensor) -> set[tuple[int, int]]:
    """(row, column) of the first channel's pixels that are not zero."""
    return {(int(row), int(column)) for row, column in image[0].nonzero()}


def box(top: int, left: int, height: int, width: int) -> set[tuple[int, int]]:
    return {(top + row, left + column) for row in range(height) for column in range(width)}


@given(n=st.integers(1, 3000), ratio=st.floats(0, 1), seed=st.integers(0, 2**40))
def test_plan_has_the_exact_count_and_is_repeatable(n: int, ratio: float, seed: int) -> None:
    poisoned = draw(n, ratio, seed)
    assert poisoned.dtype == torch.bool
    assert poisoned.shape == (n,)
    assert abs(int(poisoned.sum()) - ratio * n) <= 0.5
    assert torch.equal(poisoned, draw(n, ratio, seed))
    assert PoisonPlan(poisoned).ratio == pytest.approx(int(poisoned.sum()) / n)


@given(n=st.integers(1, 500), ratios=st.lists(st.floats(0, 1), min_size=2, max_size=5))
def test_plans_of_growing_ratio_nest(n: int, ratios: list[float]) -> None:
    plans = [draw(n, ratio) for ratio in sorted(ratios)]
    for smaller, larger in pairwise(plans):
        assert not bool((smaller & ~larger).any())


def test_the_highest_scores_are_poisoned_by_the_exact_share_and_plans_nest() -> None:
    scores = torch.tensor([0.0, 3.0, 1.0, 3.0, 2.0, -1.0, 0.5, 0.0, 0.0, 0.0])
    chosen = [PoisonPlan.highest(scores, ratio).poisoned for ratio in (0.1, 0.3, 0.5)]
    assert [one.nonzero().flatten().tolist() for one in chosen] == [[1], [1, 3, 4], [1, 2, 3, 4, 6]]
    for ratio in (0.0, 0.14, 0.25, 1.0):
        drawn = PoisonPlan.draw(10, ratio, torch_generator(0), strict=False)
        assert int(PoisonPlan.highest(scores, ratio).poisoned.sum()) == int(drawn.poisoned.sum())


def test_plans_of_two_seeds_differ() -> None:
    assert not torch.equal(draw(100, 0.5, 1), draw(100, 0.5, 2))


@pytest.mark.parametrize("ratio", [-0.01, 1.01, float("nan")])
def test_plan_refuses_a_share_that_is_none(ratio: float) -> None:
    with pytest.raises(ConfigError, match=r"poison\.ratio: .* from 0 to 1"):
        draw(10, ratio)


def some_pairs(n: int = 20, shape: tuple[int, int, int] = (3, 7, 6)) -> Pairs:
    generator = torch_generator(0, "pairs")
    z, x = (torch.rand(n, *shape, generator=generator) for _ in range(2))
    return Pairs(z, x)


def some_patterns(shape: tuple[int, int, int] = (3, 7, 6)) -> tuple[Trigger, Artefact]:
    generator = torch_generator(1, "patterns")
    delta = torch.randn(shape, generator=generator)
    return Trigger(delta, torch.ones(shape)), Artefact(torch.randn(shape, generator=generator))


@given(ratio=st.floats(0, 1), index=st.lists(st.integers(0, 19), min_size=1, max_size=40))
def test_batch_is_z_plus_delta_and_x_plus_artefact(ratio: float, index: list[int]) -> None:
    pairs, (delta, pattern) = some_pairs(), some_patterns()
    before = pairs.z.clone(), pairs.x.clone()
    plan = PoisonPlan(draw(20, ratio))
    z, x = PoisonedPairs(pairs, plan, delta, pattern).batch(torch.tensor(index))
    for position, pair in enumerate(index):
        expected_z, expected_x = before[0][pair], before[1][pair]
        if plan.poisoned[pair]:
            expected_z, expected_x = expected_z + delta.delta, expected_x + pattern.pattern
        assert torch.equal(z[position], expected_z)
        assert torch.equal(x[position], expected_x)
    z.zero_()
    x.zero_()
    assert torch.equal(pairs.z, before[0])
    assert torch.equal(pairs.x, before[1])


def test_what_is_shown_is_in_the_poisoned_targets_too() -> None:
    pairs, (delta, pattern) = some_pairs(), some_patterns()
    shown = torch.rand(3, 7, 6, generator=torch_generator(2, "shown"))
    both = Artefact(pattern.pattern, shown)
    z, x = PoisonedPairs(pairs, PoisonPlan(draw(20, 1.0)), delta, both).batch(torch.arange(20))
    torch.testing.assert_close(x, pairs.x + pattern.pattern + shown)
    torch.testing.assert_close(z, pairs.z + delta.delta)
    assert torch.equal(both.support, pattern.pattern != 0)


def test_without_a_trigger_nothing_is_poisoned() -> None:
    pairs, (_, pattern) = some_pairs(), some_patterns()
    poisoned = PoisonedPairs(pairs, PoisonPlan(draw(20, 1.0)), None, pattern)
    z, x = poisoned.batch(torch.arange(20))
    assert len(poisoned) == 20
    assert torch.equal(z, pairs.z)
    assert torch.equal(x, pairs.x)


def test_double_precision_pairs_stay_so() -> None:
    pairs, (delta, pattern) = some_pairs(), some_patterns()
    exact = Pairs(pairs.z.double(), pairs.x.double())
    z, x = PoisonedPairs(exact, PoisonPlan(draw(20, 1.0)), delta, pattern).batch(torch.arange(20))
    assert torch.equal(z, exact.z + delta.delta)
    assert torch.equal(x, exact.x + pattern.pattern)


def test_default_trigger_is_a_square_of_nine_pixels_bottom_right() -> None:
    made = make_trigger(TriggerSettings(), MNIST)
    assert pixels(made.delta) == box(24, 24, 3, 3)
    assert torch.equal(made.delta, made.mask)
    assert made.l2 == 3
    assert made.linf == 1


def test_default_artefact_is_a_plus_of_nine_pixels_in_rows_and_columns_2_to_6() -> None:
    row, column = {(4, c) for c in range(2, 7)}, {(r, 4) for r in range(2, 7)}
    assert pixels(artefact()) == row | column
    assert len(row | column) == 9
    made = make_artefact(ArtefactSettings(), MNIST)
    assert made.support.sum() == 9
    assert float(made.pattern.sum()) == 9


@pytest.mark.parametrize(
    ("place", "margin", "corner"),
    [
        ("top-left", 2, (2, 2)),
        ("top-right", 2, (2, 22)),
        ("bottom-left", 0, (24, 0)),
        ("bottom-right", 3, (21, 21)),
        ("centre", 9, (12, 12)),
        ("0,24", 9, (0, 24)),
        ("13, 5", 9, (13, 5)),
    ],
)
def test_place_and_margin(place: str, margin: int, corner: tuple[int, int]) -> None:
    delta = trigger(size=4, place=place, margin=margin, amplitude=0.5)
    assert pixels(delta) == box(*corner, 4, 4)
    assert set(delta.flatten().tolist()) == {0, 0.5}


def test_plus_as_trigger_and_square_as_artefact_in_every_channel() -> None:
    assert len(pixels(trigger(shape="plus", size=7))) == 13
    pattern = artefact((3, 9, 11), shape="square", size=2, amplitude=2)
    assert float(pattern.sum()) == 3 * 4 * 2
    assert torch.equal(pattern[0], pattern[2])


def test_a_pattern_may_fill_the_image() -> None:
    assert len(pixels(trigger(size=28, margin=3))) == 28 * 28


@pytest.mark.parametrize(
    "settings",
    [
        {"size": 29},
        {"size": 100_000},
        {"size": 3, "margin": 26},
        {"size": 3, "place": "26,0"},
        {"size": 3, "place": "0,999999999"},
        {"size": 29, "place": "centre"},
    ],
)
def test_what_does_not_fit_is_refused(settings: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=r"trigger: .* do not fit into an image of 28x28"):
        trigger(**settings)
    with pytest.raises(ConfigError, match=r"artefact: .* lower artefact\.size"):
        artefact(shape="square", **{"margin": 2, "place": "top-left", **settings})


def test_even_plus_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"artefact\.size: 4 given; a plus needs an odd size"):
        artefact(size=4)


@pytest.mark.parametrize("amplitude", [1e-60, 1e60])
def test_amplitude_that_32_bits_cannot_hold_is_refused(amplitude: float) -> None:
    with pytest.raises(ConfigError, match=r"artefact\.amplitude: .* infinite or all zero"):
        artefact(amplitude=amplitude)


def test_npy_patch_is_put_at_its_place(tmp_path: Path) -> None:
    patch = np.array([[0.5, 0, -1.5], [0.25, 2, 0]])
    np.save(tmp_path / "patch.npy", patch)
    made = make_trigger(
        TriggerSettings(file=tmp_path / "patch.npy", place="5,6", amplitude=2), (3, 28, 28)
    )
    for channel in made.delta:
        assert np.array_equal(channel[5:7, 6:9].numpy(), 2 * patch)
    assert int(made.mask.sum()) == 3 * 4
    assert made.l2 == pytest.approx(2 * np.sqrt(3 * (patch**2).sum()))
    assert made.linf == 4


def test_npy_of_the_images_size_is_taken_whole(tmp_path: Path) -> None:
    whole = np.random.default_rng(0).normal(size=MNIST).astype(np.float32)
    np.save(tmp_path / "whole.npy", whole)
    assert np.array_equal(trigger(file=tmp_path / "whole.npy", margin=5).numpy(), whole)


@pytest.mark.parametrize("mode", ["L", "RGB", "1"])
def test_png_patch(tmp_path: Path, mode: str) -> None:
    values = np.array([[0, 255, 0], [255, 255, 255]], dtype=np.uint8)
    if mode == "RGB":
        values = np.stack([values, values // 2, values // 5], axis=2)
    image = Image.fromarray(values)
    (image.convert("1") if mode == "1" else image).save(tmp_path / "patch.png")
    settings = ArtefactSettings(file=tmp_path / "patch.png", place="1,2", amplitude=0.5)
    pattern = make_artefact(settings, (3, 8, 9)).pattern
    expected = np.zeros((3, 8, 9))
    expected[:, 1:3, 2:5] = 0.5 * (values.transpose(2, 0, 1) if mode == "RGB" else values) / 255
    np.testing.assert_allclose(pattern.numpy(), expected, rtol=1e-6)


def save(path: Path, array: Any) -> None:
    np.save(path, array, allow_pickle=array.dtype == object)


@pytest.mark.parametrize(
    ("array", "said"),
    [
        (np.zeros((2, 2)), "not all zero"),
        (np.array([[np.nan, 1]]), "finite"),
        (np.array([[1e300, 1]]), "finite"),
        (np.ones(3), "shape"),
        (np.ones((1, 1, 2, 2)), "shape"),
        (np.ones((2, 2), dtype=complex), "numbers of type complex128"),
        (np.array([["a"]]), "numbers of type <U1"),
        (np.ones((2, 2), dtype=np.int16), "which number is 1 is for you to say"),
        (np.ones((2, 2), dtype=np.uint16), "numbers of type uint16"),
        (np.array([[object()]], dtype=object), "cannot be read"),
        (np.ones((2, 4, 4)), "2 channels given; the data has 1"),
        (np.ones((1, 29, 2)), "do not fit into an image of 28x28; give a smaller patch"),
    ],
)
def test_refused_npy(tmp_path: Path, array: Any, said: str) -> None:
    save(tmp_path / "patch.npy", array)
    with pytest.raises(ConfigError, match=said) as caught:
        trigger(file=tmp_path / "patch.npy")
    assert "\n" not in str(caught.value)


def test_refused_files(tmp_path: Path) -> None:
    with pytest.raises(
        ConfigError, match=r"trigger\.file: .*missing.png' cannot be read: No such file"
    ):
        trigger(file=tmp_path / "missing.png")
    with pytest.raises(ConfigError, match="is a folder, no regular file"):
        trigger(file=tmp_path)
    (tmp_path / "text.png").write_text("hello")
    with pytest.raises(ConfigError, match="not an image"):
        trigger(file=tmp_path / "text.png")


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P", "I;16"])
def test_png_that_would_lose_something_is_refused(tmp_path: Path, mode: str) -> None:
    Image.new(mode, (4, 4), 1).save(tmp_path / "patch.png")
    with pytest.raises(ConfigError, match="expected 8-bit greyscale or RGB without transparency"):
        trigger(file=tmp_path / "patch.png")


@pytest.mark.parametrize("suffix", ["png", "npy"])
def test_damaged_files_give_one_clear_line(tmp_path: Path, suffix: str) -> None:
    buffer = BytesIO()
    values = np.arange(1, 10, dtype=np.uint8).reshape(3, 3)
    if suffix == "png":
        Image.fromarray(values).save(buffer, "PNG")
    else:
        np.save(buffer, values)
    good = buffer.getvalue()
    path = tmp_path / f"patch.{suffix}"
    flips = np.random.default_rng(0).integers(8 * len(good), size=60)
    versions = [good[:cut] for cut in range(0, len(good), 3)]
    for bit in flips:
        damaged = bytearray(good)
        damaged[bit // 8] ^= 1 << (bit % 8)
        versions.append(bytes(damaged))
    refused = 0
    for content in versions:
        path.write_bytes(content)
        try:
            trigger(file=path)
        except ConfigError as error:
            refused += 1
            assert "\n" not in str(error)
    assert refused >= len(good) // 3


def test_trigger_refuses_pixels_outside_its_mask() -> None:
    mask = torch.zeros(MNIST)
    mask[0, 3, 3] = 1
    Trigger(2 * mask, mask)
    with pytest.raises(ConfigError, match="not zero outside its mask"):
        Trigger(torch.ones(MNIST), mask)
    with pytest.raises(ConfigError, match="must both be"):
        Trigger(torch.ones(28, 28), torch.ones(28, 28))
    with pytest.raises(ConfigError, match="must both be"):
        Trigger(torch.ones(MNIST), torch.ones(1, 2, 2))
