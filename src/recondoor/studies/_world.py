"""One seed's measured pairs, and when those of the study before are the same."""

import json
from dataclasses import dataclass
from weakref import WeakKeyDictionary

import numpy as np
import torch
from numpy.typing import NDArray

from recondoor import data, operators
from recondoor.config import Config, dumped, operator_files, own_code
from recondoor.core import seeding
from recondoor.evaluation.answers import Volumes
from recondoor.measurement import Chain, Pairs

Shape = tuple[int, int, int]


@dataclass(frozen=True, kw_only=True)
class World:
    """One seed's measured pairs, and the chain that measured them.

    `note` is what a reader of its numbers has to know of the data. `test_volumes`: of whom the
    test images are, where that is known.
    """

    seed: int
    chain: Chain
    train: Pairs
    validation: Pairs
    test: Pairs
    note: str | None = None
    test_volumes: Volumes | None = None

    @property
    def shape(self) -> Shape:
        """(C, H, W) of an input and of a target."""
        _, channels, height, width = self.train.x.shape
        return channels, height, width

    @property
    def range_of(self) -> operators.LinearOperator | None:
        """The operator in float64 in whose adjoint's range z lies; None where it need not."""
        return self.chain.exact if self.chain.is_plain else None


_LAST: WeakKeyDictionary[data.Images, tuple[str, World]] = WeakKeyDictionary()
"""What was measured last of images that are still held."""


class KeptWorld:
    """What was measured last of `images`, if it is what these settings ask for.

    Points of a sweep that differ in attacks, poison or training share it. `world` is None where it
    has to be measured.
    """

    def __init__(
        self, config: Config, images: data.Images, seed: int, device: torch.device
    ) -> None:
        self._config, self._images, self._seed, self._device = config, images, seed, device
        sections = {name: dumped(config)[name] for name in ("data", "operator", "input")}
        more = {"inject": config.trigger.inject, "seed": seed, "device": str(device)}
        self._key = json.dumps(sections | more, sort_keys=True)
        # Files and code of one's own may be others by then, though their names are the same.
        self._may_keep = not (operator_files(config) or own_code(config))
        key, world = _LAST.get(images, ("", None))
        self.world = world if key == self._key and self._may_keep else None

    def measured(self, chain: Chain, splits: data.Splits) -> World:
        """Measure, and keep it in place of what was kept."""
        _LAST.pop(self._images, None)  # first: two of them need not fit into memory
        seed = self._seed

        def part(name: str, images: NDArray[np.float32]) -> Pairs:
            x = torch.from_numpy(np.ascontiguousarray(images))
            return chain.pairs(
                x,
                seeding.torch_generator(seed, "noise", name),
                lambda: seeding.torch_generator(seed, "sampling", name),
                enters=self._config.trigger.inject != "z",
            ).to(self._device)

        world = World(
            seed=seed,
            chain=chain,
            train=part("train", splits.train),
            validation=part("validation", splits.validation),
            test=part("test", splits.test),
            note=data.remarks(splits),
            test_volumes=_volumes(splits, self._images.is_complex),
        )
        if self._may_keep:
            _LAST[self._images] = self._key, world
        return world


def _volumes(splits: data.Splits, are_complex: bool) -> Volumes | None:
    labels = splits.subjects[2]
    return None if labels is None else Volumes(tuple(labels.tolist()), are_complex)
