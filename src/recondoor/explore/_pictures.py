"""Arrays as the page gets them: numbers, not images, so that it can show and compare them."""

from base64 import b64encode
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
Json = dict[str, Any]


@dataclass(frozen=True)
class Span:
    """Values that are drawn darkest and lightest; `signed`: of a map whose middle is 0."""

    low: float
    high: float
    signed: bool = False

    @classmethod
    def of(cls, *images: Array) -> "Span":
        """From the smallest to the largest value, which differ."""
        low = min(float(image.min()) for image in images)
        high = max(float(image.max()) for image in images)
        return cls(low, high if high > low else low + 1)

    @classmethod
    def of_most(cls, images: Array) -> "Span":
        """Of all but the darkest and the lightest 2 %, which may be a trigger's."""
        low, high = (float(value) for value in np.quantile(images, (0.02, 0.98)))
        return cls(low, high if high > low else low + 1)

    @classmethod
    def about_zero(cls, *images: Array) -> "Span":
        """Symmetric about 0, as far as the largest value."""
        most = max(float(np.abs(image).max(initial=0.0)) for image in images) or 1.0
        return cls(-most, most, True)


def picture(title: str, image: Array, span: Span) -> Json:
    """One image (C, H, W) with its title, as little-endian float32 in base64.

    Three channels are colours. Of two or more than three, which are real and imaginary parts or
    coils, the root of the sum of squares is shown; of a signed map the largest value of all.
    """
    values = np.ascontiguousarray(_shown(image, span), dtype="<f4")
    return {
        "title": title,
        "shape": list(values.shape),
        "data": b64encode(values.tobytes()).decode("ascii"),
        "low": span.low,
        "high": span.high,
        "signed": span.signed,
    }


def _shown(image: Array, span: Span) -> Array:
    channels = len(image)
    if channels == 1 or (channels == 3 and not span.signed):
        return image
    if span.signed:
        strongest = np.abs(image).argmax(axis=0)[None]
        return np.take_along_axis(image, strongest, axis=0)
    return np.asarray(np.sqrt(np.square(image).sum(axis=0, keepdims=True)))


def number(value: object) -> float | None:
    """A finite number, else None: JSON has no other."""
    if not isinstance(value, int | float | np.number):
        return None
    try:
        found = float(value)
    except OverflowError:  # of an integer with hundreds of digits
        return None
    return found if np.isfinite(found) else None


def scaled(value: object, scale: float) -> float | None:
    """A number in the unit that it is shown in."""
    found = number(value)
    return None if found is None else scale * found


def numbers(values: Iterable[object]) -> list[float | None]:
    """The same of each."""
    return [number(value) for value in values]
