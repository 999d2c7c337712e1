"""The contract of data sets."""

from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest

from recondoor import data
from recondoor.config import Data
from recondoor.core.errors import DataError
from recondoor.testing._contract import Contract


class DataSetContract(Contract):
    """The same images every time, in range, in splits that do not overlap."""

    kind: ClassVar[str] = "datasets"

    def images(self, name: str) -> data.Images:
        """The images; skipped where they would have to be fetched first."""
        try:
            place = data.find(name)
        except DataError as error:
            pytest.skip(str(error))
        if place is None and self.fetches(name):
            pytest.skip("its files are not here")
        return data.load(name)

    def fetches(self, name: str) -> bool:
        """Whether it needs a network where `find` gives None; override it for one that does."""
        return False

    def test_the_same_images_every_time(self, name: str) -> None:
        """By their fingerprint."""
        assert self.images(name).fingerprint == self.images(name).fingerprint

    def test_images_are_in_range(self, name: str) -> None:
        """Numbers in [0, 1], complex ones in [-1, 1], (N, C, H, W) in float32, not all the same."""
        images = self.images(name)
        for part in (images.train, images.test):
            if part is not None:
                assert part.dtype == np.float32
                assert part.ndim == 4
                low = -1 if images.is_complex else 0
                assert low <= part.min() < part.max() <= 1

    def test_subjects_are_in_one_part(self, name: str) -> None:
        """Where images have labels, training and test images share none."""
        images = self.images(name)
        splits = data.split(images, Data(), 0)
        train, _, test = splits.subjects
        if train is not None and test is not None and splits.note is None:
            assert not set(train) & set(test)

    def test_splits_do_not_overlap(self, name: str) -> None:
        """No image is trained on and validated or tested on."""
        splits = data.split(self.images(name), Data(), 0)
        train, validation = set(splits.train_index), set(splits.validation_index)
        assert not train & validation
        if len(splits.test_index) and self.images(name).test is None:
            assert not (train | validation) & set(splits.test_index)

    def test_where_it_lies_is_told(self, name: str) -> None:
        """`find` gives a path that is there, or None."""
        try:
            place = data.find(name)
        except DataError:
            return
        assert place is None or Path(place).exists()
