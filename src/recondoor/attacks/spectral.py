"""Control: the trigger most conspicuous against the covariance of clean inputs (matched filter)."""

import numpy as np
import torch
from sklearn.covariance import ledoit_wolf

from recondoor.attacks._base import Attack
from recondoor.attacks._problem import Crafted, Problem, Tools
from recondoor.poisoning import Trigger

MOST_IMAGES = 20_000


class MatchedFilter(Attack):
    """The direction in which clean inputs vary least."""

    draws = False
    trains = False

    def craft(self, problem: Problem, tools: Tools) -> Crafted:
        """Return the trigger of largest delta^T C^-1 delta, C the covariance of clean z.

        In closed form for a budget in L2: the top eigenvector of the mask's block of C^-1, its
        sign such that its sum is positive. That is the squared detectability d'^2 of a matched
        filter for delta in Gaussian z. C is shrunk towards a multiple of the identity (Ledoit and
        Wolf, J. Multivariate Anal. 88, 2004), so that it can be inverted where z keeps to a
        subspace. Other budgets get the trigger of largest inner product with that eigenvector.
        """
        mask = problem.mask.cpu()
        z = problem.pairs.z[:MOST_IMAGES].flatten(1).double().cpu().numpy()
        inside = mask.flatten().numpy() != 0
        covariance, _ = ledoit_wolf(z)
        block = np.linalg.inv(covariance)[np.ix_(inside, inside)]
        vector = np.linalg.eigh(block)[1][:, -1]
        pattern = np.zeros(mask.numel())
        pattern[inside] = vector * (1 if vector.sum() >= 0 else -1)
        direction = torch.from_numpy(pattern).to(mask).view_as(mask)
        return Crafted(Trigger(problem.budget.maximise(direction), mask))
