"""Images of people: the embedded sets, and splits that keep each person in one part."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recondoor import data
from recondoor.config import Data
from recondoor.core.errors import DataError
from recondoor.data import Images, split
from recondoor.data._embedded import place

EMBEDDED = {"brain4": ((164, 25, 23), 199), "chest4": ((112, 191, 48), 61)}
each = pytest.mark.parametrize("name", EMBEDDED)


def labelled(counts: tuple[int, ...], own: tuple[int, ...] = ()) -> Images:
    """`counts` images of subjects 0, 1, ..., and `own` test images of those after them."""
    labels = np.repeat(np.arange(len(counts) + len(own)), (*counts, *own))
    pixels = np.arange(len(labels) * 4, dtype=np.float64).reshape(-1, 2, 2) / 65536
    cut = sum(counts)
    if not own:
        return Images.of("people", pixels, train_subjects=labels)
    return Images.of(
        *("people", pixels[:cut], pixels[cut:]),
        train_subjects=labels[:cut],
        test_subjects=labels[cut:],
    )


@each
def test_embedded_people(name: str) -> None:
    images, (counts, tested) = data.load(name), EMBEDDED[name]
    assert images.shape == (1, 128, 128)
    assert images.train_pixels.dtype == np.uint8
    assert images.train_subjects is not None
    assert images.test_subjects is not None
    assert tuple(np.bincount(images.train_subjects)) == counts
    assert list(images.test_subjects) == [len(counts)] * tested
    for part in (images.train, images.test):
        assert part is not None
        assert part.max() == 1
        assert 0.05 < part.mean() < 0.5
        # Every slice that is kept has something in it, and air around it.
        assert part.std((1, 2, 3)).min() > 0.05


@each
def test_slices_are_upright(name: str) -> None:
    """In CT the table is below and above is air; liver at the left, stomach at the right.

    A head that is seen from below is as long as wide at least, and tapers to the nose, above.
    """
    images = data.load(name).train[:, 0]
    if name == "chest4":
        assert images[:, :8].mean() < 0.05 < images[:, -24:].mean()
        belly = images[100:112, 40:90]  # liver and stomach of the first person
        assert belly[:, :, 16:56].mean() > belly[:, :, -56:-16].mean()
    else:
        wide = (images[:20] > 0.1).any(1).sum(1)
        front, back = images[30:45, 10:40] > 0.1, images[30:45, 75:105] > 0.1
        assert wide.min() > 60
        assert front.any(1).sum(1).mean() < back.any(1).sum(1).mean()


@each
def test_notices_travel_with_embedded_sets(name: str) -> None:
    notices = {path.name: path.read_text("utf-8") for path in _licences().glob("*.txt")}
    assert set(notices) >= {"README.txt", "colin27.txt", "pycortex.txt", "pyradiomics.txt"}
    assert "Permission to use, copy, modify, and distribute" in notices["colin27.txt"]
    assert "Apache License" in notices["totalsegmentator.txt"]
    assert name in notices["README.txt"]
    assert place(name).stat().st_size < 4_000_000


def _licences() -> Path:
    return place("brain4").parent / "licences"


@given(
    counts=st.lists(st.integers(1, 40), min_size=1, max_size=8),
    own=st.integers(0, 2),
    seed=st.integers(0, 999),
    share=st.floats(0.05, 0.5),
)
def test_subjects_stay_in_one_part(counts: list[int], own: int, seed: int, share: float) -> None:
    images = labelled(tuple(counts), (7,) * own)
    try:
        splits = split(images, Data(validation=share, test=share), seed)
    except DataError:
        assert sum(counts) < 10 or max(counts) < 4
        return
    train, validation, test = (set(map(int, part)) for part in splits.subjects if part is not None)
    assert (splits.note is None) == (not train & validation and not (train | validation) & test)
    if len(counts) >= 3:
        assert not (train | validation) & test
        assert not own or splits.note is None
    parts = (splits.train_index, splits.validation_index)
    rows = np.concatenate([*parts, *([] if own else [splits.test_index])])
    assert sorted(rows) == list(range(sum(counts)))


def test_as_many_subjects_as_come_nearest_to_the_share() -> None:
    splits = split(labelled((20,) * 10, (5,)), Data(validation=0.3), 0)
    assert len(splits.validation) == 60
    uneven = split(labelled((164, 25, 23), (5,)), Data(), 0)
    assert len(uneven.validation) in (23, 25)


def test_two_subjects_are_parted_by_their_last_slices() -> None:
    splits = split(labelled((40, 20), (5,)), Data(validation=0.1), 3)
    assert sorted(splits.validation_index) == [36, 37, 38, 39, 58, 59]
    assert splits.note is not None
    assert "last slices" in splits.note


def test_a_limit_takes_slices_evenly_over_all_subjects() -> None:
    splits = split(labelled((100, 60, 40), (50,)), Data(limit=50), 0)
    rows = np.sort(np.concatenate([splits.train_index, splits.validation_index]))
    assert len(rows) == 40
    assert len(splits.test_index) == 10
    assert set(np.diff(rows)) == {5}
    assert set(np.diff(splits.test_index)) == {5}


def test_labels_are_in_the_fingerprint_and_checked() -> None:
    pixels = np.linspace(0, 1, 40).reshape(10, 2, 2)
    plain = Images.of("a", pixels)
    one = Images.of("a", pixels, train_subjects=np.zeros(10, int))
    two = Images.of("a", pixels, train_subjects=np.arange(10))
    assert len({plain.fingerprint, one.fingerprint, two.fingerprint}) == 3
    for wrong in (np.zeros(9, int), np.zeros(10), np.zeros((10, 1), int)):
        with pytest.raises(DataError, match="expected a whole number for each of the 10 images"):
            Images.of("a", pixels, train_subjects=wrong)
    with pytest.raises(DataError, match="subject 4 has training and test images"):
        Images.of(
            *("a", pixels, pixels),
            train_subjects=np.full(10, 4),
            test_subjects=np.full(10, 4),
        )
