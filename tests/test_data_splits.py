"""Splits: disjoint, covering, a function of the seed."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recondoor.config import Data
from recondoor.core.errors import DataError
from recondoor.core.words import plural
from recondoor.data import Images, Splits, split

PARTS = ("train", "validation", "test")


def numbered(count: int, own: int = 0) -> Images:
    """`count` 2x2 images, each with its number as its pixels, and `own` test images after them."""
    values = np.arange(count + own, dtype=np.float64) / 4096
    pixels = np.broadcast_to(values[:, None, None], (count + own, 2, 2))
    return Images.of("numbered", pixels[:count], pixels[count:] if own else None)


def numbers(splits: Splits, part: str) -> list[int]:
    array = getattr(splits, part)
    assert array.dtype == np.float32
    assert array.shape[1:] == (1, 2, 2)
    return [int(value) for value in np.rint(array[:, 0, 0, 0] * 4096)]


@given(
    count=st.integers(3, 300),
    own=st.integers(0, 60),
    validation=st.floats(0.01, 0.6),
    test=st.floats(0.01, 0.6),
    seed=st.integers(0, 2**31),
)
def test_parts_are_disjoint_and_cover_everything(
    count: int, own: int, validation: float, test: float, seed: int
) -> None:
    settings = Data(validation=validation, test=test)
    try:
        splits = split(numbered(count, own), settings, seed)
    except DataError:
        assert round(count * (1 - test)) <= 2
        return
    seen = [number for part in PARTS for number in numbers(splits, part)]
    assert sorted(seen) == list(range(count + own))
    if own:
        assert numbers(splits, "test") == list(range(count, count + own))
        assert splits.official_test
        assert len(splits.validation) == max(1, round(validation * count))
    else:
        held = max(1, round(test * count))
        assert len(splits.test) == held
        assert len(splits.validation) == max(1, round(validation * (count - held)))


@given(own=st.integers(0, 20), limit=st.integers(10, 100), seed=st.integers(0, 2**31))
def test_limit_keeps_disjointness_and_proportion(own: int, limit: int, seed: int) -> None:
    splits = split(numbered(80, own), Data(limit=limit), seed)
    seen = [number for part in PARTS for number in numbers(splits, part)]
    assert len(set(seen)) == len(seen) == min(limit, 80 + own)
    if own:
        share = len(splits.test) / len(seen)
        assert abs(share - own / (80 + own)) <= 1 / len(seen)
        assert min(numbers(splits, "test")) >= 80


@given(seed=st.integers(0, 2**31), own=st.sampled_from([0, 20]))
def test_same_seed_same_splits_and_another_seed_others(seed: int, own: int) -> None:
    images = numbered(100, own)
    once, again, other = (split(images, Data(), s) for s in (seed, seed, seed + 1))
    for part in PARTS:
        np.testing.assert_array_equal(getattr(once, part), getattr(again, part))
    assert numbers(once, "train") != numbers(other, "train")
    assert set(numbers(once, "validation")) != set(numbers(other, "validation"))
    assert once.fingerprint == other.fingerprint == images.fingerprint


def test_indices_lead_back_to_the_images() -> None:
    for own in (0, 10):
        images = numbered(50, own)
        splits = split(images, Data(limit=40), 3)
        np.testing.assert_array_equal(splits.train, images.train[splits.train_index])
        np.testing.assert_array_equal(splits.validation, images.train[splits.validation_index])
        source = images.train if images.test is None else images.test
        np.testing.assert_array_equal(splits.test, source[splits.test_index])


def test_sorted_sets_are_shuffled() -> None:
    splits = split(numbered(1000), Data(), 0)
    for part in PARTS:
        found = np.array(numbers(splits, part))
        # The mean of k of 1000 uniform numbers has this standard deviation at most.
        assert abs(found[: len(found) // 2].mean() - 499.5) < 5 * 289 / np.sqrt(len(found) // 2)


def test_splitting_does_not_touch_the_global_generator_or_the_images() -> None:
    images = numbered(40, 10)
    before = str(np.random.get_state())  # noqa: NPY002 - the global one is the subject
    pixels = images.train_pixels.copy()
    splits = split(images, Data(), 0)
    splits.train[:] = 0
    splits.validation[:] = 0
    assert str(np.random.get_state()) == before  # noqa: NPY002
    np.testing.assert_array_equal(images.train_pixels, pixels)


def test_parts_of_a_writable_kind() -> None:
    content = np.arange(12 * 4, dtype=np.uint8).tobytes()
    read_only = np.frombuffer(content, np.uint8).reshape(12, 2, 2)
    splits = split(Images.of("r", read_only, read_only), Data(), 0)
    for part in PARTS:
        assert getattr(splits, part).flags.writeable
        assert getattr(splits, part).flags.c_contiguous


@pytest.mark.parametrize(("count", "own"), [(1, 0), (2, 0), (1, 5)])
def test_too_few_images(count: int, own: int) -> None:
    with pytest.raises(DataError, match="too few for training, validation and test") as caught:
        split(numbered(count, own), Data(), 0)
    assert "\n" not in str(caught.value)
    assert f": {plural(count + own, 'image', 'are')} too few" in str(caught.value)


def test_smallest_sets_that_can_be_split() -> None:
    for count, own in ((3, 0), (2, 1)):
        splits = split(numbered(count, own), Data(), 0)
        assert [len(getattr(splits, part)) for part in PARTS] == [1, 1, 1]


def test_limit_too_small_for_the_shares_names_it() -> None:
    with pytest.raises(DataError, match=r"data\.limit=10"):
        split(numbered(100), Data(limit=10, test=0.99), 0)
