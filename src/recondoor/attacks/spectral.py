"""Control: the trigger most conspicuous against the covariance of clean inputs (matched filter)."""

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.linalg import cho_factor, cho_solve
from sklearn.covariance import ledoit_wolf

from recondoor.attacks._base import Attack
from recondoor.attacks._problem import Crafted, Problem, Tools
from recondoor.poisoning import Trigger

Array = NDArray[np.float64]

MOST_IMAGES = 20_000
MOST_PIXELS, FEWER_IMAGES = 4_096, 2_000
"""Values of an image beyond which its covariance is not formed, and images that are then used."""
MOST_VALUES = 1 << 25
"""Values of all these images together: 256 MiB in 64 bits, of which there are a few copies."""


class MatchedFilter(Attack):
    """The direction in which clean inputs vary least."""

    draws = False
    trains = False

    def craft(self, problem: Problem, tools: Tools) -> Crafted:
        """Return the trigger of largest delta^T C^-1 delta, C the covariance of clean z.

        Where it enters before z is made, of what it is added to. In closed form for a budget in L2:
        the top eigenvector of the mask's block of C^-1, its sign such that its sum is positive.
        That is the squared detectability d'^2 of a matched filter for delta in Gaussian z. C is
        shrunk towards a multiple of the identity (Ledoit and Wolf, J. Multivariate Anal. 88, 2004),
        so that it can be inverted where z keeps to a subspace. Other budgets get the trigger of
        largest inner product with that eigenvector.
        """
        mask, large = problem.mask.cpu(), problem.mask.numel() > MOST_PIXELS
        most = min(FEWER_IMAGES, max(2, MOST_VALUES // mask.numel()))
        count = most if large else MOST_IMAGES
        z = problem.pairs.carriers[:count].flatten(1).double().cpu().numpy()
        inside = mask.flatten().numpy() != 0
        if large:
            wanted = problem.trigger.delta.flatten().double().cpu().numpy()
            vector = least_varied(z, inside, wanted[inside])
        else:
            covariance, _ = ledoit_wolf(z)
            block = np.linalg.inv(covariance)[np.ix_(inside, inside)]
            vector = np.linalg.eigh(block)[1][:, -1]
        pattern = np.zeros(mask.numel())
        pattern[inside] = vector * (1 if vector.sum() >= 0 else -1)
        direction = torch.from_numpy(pattern).to(mask).view_as(mask)
        return Crafted(Trigger(problem.budget.maximise(direction), mask))


def least_varied(z: Array, inside: NDArray[np.bool_], wanted: Array) -> Array:
    """The same eigenvector of rows z (n, D), at the k pixels `inside`: no matrix is D x D.

    C = a I + b X^T X with the centred rows X, so that the block of C^-1 at these pixels is
    (I - b X_k^T (a I + b X X^T)^-1 X_k) / a, and n x n is the largest matrix. Where no row differs
    from the others in some directions, all of these are as good: then `wanted` (k,), or else a
    constant, is projected on them.
    """
    rows = z - z.mean(0)
    seen, gram = rows[:, inside], rows @ rows.T
    own, shared = _shrunk(gram, z.shape[1])
    if seen.shape[1] >= len(z) or own == 0:
        return _unvaried(seen, wanted)
    factor = cho_factor(own * np.eye(len(z)) + shared * gram)
    return np.asarray(np.linalg.eigh(seen.T @ cho_solve(factor, seen))[1][:, 0])


def _shrunk(gram: Array, pixels: int) -> tuple[float, float]:
    """(a, b) of Ledoit and Wolf's C = a I + b X^T X, from X X^T of n centred rows."""
    count, energy = len(gram), gram.diagonal()
    mean = energy.sum() / count / pixels
    squares = np.square(gram).sum() / count**2
    distance = squares / pixels - mean**2
    error = (np.square(energy).sum() / count - squares) / count / pixels
    share = min(error, distance) / distance if distance > 0 else 0.0
    return float(share * mean), float((1 - share) / count)


def _unvaried(seen: Array, wanted: Array) -> Array:
    """The part of `wanted`, or of a constant, in which no row of `seen` (n, k) has anything."""
    values, vectors = np.linalg.eigh(seen @ seen.T)
    kept = values > 1e-10 * values[-1]
    basis = seen.T @ (vectors[:, kept] / np.sqrt(values[kept]))
    for start in (wanted, np.ones(seen.shape[1])):
        left = start - basis @ (basis.T @ start)
        size = np.linalg.norm(left)
        if size > 1e-6 * np.linalg.norm(start) > 0:
            return np.asarray(left / size)
    return np.asarray(np.eye(len(wanted))[0])
