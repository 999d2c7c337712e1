"""Can the trigger be told from clean inputs at all: its energy outside range(A^T), and inside."""

import math
from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.linalg import solve_triangular
from sklearn.calibration import CalibratedClassifierCV
from sklearn.covariance import ledoit_wolf
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.model_selection import KFold
from torch import Tensor

from recondoor.operators import LinearOperator
from recondoor.theory._limits import Limits, posterior_limits

Array = NDArray[np.float64]

# The projection on the range is that exact, and z is stored in 32 bits.
OUTSIDE = 1e-4
# Share of A's usual gain below which nothing is measured.
UNMEASURED = 1e-7
# Distance of two normal laws, in standard deviations, beyond which 64 bits see no overlap.
CERTAIN = 40.0
MOST_IMAGES = 2_000
MOST_PIXELS = 4_096
CHUNK = 256
"""Images that are held in 64 bits at a time."""
FOLDS = 5
COMPONENTS = 8
# Finite where a class is never seen in a leaf.
SURE = 1e-6


def range_share(operator: LinearOperator, delta: Tensor) -> float:
    """Share of the energy of `delta` (C, H, W) that lies outside range(A_adjoint), 0 to 1.

    Clean z = A_adjoint y lies in it whatever x and the noise are, so that any share above 0 makes
    triggered inputs, in principle, known for certain. `operator` is one of float64.
    """
    return _share(delta, _outside(operator, delta))


def _outside(operator: LinearOperator, delta: Tensor) -> Tensor:
    """What of `delta` is outside range(A_adjoint), (1, C, H, W) in float64."""
    whole = delta.double().cpu()[None]
    return whole - operator.project_range(whole)


def _share(delta: Tensor, outside: Tensor) -> float:
    return min(1.0, float(outside.square().sum() / delta.double().square().sum()))


def _is_unmeasured(operator: LinearOperator, outside: Tensor) -> bool:
    """Whether A gives nothing of it, and not merely so little that a projection takes too long."""
    usual = operator.A_adjoint(operator.A(torch.ones_like(outside)))
    gain = float(operator.A(usual).norm()) / max(float(usual.norm()), 1e-300)
    return float(operator.A(outside).norm()) <= UNMEASURED * gain * float(outside.norm())


class Covariance:
    """Shrunk covariance of clean z (Ledoit and Wolf, J. Multivariate Anal. 88, 2004), factored.

    Made once for all triggers of a set of clean inputs (N, C, H, W), from the first few thousand.
    """

    def __init__(self, z: Tensor) -> None:
        self._z = z[:MOST_IMAGES].flatten(1)
        # A larger matrix would not fit into memory, nor do so large images in 64 bits:
        # see `detectability`.
        small = self._z.shape[1] <= MOST_PIXELS
        self._factor = _factor(self._z.double().cpu().numpy()) if small else None

    def detectability(self, delta: Tensor) -> float:
        """D' = sqrt(delta^T C^-1 delta): distance of the classes in standard deviations.

        In images of more than `MOST_PIXELS` values that of a detector which sees only those where
        `delta` is largest: a lower bound.
        """
        shift = delta.double().cpu().numpy().reshape(1, -1)
        if self._factor is not None:
            return float(np.linalg.norm(whiten(self._factor, shift)))
        seen = np.argsort(-abs(shift[0]), kind="stable")[:MOST_PIXELS]
        columns = self._z.index_select(1, torch.from_numpy(seen.copy()).to(self._z.device))
        factor = _factor(columns.double().cpu().numpy())
        return float(np.linalg.norm(whiten(factor, shift[:, seen])))

    def separation(self, direction: Tensor) -> float:
        """Norm of `direction` (C, H, W) in standard deviations of clean z along it."""
        shift = direction.double().cpu().numpy().reshape(-1)
        size = float(np.linalg.norm(shift))
        parts = (part.double().cpu().numpy() for part in torch.split(self._z, CHUNK))
        spread = float(np.concatenate([part @ (shift / size) for part in parts]).std())
        return size / spread if spread > 0 else math.inf


def _factor(flat: Array) -> Array:
    """Cholesky factor (n, n) of the shrunk covariance of rows."""
    factor: Array = np.linalg.cholesky(ledoit_wolf(flat)[0])
    return factor


def whiten(factor: Array, v: Array) -> Array:
    """Rows of v (n, pixels) in coordinates in which rows of that covariance are white."""
    white: Array = solve_triangular(factor, v.T, lower=True, check_finite=False).T
    return white


def detectability(
    covariance: Callable[[], Covariance], operator: LinearOperator | None, delta: Tensor
) -> tuple[float, float]:
    """Return d' of a linear detector, infinite if `delta` leaves range(A_adjoint), and the share.

    The share is that of `range_share`; `covariance` is called only where it is needed. An operator
    that measures some directions very weakly lets clean z vary there a little: then d' is infinite
    only if `delta` exceeds that by far. Without an operator nothing is known of a range.
    """
    if operator is None:
        return covariance().detectability(delta), 0.0
    outside = _outside(operator, delta)
    share = _share(delta, outside)
    if share <= OUTSIDE:
        return covariance().detectability(delta), share
    if _is_unmeasured(operator, outside):
        return math.inf, share
    apart = covariance().separation(outside[0])
    return (math.inf if apart > CERTAIN else max(apart, covariance().detectability(delta))), share


def cross_fitted_limits(z: Tensor, delta: Tensor, ratio: float, seed: int) -> Limits:
    """Limits from a classifier of z + delta against z, fitted and judged on different images.

    Gradient-boosted trees with isotonic calibration on the matched filter's score and the leading
    whitened components of z, in five folds; the posterior is moved from the balanced classes of
    the fit to `ratio`. A classifier that misses structure only raises these limits.
    """
    flat = z[:MOST_IMAGES].flatten(1).double().cpu().numpy()
    shift = delta.double().cpu().numpy().reshape(1, -1)
    clean, triggered = np.zeros(len(flat)), np.zeros(len(flat))
    for fit, held in KFold(FOLDS, shuffle=True, random_state=seed).split(flat):
        features = _Features(flat[fit], shift)
        inputs = np.concatenate([features(flat[fit]), features(flat[fit] + shift)])
        label = np.repeat([0, 1], len(fit))
        trees = HistGradientBoostingClassifier(max_iter=60, random_state=seed)
        model = CalibratedClassifierCV(trees, method="isotonic", cv=3).fit(inputs, label)
        for posterior, images in ((clean, flat[held]), (triggered, flat[held] + shift)):
            balanced = model.predict_proba(features(images))[:, 1].clip(SURE, 1 - SURE)
            odds = balanced / (1 - balanced) * ratio / (1 - ratio)
            posterior[held] = odds / (1 + odds)
    return posterior_limits(clean, triggered)


class _Features:
    """Matched filter of `shift` and the leading principal components, from clean images alone."""

    def __init__(self, clean: Array, shift: Array) -> None:
        self._factor = _factor(clean)
        self._mean = clean.mean(0)
        values, vectors = np.linalg.eigh(np.cov(clean.T))
        leading = vectors[:, -COMPONENTS:] / np.sqrt(values[-COMPONENTS:].clip(1e-12))
        self._leading = leading
        self._filter = whiten(self._factor, shift)[0]

    def __call__(self, z: Array) -> Array:
        centred = z - self._mean
        score = whiten(self._factor, centred) @ self._filter
        return np.column_stack([score, centred @ self._leading])
