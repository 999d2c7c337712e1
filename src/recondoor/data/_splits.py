"""Disjoint training, validation and test images, drawn from one seed."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from recondoor.config import Data
from recondoor.data._content import shared
from recondoor.data._images import FloatArray, Images, to_unit
from recondoor.errors import DataError
from recondoor.seeding import numpy_generator

Index = NDArray[np.int64]


@dataclass(frozen=True, eq=False, kw_only=True)
class Splits:
    """Images of one study: float32 (N, C, H, W) in [0, 1], disjoint, shuffled.

    `train_index` and `validation_index` are rows of `Images.train`; `test_index` are rows of
    `Images.test` where the set has its own test images (`official_test`), else of `Images.train`.
    `fingerprint` is that of the images, before splitting.
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


def split(images: Images, settings: Data, seed: int) -> Splits:
    """Split `images` by `settings.validation`, `.test` and `.limit`; a function of `seed` alone.

    Test images are the set's own where it has them, else the share `settings.test` of all; of the
    others the share `settings.validation` is for validation. Shares are rounded, but every part
    gets at least one image. A `settings.limit` below the number of images first draws a random
    subset, of which the set's own test images keep their proportion. Raises DataError if there
    are too few images for three parts.
    """
    generator = numpy_generator(seed, "split")
    official = images.test_pixels
    own = 0 if official is None else len(official)
    order = generator.permutation(len(images.train_pixels))
    own_order = np.arange(own)
    if settings.limit is not None and settings.limit < len(order) + own:
        keep_own = max(1, round(settings.limit * own / (len(order) + own))) if own else 0
        own_order = generator.permutation(own)[:keep_own]
        order = order[: settings.limit - keep_own]
    if official is None:
        cut = max(1, round(settings.test * len(order)))
        test_index, order = order[:cut], order[cut:]
    else:
        test_index = own_order
    cut = max(1, round(settings.validation * len(order)))
    validation_index, train_index = order[:cut], order[cut:]
    if 0 in (len(train_index), len(validation_index), len(test_index)):
        raise _too_few(images, settings)
    pixels = images.train_pixels
    return Splits(
        name=images.name,
        train=to_unit(pixels[train_index]),
        validation=to_unit(pixels[validation_index]),
        test=to_unit((pixels if official is None else official)[test_index]),
        fingerprint=images.fingerprint,
        train_index=train_index,
        validation_index=validation_index,
        test_index=test_index,
        official_test=official is not None,
    )


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
    count = len(images.train_pixels)
    if images.test_pixels is not None:
        count += len(images.test_pixels)
    limit = "" if settings.limit is None else f", data.limit={settings.limit}"
    return DataError(
        f"{images.name}: {count} images are too few for training, validation and test with "
        f"data.validation={settings.validation:g}, data.test={settings.test:g}{limit}; "
        "expected at least one image in each"
    )
