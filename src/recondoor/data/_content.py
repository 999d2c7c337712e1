"""Which images of one set are in another, found by their content, however they were stored.

Copies are found that were saved in 64, 32 or 16 bits, or in 8 bits of [0, 1]. Images of one value,
such as slices of air, are alike by nature and copies of nothing.
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float32]
Flags = NDArray[np.bool_]
Key = Callable[[FloatArray], NDArray[np.float32]]

CLOSE = 0.02
"""Distance of a copy from its original, as a share of the original's own spread."""

BYTES = 1 << 24
"""Memory of the images that are looked at at a time."""


def shared(mine: FloatArray, others: FloatArray, *, as_stored: bool = False) -> Flags:
    """Which images of `mine` (N, C, H, W) are also in `others` (M, C, H, W), (N,).

    `as_stored`: only copies that agree in every bit. Copies are found by keys, so that time grows
    with N + M, and then compared pixel by pixel.
    """
    found = np.zeros(len(mine), dtype=np.bool_)
    if mine.shape[1:] != others.shape[1:] or not (len(mine) and len(others)):
        return found
    rows, theirs = mine.reshape(len(mine), -1), others.reshape(len(others), -1)
    for form in (_as_it_is,) if as_stored else _forms(rows, theirs):
        known = _keys(theirs, form)
        order = np.argsort(known, kind="stable")
        own = _keys(rows, form)
        at = np.searchsorted(known, own, sorter=order).clip(max=len(known) - 1)
        partner = order[at]
        candidates = np.flatnonzero(~found & (known[partner] == own))
        found[candidates] = _alike(rows, theirs, candidates, partner[candidates])
    return found


def first_of_each(images: FloatArray) -> Flags:
    """Which images (N, C, H, W) are no bit-by-bit copies of an earlier one, (N,)."""
    rows = images.reshape(len(images), -1)
    _, first, back = np.unique(_keys(rows, _as_it_is), return_index=True, return_inverse=True)
    earlier = first[back.reshape(-1)]
    later = np.flatnonzero(earlier != np.arange(len(rows)))
    kept = np.ones(len(rows), dtype=np.bool_)
    kept[later] = ~_alike(rows, rows, later, earlier[later])
    return kept


def _forms(*sets: FloatArray) -> tuple[Key, ...]:
    """Images as they would be had they been stored more coarsely."""
    largest = max(map(_largest, sets))
    # A power of two changes no digit, and keeps large values within the 16 bits.
    scale = np.float32(2.0 ** -max(0, int(np.ceil(np.log2(max(largest, 1.0)))) - 15))

    def half(rows: FloatArray) -> FloatArray:
        return (rows * scale).astype(np.float16).astype(np.float32)

    def eight_bits(rows: FloatArray) -> FloatArray:
        levels: FloatArray = np.rint(rows * np.float32(255))
        return levels

    return (_as_it_is, half, eight_bits)


def _as_it_is(rows: FloatArray) -> FloatArray:
    return rows


def _largest(rows: FloatArray) -> float:
    return max(float(np.abs(part).max()) for _, part in _parts(rows))


def _parts(rows: FloatArray) -> list[tuple[slice, FloatArray]]:
    step = max(1, BYTES // max(1, rows[:1].nbytes))
    return [(slice(at, at + step), rows[at : at + step]) for at in range(0, len(rows), step)]


def _keys(rows: FloatArray, form: Key) -> NDArray[np.uint64]:
    """A number for the content of every row: sums of its bits times fixed random odd numbers."""
    weights = np.random.default_rng(0).integers(0, 2**63, rows.shape[1], dtype=np.uint64)
    weights = weights << np.uint64(1) | np.uint64(1)
    keys = np.empty(len(rows), dtype=np.uint64)
    with np.errstate(over="ignore"):
        for where, part in _parts(rows):
            bits = (form(part) + np.float32(0)).astype(np.float32).view(np.uint32)  # -0.0 is 0.0
            keys[where] = bits.astype(np.uint64) @ weights
    return keys


def _alike(
    mine: FloatArray, others: FloatArray, own: NDArray[np.intp], partner: NDArray[np.intp]
) -> Flags:
    """Whether rows `own` and their `partner` are one image, and not one of a single value."""
    alike = np.zeros(len(own), dtype=np.bool_)
    step = max(1, BYTES // max(1, mine[:1].nbytes))
    for at in range(0, len(own), step):
        a = mine[own[at : at + step]].astype(np.float64)
        b = others[partner[at : at + step]].astype(np.float64)
        spread = np.linalg.norm(b - b.mean(1, keepdims=True), axis=1)
        # Rounding alone gives the numbers of one value a spread.
        level = 1e-6 * np.abs(b).max(1) * np.sqrt(b.shape[1])
        alike[at : at + step] = (spread > level) & (np.linalg.norm(a - b, axis=1) < CLOSE * spread)
    return alike
