"""The settings of the images of a study."""

from math import isfinite
from pathlib import Path
from typing import Literal

from pydantic import Field, field_validator

from recondoor.config._section import PAIRS, PIXELS, Section


class Data(Section):
    """Clean images and how they are split."""

    name: str = Field(
        "mnist5k",
        description="registered data set, or the path of a file or folder of images or volumes "
        "(docs/data.md)",
    )
    dir: Path | None = Field(None, description="folder with the files of a registered data set")
    validation: float = Field(
        0.1, gt=0, lt=1, description="share of the training images held out for validation"
    )
    test: float = Field(
        0.1, gt=0, lt=1, description="share held out for the test, where the set has no test split"
    )
    limit: int | None = Field(
        None, ge=10, le=PAIRS, description="use a random subset of this many images"
    )
    window: str | None = Field(
        None,
        description="volumes: 'LOW,HIGH', the values that become 0 and 1, as -1000,1000 HU of CT; "
        "default: each volume's 0 and its maximum, and -1000,1000 where a file says that it is CT",
    )
    foreground: float | None = Field(
        None,
        ge=0,
        le=1,
        description="keep images of which at least this share of pixels is above 0.1; default: all",
    )
    size: int | None = Field(
        None,
        ge=2,
        le=PIXELS,
        description="pixels along a side: images are filled with 0 to a square, and each new pixel "
        "is the mean of what it covers; default: as they are",
    )
    phase: Literal["none", "smooth"] = Field(
        "none",
        description="'smooth' gives real images a synthetic phase of their own, which makes them "
        "complex: two channels, real and imaginary part",
    )

    @field_validator("window", mode="before")
    @classmethod
    def _two_numbers(cls, window: object) -> str | None:
        """The one spelling of a window; a number is taken for a text, and refused as such."""
        return None if window in (None, "none") else "{:g},{:g}".format(*_limits(window))

    @property
    def limits(self) -> tuple[float, float] | None:
        """The values of volumes that become 0 and 1, where they are given."""
        return None if self.window is None else _limits(self.window)


def _limits(window: object) -> tuple[float, float]:
    try:
        low, high = (float(part) for part in str(window).split(","))
    except ValueError:
        low = high = 0.0
    if not (low < high and isfinite(low) and isfinite(high)):
        raise ValueError("expected 'LOW,HIGH', two numbers of which the first is smaller")
    return low, high
