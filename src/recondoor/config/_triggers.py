"""Settings of the attacks of the literature, each under its attack's name."""

from typing import Literal, Self

from pydantic import Field, model_validator

from recondoor.config._own import PlugInSettings
from recondoor.config._section import INNER, PIXELS, STEPS
from recondoor.core.errors import ConfigError


class Blend(PlugInSettings):
    """Of the attack `blend`."""

    key: Literal["noise", "image"] = Field(
        "noise",
        description="what is blended in: uniform noise, or a training image, both drawn by the "
        "seed",
    )


class Frequency(PlugInSettings):
    """Of the attack `frequency`: which coefficients of the cosine transform."""

    count: int = Field(4, ge=1, le=INNER, description="coefficients, drawn by the seed")
    low: float = Field(
        0.2, ge=0, lt=1, description="least frequency, as a share of the highest of an axis"
    )
    high: float = Field(0.5, gt=0, le=1, description="and the greatest")

    @model_validator(mode="after")
    def _a_band(self) -> Self:
        if self.high <= self.low:
            raise ConfigError(
                f"attack.frequency.high: {self.high:g} given; expected more than "
                f"attack.frequency.low, which is {self.low:g}"
            )
        return self


class Measurement(PlugInSettings):
    """Of the attack `measurement`."""

    steps: int = Field(
        10, ge=1, le=INNER, description="power iterations; each costs two gradients a surrogate"
    )
    fidelity: float | None = Field(
        None,
        gt=0,
        description="largest L2 of what is added to the measurement, as a share of the mean L2 of "
        "clean ones; default: what attack.l2 allows",
    )


class SampleSpecific(PlugInSettings):
    """Of the attack `sample-specific`: an encoder that hides a text in an input."""

    width: int = Field(16, ge=1, le=4096, description="channels of its convolutions")
    bits: int = Field(8, ge=1, le=1024, description="length of the text")
    steps: int = Field(
        200, ge=0, le=STEPS, description="steps of Adam, with a decoder that reads random texts"
    )


class Warp(PlugInSettings):
    """Of the attack `warp`."""

    grid: int = Field(
        4, ge=2, le=PIXELS, description="control points of the displacements along a side"
    )


class Uap(PlugInSettings):
    """Of the attack `uap`."""

    aim: Literal["change", "artefact"] = Field(
        "change",
        description="what the answer of a clean surrogate is to be moved by: as much as possible, "
        "or by the artefact",
    )
    steps: int = Field(20, ge=1, le=INNER, description="steps; each costs one gradient")
