"""A trigger as it is moved about on the bench: drawn, put where it enters, what that changes."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor

from recondoor import audit, studies
from recondoor.config import Config, TriggerSettings
from recondoor.core.errors import ConfigError
from recondoor.explore._pictures import Json, Span, picture
from recondoor.measurement import Pairs
from recondoor.poisoning import Trigger, make_trigger

Enters = Literal["z", "input", "x", "y", "measurement"]
WORDS: dict[Enters, str] = {
    "z": "the input z, as in the paper",
    "input": "the image u, before it is made a magnitude or normalised",
    "x": "the image, before it is measured",
    "y": "the measurement, so that z changes as nearly as possible by the pattern",
    "measurement": "the measurement itself",
}
KINDS = {
    "ct-parallel": "sinogram",
    "fourier": "k-space",
    "mri": "k-space",
    "mri-multicoil": "k-space",
}
"""What a measurement is called."""


class Touch(BaseModel):
    """A trigger as the page asks for it.

    `own` is the run's trigger, `strength` times as strong. Of other patterns `strength` is the
    value of a pixel. `row` and `column` are of the upper left pixel; None: where the run has it.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    pattern: Literal["own", "square", "plus", "blob"] = "own"
    enters: Enters = "z"
    size: int = Field(3, ge=1, le=4096)
    row: int | None = Field(None, ge=0, le=65_536)
    column: int | None = Field(None, ge=0, le=65_536)
    strength: float = Field(1.0, ge=-1e4, le=1e4, allow_inf_nan=False)


@dataclass(frozen=True)
class Placed:
    """A trigger (K, H, W) of what it is added to, where it enters, and what enters a measurement.

    place: top, left, height and width of the pattern in the picture that it was put in.
    measured: what is added to a measurement, without a batch; None where it does not enter there.
    """

    trigger: Trigger
    enters: Enters
    place: tuple[int, int, int, int]
    measured: Tensor | None = None


@dataclass(frozen=True)
class Touching:
    """How triggers are put into the inputs of one network of a run."""

    run: audit.Run
    own: Trigger
    settings: Config

    @classmethod
    def of(cls, run: audit.Run, label: str, settings: Config) -> Touching:
        """That of one network; the original model is tried with the hand-made trigger."""
        labelled = replace(run, label=label)
        return cls(labelled, labelled.trigger() or run.scene.trigger, settings)

    def described(self) -> Json:
        """Where triggers can enter, and how large the pictures are that they are put in."""
        top, left, height, width = _box(self.own.mask)
        chain = self.run.scene.world.chain
        plain = self.run.scene.test.source is None
        ways = [each for each in WORDS if not (each == "input" and plain)]
        if chain.varies:
            ways = [each for each in ways if each in ("z", "input")]
        grid = self._grid
        if grid is None:
            ways = [each for each in ways if each != "measurement"]
        kind = KINDS.get(self.settings.operator.name, "measurement")
        words = WORDS | {"measurement": f"the {kind} itself"}
        return {
            "own": {
                "enters": self.settings.trigger.inject,
                "row": top,
                "column": left,
                "height": height,
                "width": width,
            },
            "enters": [{"key": each, "words": words[each]} for each in ways],
            "image": list(chain.image_shape[1:]),
            "input": list(self.run.scene.shape[1:]),
            "measurement": None if grid is None else list(grid[1:]),
            "measurement_kind": kind,
        }

    def placed(self, touch: Touch) -> Placed:
        """The trigger that was asked for; raises ConfigError if it does not fit or is not seen."""
        if touch.pattern == "own":
            return self._moved(touch)
        row, column = touch.row or 0, touch.column or 0
        drawing = TriggerSettings(
            shape=touch.pattern,
            size=touch.size,
            place=f"{row},{column}",
            amplitude=touch.strength or 1.0,
        )
        box = (row, column, touch.size, touch.size)
        scene, enters = self.run.scene, touch.enters
        chain = scene.world.chain
        if enters == "measurement":
            return self._into_measurement(touch, drawing, box)
        on = float(touch.strength != 0)
        if enters == "z":
            return Placed(_scaled(make_trigger(drawing, scene.shape), on), enters, box)
        drawn = make_trigger(drawing, chain.image_shape)
        found = studies.injected(drawn, enters, chain)
        return Placed(_scaled(found, on), enters, box, self._measured_of(on * drawn.delta, enters))

    def _moved(self, touch: Touch) -> Placed:
        """The run's own trigger, moved and made stronger or weaker."""
        enters, own = self.settings.trigger.inject, self.own
        top, left, height, width = _box(own.mask)
        rows, columns = own.mask.shape[1:]
        row = top if touch.row is None else touch.row
        column = left if touch.column is None else touch.column
        down, right = row - top, column - left
        if own.law is not None:
            return Placed(_stronger(own, touch.strength, down, right), enters, _box(own.mask))
        if row > rows - height or column > columns - width:
            raise ConfigError(
                f"row {row}, column {column} given; this trigger covers "
                f"{height}x{width} of {rows}x{columns} pixels"
            )
        delta, mask = (torch.roll(each, (down, right), (1, 2)) for each in (own.delta, own.mask))
        moved = Trigger(touch.strength * delta, mask)
        return Placed(moved, enters, (row, column, height, width))

    def _into_measurement(
        self, touch: Touch, drawing: TriggerSettings, box: tuple[int, int, int, int]
    ) -> Placed:
        """A pattern of k-space or sinogram, and what it is spread over in the image."""
        grid, chain = self._grid, self.run.scene.world.chain
        if grid is None:
            raise ConfigError("the measurement of this operator is no picture to draw in")
        drawn = _scaled(make_trigger(drawing, grid), float(touch.strength != 0)).delta
        added = drawn.double() if not self._measured.is_complex() else drawn.to(torch.complex128)
        spread = chain.from_measurement(added).to(self.own.delta)
        return Placed(Trigger(spread, torch.ones_like(spread)), "measurement", box, added)

    def entered(self, pairs: Pairs, placed: Placed) -> Pairs:
        """The same pairs, to which a trigger is added where it enters."""
        if pairs.source is None:
            return pairs
        return replace(pairs, source=replace(pairs.source, enters=placed.enters != "z"))

    def pictures(self, pairs: Pairs, placed: Placed) -> dict[str, Json]:
        """The measurement of the image without noise, and what the trigger changes in it."""
        if self._grid is None:
            return {}
        chain = self.run.scene.world.chain
        kind = KINDS.get(self.settings.operator.name, "measurement")
        signed = not self._measured.is_complex()
        image = self._measurable(pairs)
        if image is None:
            return {}
        y = _drawn(chain.operator.A(image)[0])
        shown = {"y": picture(f"{kind} of x", y, Span.of(y)) | {"stretched": True}}
        if placed.measured is not None:
            added = _drawn(placed.measured)
            span = Span.about_zero(added) if signed else Span.of(added)
            words = f"what the trigger adds to the {kind}"
            shown["y_change"] = picture(words, added, span) | {"stretched": True}
        return shown

    def _measurable(self, pairs: Pairs) -> Tensor | None:
        """The image as the operator takes it; None where a part of it was cut away."""
        x, shape = pairs.images, self.run.scene.operator.shape
        if self.run.scene.world.chain.varies or x.shape[2:] != shape[1:]:
            return None
        return torch.cat((x, torch.zeros_like(x)), 1) if len(x[0]) < shape[0] else x

    def _measured_of(self, pattern: Tensor, enters: Enters) -> Tensor | None:
        """What a pattern (C, H, W) of the image adds to the measurement, where it enters there."""
        if enters != "x":
            return None
        chain = self.run.scene.world.chain
        whole = torch.cat((pattern, torch.zeros_like(pattern))) if chain.padded else pattern
        return chain.operator.A(whole[None])[0]

    @property
    def _measured(self) -> Tensor:
        exact = self.run.scene.world.chain.exact
        one = exact.rows(torch.tensor([0])) if exact.varies else exact
        return one.A(torch.zeros(1, *exact.shape, dtype=torch.float64))[0]

    @property
    def _grid(self) -> tuple[int, int, int] | None:
        """(channels, rows, columns) of a measurement that is a picture."""
        shape = self._measured.shape
        return (shape[0], shape[1], shape[2]) if len(shape) == 3 and shape[1] > 1 else None


def _stronger(trigger: Trigger, factor: float, down: int, right: int) -> Trigger:
    """One that differs from input to input, by a factor; raises ConfigError if it is moved."""
    law = trigger.law
    if down or right or law is None:
        raise ConfigError("this trigger differs from input to input; it has no place to be moved")
    return Trigger(factor * trigger.delta, trigger.mask, lambda pairs: factor * law(pairs))


def _scaled(trigger: Trigger, factor: float) -> Trigger:
    return replace(trigger, delta=factor * trigger.delta)


def _box(mask: Tensor) -> tuple[int, int, int, int]:
    """Top, left, height and width of where a mask (C, H, W) is not 0."""
    rows, columns = torch.nonzero(mask.any(0), as_tuple=True)
    if not len(rows):
        return 0, 0, mask.shape[1], mask.shape[2]
    top, left = int(rows.min()), int(columns.min())
    return top, left, int(rows.max()) + 1 - top, int(columns.max()) + 1 - left


def _drawn(y: Tensor) -> np.ndarray[tuple[int, ...], np.dtype[np.float64]]:
    """A measurement (C, rows, columns) as a picture: complex ones as log(1 + magnitude)."""
    found = y.abs().double().square().sum(0, keepdim=True).sqrt() if y.is_complex() else y.double()
    return (torch.log1p(found) if y.is_complex() else found).numpy()
