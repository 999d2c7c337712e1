"""Pairs and their matrix: values, flags and verdict are those that NumPy alone finds."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from scipy.stats import binom, chi2

from fuzzing import forms
from fuzzing.case import Case, by_command
from fuzzing.forge import npy_bytes
from fuzzing.forms import Array
from fuzzing.mutate import Random, pick
from fuzzing.trap_images import numbers, same, stored

ALARM, LEVEL = 0.01, 1e-3
DETECTORS = ("range-test", "measurement-residual")
SHAPES = ((1, 4, 5), (1, 5, 3), (3, 3, 4), (1, 1, 9), (1, 9, 1), (2, 3, 3))
FAULTS = ("nan", "inf", "empty", "other-size", "complex", "text", "columns", "no-x")


@dataclass(frozen=True)
class Made:
    """Pairs as float64: matrix (m, n), images x and inputs z (N, C, H, W), y (N, m), the noise.

    `poisoned`: pairs to whose z something was added that no measurement gives.
    """

    matrix: Array
    x: Array
    z: Array
    y: Array
    sigma: float
    poisoned: Array

    @property
    def real(self) -> Array:
        """The matrix as a map of real numbers."""
        parts = (self.matrix.real, self.matrix.imag) if np.iscomplexobj(self.matrix) else ()
        return np.concatenate(parts) if parts else self.matrix


def make(random: Random, matrix: Array, x: Array, poisoned: int, noise: float = 0.05) -> Made:
    """Measure images x; add to the z of some pairs what lies outside of the matrix's range."""
    flat = x.reshape(len(x), -1)
    y = flat @ matrix.T
    sigma = noise * float(np.sqrt(np.mean(np.abs(y) ** 2))) or noise * float(np.abs(matrix).max())
    v = random.normal(size=y.shape)
    y = y + sigma * (v + 1j * random.normal(size=y.shape) if np.iscomplexobj(matrix) else v)
    z = (y @ matrix.conj()).real
    chosen = np.zeros(len(x), bool)
    chosen[random.permutation(len(x))[:poisoned]] = True
    added = random.normal(size=z.shape[1])
    z[chosen] += added * (np.linalg.norm(z, axis=1).mean() / np.linalg.norm(added))
    return Made(matrix, x, z.reshape(x.shape), y, sigma, chosen)


def a_matrix(random: Random, size: int) -> Array:
    """A matrix of fewer rows than columns, of any type that may be given."""
    rows = max(1, round(0.6 * size))
    kind = str(pick(random, (*forms.FLOATS, "<f8", "<i2", "|i1", *forms.COMPLEX)))
    if np.dtype(kind).kind == "i":
        return random.integers(-3, 4, (rows, size)).astype(kind)
    values = random.normal(size=(rows, size))
    if np.dtype(kind).kind == "c":
        rows = max(1, round(0.3 * size))
        values = values[:rows] + 1j * random.normal(size=(rows, size))
    return values.astype(kind)


def draw(random: Random) -> Case:
    """A file of pairs in some form, and the .npy of its matrix."""
    shape, count = pick(random, SHAPES), int(pick(random, (1, 2, 21, 40)))
    stored_as = a_matrix(random, int(np.prod(shape)))
    matrix = stored_as.astype(complex if stored_as.dtype.kind == "c" else float)
    if np.linalg.matrix_rank(matrix) != len(matrix):
        matrix = stored_as = random.normal(size=matrix.shape)
    kinds = (*forms.FLOATS, *forms.HALVES, "|u1", "|b1", str(pick(random, forms.INTEGERS)))
    kind = str(pick(random, kinds))
    scale = 1.0 if kind not in forms.FLOATS else float(pick(random, forms.SCALES))
    plain = numbers(random, (count, *shape))
    kept, x = stored(plain * scale, kind)
    many = count // 5 if random.random() < 0.5 else 0
    made = make(random, matrix, x, many)
    held: dict[str, Array] = {"x": kept}
    if random.random() < 0.25 and not many:
        precise = np.iscomplexobj(made.y) or random.random() < 0.5
        held["y"] = made.y if precise else made.y.astype(str(pick(random, forms.FLOATS)))
        z = (held["y"].astype(made.y.dtype) @ matrix.conj()).real.reshape(x.shape)
    else:
        held["z"] = made.z.astype(str(pick(random, forms.FLOATS)))
        z = held["z"].astype(float)
    fault = str(pick(random, FAULTS)) if random.random() < 0.25 else ""
    held, bad = _with_fault(held, fault, random)
    if fault == "columns":
        stored_as, bad = stored_as[:, :-1], True
    held = {n: forms.laid_out(v, random) if v.size and v.ndim > 1 else v for n, v in held.items()}
    if shape[0] == 1 and random.random() < 0.5 and not bad:
        held = {name: v[:, 0] if name != "y" else v for name, v in held.items()}
    suffix, content = forms.archive(held, random)
    files = {
        f"pairs{suffix}": content,
        "A.npy": npy_bytes(forms.laid_out(stored_as, random)),
    }
    kept_z = z.astype(np.float32).astype(float)
    kept_x = x.astype(np.float32).astype(float)
    judge = Judge(made, kept_z.reshape(x.shape), kept_x)
    return Case(files, judge.reader(f"pairs{suffix}", bad), True if bad else judge.refused)


def _with_fault(
    held: dict[str, Array], fault: str, random: Random
) -> tuple[dict[str, Array], bool]:
    name = str(pick(random, sorted(held)))
    values = held[name].copy()
    if fault in ("nan", "inf") and values.dtype.kind in "fc":
        values.flat[int(random.integers(values.size))] = float(fault)
    elif fault == "empty":
        values = values[:0]
    elif fault == "other-size":
        values = np.concatenate((values, values))
    elif fault == "complex":
        name, values = "x", held["x"].astype(complex)
    elif fault == "text":
        values = values.astype("S")
    elif fault == "no-x":
        return {other: each for other, each in held.items() if other != "x"}, True
    else:
        return held, False
    return held | {name: values}, True


class Judge:
    """What an audit of pairs with a known matrix and noise has to find."""

    def __init__(self, made: Made, z: Array, x: Array) -> None:
        _, singular, rows = np.linalg.svd(made.real, full_matrices=False)
        flat = z.reshape(len(z), -1)
        inside = flat @ rows.T
        outside = flat - inside @ rows
        self.made, self.z, self.x = made, z, x
        self.share = (outside**2).sum(1) / np.maximum((flat**2).sum(1), 1e-300)
        gap = inside / singular - x.reshape(len(x), -1) @ rows.T * singular
        rank = len(singular)
        self.residual = (gap**2).sum(1) / made.sigma**2 / rank
        self.limit = float(chi2.isf(ALARM, rank)) / rank
        # What rounding z to 32 bits may add, beside the noise.
        rounded = 2.0**-21 * np.sqrt((flat**2).mean(1)).max() / singular.min()
        self.exact = bool(rounded * np.sqrt(flat.shape[1]) < 1e-2 * made.sigma)

    @property
    def beyond(self) -> Array:
        """Pairs whose image does not explain their measurement, by the law of the noise."""
        return self.residual > self.limit

    @property
    def close(self) -> Array:
        """Pairs too close to that threshold for 32 bits."""
        near: Array = np.abs(self.residual / self.limit - 1) < 0.02
        return near if self.exact else np.ones_like(near)

    @property
    def refused(self) -> bool | None:
        """Whether so many pairs break the law that the operator is refused; None: it is close."""
        left = ~self.made.poisoned
        least = (self.beyond & ~self.close)[left].sum()
        most = (self.beyond | self.close)[left].sum()
        if 2 * most <= left.sum():
            return False
        return True if 2 * least > left.sum() else None

    def reader(self, name: str, bad: bool) -> Any:
        """What reads the pairs of this name; by the command line where they have to be refused."""

        def read(folder: Path) -> None:
            if bad:
                by_command(
                    "audit", "data", str(folder / name), "--operator", str(folder / "A.npy"),
                    "--set", f"operator.sigma={self.made.sigma!r}", "--out", str(folder / "out"),
                )  # fmt: skip
            self.compare(audited(folder / name, folder / "A.npy", self.made.sigma))

        return read

    def compare(self, audit: Any) -> None:
        """Fail where values, scores, flags or the verdict are others."""
        same(audit.given.pairs.x.numpy(), self.x, "x")
        found = audit.given.pairs.z.numpy()
        near = np.abs(found - self.z).max() <= 2.0**-20 * np.abs(self.z).max()
        assert near, f"z: {found.flat[:3]} instead of {self.z.flat[:3]}"
        judged = {each.name: each for each in audit.judged}
        assert judged.keys() == set(DETECTORS), f"only {sorted(judged)}: {audit.skipped}"
        scores, poisoned = judged["range-test"].scores, self.made.poisoned
        expected = np.where(poisoned, self.share, 0.0)
        assert np.allclose(scores, expected, rtol=1e-3, atol=0), f"range {scores} {expected}"
        residual = judged["measurement-residual"]
        if self.exact:
            assert np.allclose(residual.scores, self.residual, rtol=0.02), "residual"
            assert np.isclose(residual.threshold, self.limit, rtol=1e-9), "threshold"
        wrong = (residual.flagged != self.beyond) & ~self.close
        assert not wrong.any(), f"flagged {residual.flagged}, expected {self.beyond}"
        self._compare_verdict(audit.verdict)

    def _compare_verdict(self, verdict: str) -> None:
        counts = {int((self.beyond & ~self.close).sum()), int((self.beyond | self.close).sum())}
        rare = {bool(binom.sf(n - 1, len(self.z), ALARM) < LEVEL / 2) for n in counts}
        if self.made.poisoned.any() or rare == {True}:
            assert verdict == "suspicious", verdict
        elif rare == {False}:
            assert verdict != "suspicious", verdict


def audited(pairs: Path, matrix: Path, sigma: float) -> Any:
    """The audit of pairs by the tests of physics."""
    from recondoor import config
    from recondoor.audit import Measured, Request, audit_data

    operator = {"name": "matrix", "file": str(matrix), "sigma": sigma}
    settings = config.from_dict({"operator": operator})
    return audit_data(Request(pairs, Measured.by(settings), alarm=ALARM, detectors=DETECTORS))
