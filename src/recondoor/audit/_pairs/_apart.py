"""Trusted pairs have to be others than those under audit, and others than each other."""

import numpy as np
import torch
from torch import Tensor

from recondoor import data
from recondoor.core.errors import DataError
from recondoor.core.words import plural_of
from recondoor.poisoning import Pairs


def require_apart(mine: Pairs, trusted: Pairs, option: str) -> None:
    """Refuse trusted pairs that are under audit too: they would call themselves clean.

    A pair is in both if its z or its x is, by content.

    Raises:
        DataError: how many there are, and what to do.
    """
    both = int((found_in(mine.z, trusted.z) | found_in(mine.x, trusted.x)).sum())
    if both:
        raise _not_apart(both, len(mine), "pairs", option)


def require_inputs_apart(z: Tensor, trusted: Pairs, option: str) -> None:
    """As `require_apart`, of inputs z (N, C, H, W) alone."""
    both = int(found_in(z, trusted.z).sum())
    if both:
        raise _not_apart(both, len(z), "inputs", option)


def found_in(mine: Tensor, others: Tensor) -> Tensor:
    """Which images (N, C, H, W) are also in `others` (M, C, H, W), boolean (N,)."""
    return torch.from_numpy(data.shared(mine.cpu().numpy(), others.cpu().numpy()))


def distinct(pairs: Pairs) -> Pairs:
    """The pairs less those that are copies of an earlier one: a copy is no further evidence."""
    both = np.concatenate((pairs.z.cpu().numpy(), pairs.x.cpu().numpy()), axis=1)
    kept = torch.from_numpy(data.first_of_each(both))
    return pairs if bool(kept.all()) else Pairs(pairs.z[kept], pairs.x[kept])


def copies_note(before: int, after: int) -> list[str]:
    """What to say of copies that were left out."""
    if before == after:
        return []
    copies = plural_of(before - after, before, "trusted pair", "are")
    return [f"{copies} copies of others, and left out."]


def _not_apart(both: int, count: int, what: str, option: str) -> DataError:
    return DataError(
        f"{option}: {both} of the {what} under audit are in {option}, of {count}; trusted pairs "
        f"have to be others: leave these out of {option} or of the {what}"
    )
