"""One set of pairs in two forms: verdict and flags of an audit may not depend on the form.

Units of x, z and the matrix, types of equal precision, byte order, order in memory, kind of file,
and the order of the pairs, with which the flags go.
"""

from pathlib import Path
from typing import Any

import numpy as np

from fuzzing import forms
from fuzzing.case import Case
from fuzzing.forge import npy_bytes
from fuzzing.forms import Array
from fuzzing.mutate import Random, pick
from fuzzing.trap_pairs import Made, make

DETECTORS = ("range-test", "measurement-residual", "pixel-range")
CLOSE = 1e-3
"""Relative distance from a threshold at which rounding may decide."""


def draw(random: Random) -> Case:
    """Pairs and trusted ones, of which the second form is in other units and another order."""
    shape, count, trusted = (1, *pick(random, ((4, 5), (5, 3), (1, 20)))), 30, 120
    levels = random.random() < 0.5
    x = random.random((count + trusted, *shape))
    x = np.rint(255 * x).astype(np.uint8) / np.float32(255) if levels else x
    x = x.astype(np.float32).astype(float)
    size = int(np.prod(shape))
    whole = make(random, random.normal(size=(round(0.6 * size), size)), x, 0)
    pairs, clean = part(whole, slice(0, count)), part(whole, slice(count, None))
    if random.random() < 0.6:
        chosen = random.permutation(count)[:6]
        pairs.z[chosen, ..., -1] += 3 * np.sqrt((pairs.z**2).mean())
        pairs.x[chosen, ..., 0] += 1.5
    of_x, of_a = (float(10.0 ** pick(random, (-5, -2, 0, 2, 5))) for _ in range(2))
    of_a = min(max(of_a, 1e-2), 1e2)
    order = random.permutation(count)
    changed = scaled(part(pairs, order), of_x, of_a)
    first = _files("one", pairs, clean, "<f4", random, ".npz")
    kind, suffix = (
        str(pick(random, ("<f4", ">f4", "<f8", ">f8"))),
        str(pick(random, (".npz", ".NPZ", ".h5"))),
    )
    second = _files("two", changed, scaled(clean, of_x, of_a), kind, random, suffix)

    def read(folder: Path) -> None:
        one = _audit(folder, "one", pairs, ".npz")
        two = _audit(folder, "two", changed, suffix)
        assert one.verdict == two.verdict, f"{one.verdict}, then {two.verdict}"
        assert one.skipped.keys() == two.skipped.keys(), f"{one.skipped} {two.skipped}"
        for a, b in zip(one.judged, two.judged, strict=True):
            limit = abs(a.threshold or 1.0)
            near = np.abs(a.scores - (a.threshold or 0)) < CLOSE * limit
            wrong = (a.flagged[order] != b.flagged) & ~near[order]
            assert not wrong.any(), f"{a.name}: {a.scores[order][wrong]} {b.scores[wrong]}"

    return Case(first | second, read, False)


def part(made: Made, which: Any) -> Made:
    """Some of the pairs."""
    x, z, y = made.x[which].copy(), made.z[which].copy(), made.y[which]
    return Made(made.matrix, x, z, y, made.sigma, made.poisoned[which])


def scaled(made: Made, of_x: float, of_a: float) -> Made:
    """The same pairs where x counts in other units, and the matrix too."""
    x, z = of_x * made.x, of_a**2 * of_x * made.z
    return Made(of_a * made.matrix, x, z, made.y, of_a * of_x * made.sigma, made.poisoned)


def _files(
    name: str, pairs: Made, clean: Made, kind: str, random: Random, suffix: str
) -> dict[str, bytes]:
    files = {f"{name}-A.npy": npy_bytes(pairs.matrix)}
    for what, made in ((name, pairs), (f"{name}-clean", clean)):
        held: dict[str, Array] = {
            key: forms.laid_out(values.astype(np.float32).astype(kind), random)
            for key, values in (("x", made.x), ("z", made.z))
        }
        files[what + suffix] = forms.h5(held, random) if suffix == ".h5" else forms.npz(held)
    return files


def _audit(folder: Path, name: str, made: Made, suffix: str) -> Any:
    from recondoor import config
    from recondoor.audit import Measured, Request, audit_data

    operator = {"name": "matrix", "file": str(folder / f"{name}-A.npy"), "sigma": made.sigma}
    settings, clean = config.from_dict({"operator": operator}), folder / f"{name}-clean{suffix}"
    measured = Measured.by(settings)
    return audit_data(Request(folder / f"{name}{suffix}", measured, clean, detectors=DETECTORS))
