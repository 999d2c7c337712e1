"""Disjoint training, validation and test images, drawn from one seed."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from recondoor.config import Data
from recondoor.core.errors import DataError
from recondoor.core.seeding import numpy_generator
from recondoor.core.words import plural
from recondoor.data._content import shared
from recondoor.data._images import Images, Labels
from recondoor.data._stack import FloatArray

Index = NDArray[np.int64]

FEWEST = 3
"""Subjects at least from which some are held out whole."""


@dataclass(frozen=True, eq=False, kw_only=True)
class Splits:
    """Images of one study: float32 (N, C, H, W) in [0, 1], disjoint, shuffled.

    `train_index` and `validation_index` are rows of `Images.train`; `test_index` are rows of
    `Images.test` where the set has its own test images (`official_test`), else of `Images.train`.
    `fingerprint` is that of the images, before splitting. `subjects` are the labels of the
    training, validation and test images, None where the images have none. `note` says what a reader
    of the numbers has to know of how people or volumes were parted.
    """

    name: str
    train: FloatArray
    validation: FloatArray
    test: FloatArray
    fingerprint: str
    train_index: Index
    validation_index: Index
    test_index: Index
    official_test: bool
    subjects: tuple[Labels | None, Labels | None, Labels | None] = (None, None, None)
    note: str | None = None


def split(images: Images, settings: Data, seed: int) -> Splits:
    """Split `images` by `settings.validation`, `.test` and `.limit`; a function of `seed` alone.

    Test images are the set's own where it has them, else the share `settings.test` of all; of the
    others the share `settings.validation` is for validation. Shares are rounded, but every part
    gets at least one image. A `settings.limit` below the number of images first draws a random
    subset, of which the set's own test images keep their proportion.

    Where images have subjects, a part is held out as whole subjects, so many that their images
    come nearest to its share, if there are at least `FEWEST` to choose from; else as the last
    slices of each. A limit then takes images evenly over all subjects. Raises DataError if there
    are too few images for three parts.
    """
    generator = numpy_generator(seed, "split")
    official, labels = images.test_stack, images.train_subjects
    order = generator.permutation(len(images.train_stack))
    own_order = np.arange(0 if official is None else len(official))
    if settings.limit is not None and settings.limit < len(order) + len(own_order):
        order, own_order = _limited(images, settings.limit, order, generator)
    sliced = []
    if official is None:
        test_index, order, parted = _held_out(order, labels, settings.test, generator)
        sliced += [] if parted else ["test"]
    else:
        test_index = own_order
    validation_index, train_index, parted = _held_out(order, labels, settings.validation, generator)
    sliced += [] if parted else ["validation"]
    if 0 in (len(train_index), len(validation_index), len(test_index)):
        raise _too_few(images, settings)
    pixels = images.train_stack
    test_labels = labels if official is None else images.test_subjects
    return Splits(
        name=images.name,
        train=pixels.take(train_index),
        validation=pixels.take(validation_index),
        test=(pixels if official is None else official).take(test_index),
        fingerprint=images.fingerprint,
        train_index=train_index,
        validation_index=validation_index,
        test_index=test_index,
        official_test=official is not None,
        subjects=(
            None if labels is None else labels[train_index],
            None if labels is None else labels[validation_index],
            None if test_labels is None else test_labels[test_index],
        ),
        note=_note(images.name, sliced),
    )


def _limited(
    images: Images, limit: int, order: Index, generator: np.random.Generator
) -> tuple[Index, Index]:
    """Rows of the training and the test images that are left of a set with more than `limit`."""
    own = 0 if images.test_stack is None else len(images.test_stack)
    keep_own = max(1, round(limit * own / (len(order) + own))) if own else 0
    if images.train_subjects is None:
        own_order = generator.permutation(own)[:keep_own]
        return order[: limit - keep_own], own_order
    spread = _spread(images.train_subjects, limit - keep_own)
    tested = np.zeros(own) if images.test_subjects is None else images.test_subjects
    return order[np.isin(order, spread)], _spread(tested, keep_own)


def _spread(labels: NDArray[Any], count: int) -> Index:
    """`count` rows, evenly over the images of all subjects."""
    rows = np.argsort(labels, kind="stable")
    return np.sort(rows[(np.arange(count) * len(rows)) // max(1, count)])


def _held_out(
    order: Index, labels: Labels | None, share: float, generator: np.random.Generator
) -> tuple[Index, Index, bool]:
    """Rows that are held out, the others, and whether no subject is in both."""
    wanted = max(1, round(share * len(order)))
    if labels is None:
        return order[:wanted], order[wanted:], True
    subjects, counts = np.unique(labels[order], return_counts=True)
    if len(subjects) >= FEWEST:
        held = np.isin(labels[order], _nearest(subjects, counts, wanted, generator))
    else:
        held = np.zeros(len(order), dtype=np.bool_)
        for subject, count in zip(subjects, counts, strict=True):
            rows = np.flatnonzero(labels[order] == subject)
            last = np.argsort(order[rows])[count - max(1, round(share * count)) :]
            held[rows[last]] = True
    return order[held], order[~held], len(subjects) >= FEWEST


def _nearest(
    subjects: Labels, counts: Index, wanted: int, generator: np.random.Generator
) -> Labels:
    """Subjects, in a random order, as long as each brings their images nearer to `wanted`.

    At least one, then the one with the fewest images, and never all.
    """
    total = 0
    chosen: list[int] = []
    for at in generator.permutation(len(subjects)):
        nearer = abs(total + counts[at] - wanted) < abs(total - wanted)
        if nearer and len(chosen) < len(subjects) - 1:
            chosen.append(int(at))
            total += int(counts[at])
    return subjects[chosen or [int(np.argmin(counts))]]


def _note(name: str, sliced: list[str]) -> str | None:
    if not sliced:
        return None
    return (
        f"{name}: fewer than {FEWEST} subjects to choose from, so that the {' and '.join(sliced)} "
        "images are the last slices of each; they are of the people that were trained on"
    )


def remarks(splits: Splits) -> str | None:
    """What a reader of the numbers has to know of the splits: `note` and `repeats`; mostly None."""
    return "; ".join(filter(None, (splits.note, repeats(splits)))) or None


def repeats(splits: Splits) -> str | None:
    """Say how many images of one part are in another too, by content; None if there are none.

    Images of one value, such as the empty slices of a volume, do not count. The others are told and
    not refused: some sets hold an image more than once, and are used as they are.
    """
    told = [
        f"{count} of {len(part)} {name} images"
        for name, part in (("test", splits.test), ("validation", splits.validation))
        if (count := int(shared(part, splits.train, as_stored=True).sum()))
    ]
    if not told:
        return None
    return (
        f"{splits.name}: {' and '.join(told)} are also training images, pixel by pixel; errors on "
        "them are those of images that the network was trained on"
    )


def _too_few(images: Images, settings: Data) -> DataError:
    count = len(images.train_stack)
    if images.test_stack is not None:
        count += len(images.test_stack)
    limit = "" if settings.limit is None else f", data.limit={settings.limit}"
    return DataError(
        f"{images.name}: {plural(count, 'image', 'are')} too few for training, validation and "
        "test with "
        f"data.validation={settings.validation:g}, data.test={settings.test:g}{limit}; "
        "expected at least one image in each"
    )
