"""A network of the audit's own, one epoch old: it has seen every pair once."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from recondoor import config, models, training
from recondoor.poison import Artefact, Pairs, PoisonedPairs, PoisonPlan

if TYPE_CHECKING:
    from torch import nn

    from recondoor.progress import Progress

BATCH = 50
STEPS = 80
"""Steps at least, for which the batch is made smaller where there are few pairs."""


def young_network(pairs: Pairs, seed: int, progress: Progress) -> nn.Module:
    """The default network after one epoch on `pairs`, as they are.

    One epoch is what the detectors want: before the backdoor is learnt, poisoned pairs stand out.
    """
    shape = (pairs.x.shape[1], pairs.x.shape[2], pairs.x.shape[3])
    batch = max(1, min(BATCH, len(pairs) // STEPS))
    settings = config.Train(max_epochs=1, batch=batch)
    model = models.build(shape, config.Model(), seed, "audit")
    nobody = PoisonPlan(torch.zeros(len(pairs), dtype=torch.bool))
    plain = PoisonedPairs(pairs, nobody, None, Artefact(torch.zeros(shape)))
    with progress.task("training a network for one epoch", len(pairs)) as task:
        training.fit(
            model, plain, settings, seed=seed, validate=lambda _: {"val_loss": 0.0}, task=task
        )
    return model
