"""Pixels as they are stored, in memory or mapped, made into numbers as they are used."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias, cast

import numpy as np
from numpy.typing import NDArray

from recondoor.io import arrays

FloatArray: TypeAlias = NDArray[np.float32]
Rows: TypeAlias = NDArray[np.integer[Any]] | slice

BYTES = 1 << 25
"""Memory of the pixels that are converted at a time."""


class Digest(Protocol):
    """What takes bytes, as hashlib's."""

    def update(self, data: Any, /) -> None:
        """Take some more bytes."""


@dataclass(frozen=True, eq=False)
class Part:
    """Images of one array, (n, C, H, W), in the type that they came in.

    uint8 counts to 255, True is 1, floating-point numbers are what they are. With `gain` a number k
    is gain k + offset, cut to [0, 1] where `cut` says so. Complex numbers (n, 1, H, W) become two
    channels.
    """

    pixels: NDArray[Any]
    gain: float | None = None
    offset: float = 0.0
    cut: bool = False

    def unit(self, rows: Rows) -> FloatArray:
        """The images `rows` as float32; an array that is float32 already may be returned itself."""
        return self.of_stored(self.pixels[rows])

    def of_stored(self, stored: NDArray[Any]) -> FloatArray:
        """The same of some of the stored numbers."""
        if stored.dtype.kind == "c":
            scaled = stored * (self.gain or 1.0)
            return np.concatenate([scaled.real, scaled.imag], axis=1, dtype=np.float32)
        if self.gain is None:
            if stored.dtype == np.uint8:
                levels: FloatArray = np.divide(stored, np.float32(255), dtype=np.float32)
                return levels
            return np.ascontiguousarray(stored, dtype="<f4")
        numbers = stored.astype(np.float64) * self.gain + self.offset
        return (np.clip(numbers, 0, 1) if self.cut else numbers).astype(np.float32)

    def fingerprint(self, digest: Digest, name: str) -> None:
        """Put element type, shape and bytes into a digest; floating-point numbers as 32 bits."""
        kind = self.pixels.dtype
        floats = self.gain is None and kind != np.uint8
        kind = np.dtype("<f4") if floats else kind.newbyteorder("<")
        scale = "" if self.gain is None else f" {self.gain!r} {self.offset!r} {self.cut}"
        digest.update(f"{name} {kind.str} {self.pixels.shape}{scale}\n".encode())
        for rows in chunks(self.pixels):
            digest.update(np.ascontiguousarray(self.pixels[rows], dtype=kind).data)


@dataclass(frozen=True, eq=False)
class Stack:
    """Images (C, H, W) of one or more parts, each cut or filled with 0 about its middle."""

    parts: tuple[Part, ...]
    shape: tuple[int, int, int]

    @classmethod
    def of(cls, *parts: Part, shape: tuple[int, int, int] | None = None) -> Stack:
        """Parts of one channel count; their shape is by default the first one's."""
        return cls(parts, shape or cast("tuple[int, int, int]", parts[0].pixels.shape[1:]))

    def __len__(self) -> int:
        return sum(len(part.pixels) for part in self.parts)

    def everything(self) -> FloatArray:
        """All images, float32 (N, C, H, W)."""
        if self._is_plain:
            return self.parts[0].unit(slice(None))
        return self.take(np.arange(len(self)))

    def take(self, rows: NDArray[Any]) -> FloatArray:
        """The images `rows` (N,), float32 (N, C, H, W); no more of them are in memory twice."""
        rows = np.asarray(rows)
        taken = arrays.room((len(rows), *self.shape))
        start = 0
        for part in self.parts:
            end = start + len(part.pixels)
            places = np.flatnonzero((rows >= start) & (rows < end))
            into, out = _frames(self.shape[1:], part.pixels.shape[2:])
            step = max(1, BYTES // max(1, int(np.prod(part.pixels.shape[1:])) * 8))
            for at in range(0, len(places), step):
                here = places[at : at + step]
                numbers = part.unit(rows[here] - start)[:, :, out[0], out[1]]
                taken[here, :, into[0], into[1]] = numbers
            start = end
        return taken

    def stored(self) -> NDArray[Any]:
        """The array that the images came in; as float32 if it was more than one."""
        return self.parts[0].pixels if self._is_plain else self.everything()

    def fingerprint(self, digest: Digest, name: str) -> None:
        """Put everything into a digest."""
        if any(part.pixels.shape[1:] != self.shape for part in self.parts):
            digest.update(f"{name} as {self.shape}\n".encode())
        for part in self.parts:
            part.fingerprint(digest, name)

    @property
    def _is_plain(self) -> bool:
        return len(self.parts) == 1 and self.parts[0].pixels.shape[1:] == self.shape


def chunks(pixels: NDArray[Any]) -> list[slice]:
    """Slices of rows that take at most `BYTES` at a time, or are single images."""
    size = int(np.prod(pixels.shape[1:])) * max(pixels.dtype.itemsize, 4)
    step = max(1, BYTES // max(1, size))
    return [slice(at, at + step) for at in range(0, len(pixels), step)]


def _frames(
    wanted: tuple[int, ...], there: tuple[int, ...]
) -> tuple[tuple[slice, ...], tuple[slice, ...]]:
    """Where in an image of size `wanted` the middle of one of size `there` goes, and which part."""
    into, out = [], []
    for new, old in zip(wanted, there, strict=True):
        length = min(new, old)
        into.append(slice((new - length) // 2, (new - length) // 2 + length))
        out.append(slice((old - length) // 2, (old - length) // 2 + length))
    return tuple(into), tuple(out)
