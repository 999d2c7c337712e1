"""What `shared-pattern` says where it neither accuses nor acquits."""

from __future__ import annotations

import torch
from torch import Tensor

from recondoor.core.words import plural, plural_of
from recondoor.defences._base import Power
from recondoor.defences._planted import NEEDED

DOUBT = (
    "some pairs share what their images do not explain, but images leave enough in all pairs that "
    "it may be their anatomy; look at the first pairs of suspicious.csv"
)
"""What is lacking where only the dispersion speaks against an alarm."""

HALVES = (
    "the pairs are two groups of like size, which differ by one pattern that images do not "
    "explain: half of them may carry it, or two scanners made them; audit each scanner's in a file "
    "of its own"
)
"""Why pairs of two kinds are not acquitted."""

APART = (
    "some pairs are more like each other, in either sign, than all others are: a pattern of "
    "changing sign, or pairs of another make (scanner, mask, motion, filter); audit the first "
    "pairs of suspicious.csv and the others in files of their own"
)
"""What is lacking where pairs stand apart and no test finds one pattern in one sign."""

LIKE = (
    "pairs whose images are alike share much that their images do not explain: neighbours or "
    "copies of one object, or poison that makes images alike; look at the first pairs of "
    "suspicious.csv"
)
"""What is lacking where only edges between similar images tell of something."""

UNTOLD = (
    "with the operator nothing is found, and a lesion might have been missed; without it some "
    "pairs share a pattern: audit them without --operator"
)
"""What is lacking where only a look without the operator finds something."""

NAMED = 10
"""Pairs at most that a sentence names by their numbers."""


def faint(p_value: float, remedy: str) -> str:
    """That pairs share a little."""
    return (
        f"some pairs share a little (p = {p_value:.2g}, where clean pairs nearly always have 1), "
        f"not enough for an alarm and too much to acquit; give {remedy}, and look at the first "
        "pairs of suspicious.csv"
    )


def odd(bare: Tensor) -> str:
    """That `bare` (N,) inputs are not explained where all others are."""
    places = torch.nonzero(bare)[:, 0]
    return (
        f"{plural_of(len(places), len(bare), 'input', 'differ')} from what their images "
        "explain, where that "
        f"explains the others but for rounding; look at {_named(places)}, counted from 0"
    )


def makes(places: Tensor) -> str:
    """That pairs at these places, the most suspicious first, are of another make."""
    return (
        f"{plural(len(places), 'pair', 'differ')} from the others by what a filter of their own "
        "images "
        "explains: they are of another make (scanner, mask, motion, blur), and whether poison is "
        f"among them is not told; audit {_named(places)} (counted from 0) and the others in files "
        "of their own"
    )


def _named(places: Tensor) -> str:
    """The first of some pairs by their numbers."""
    some, more = places[:NAMED].sort().values.tolist(), len(places) - NAMED
    besides = f" and {more} more" if more > 0 else ""
    return f"{'numbers' if len(places) > 1 else 'number'} {', '.join(map(str, some))}{besides}"


def lacking(power: Power, count: int, remedy: str) -> str | None:
    """Why silence says nothing; None if it says something."""
    if power.found >= NEEDED:
        return None
    many = max(2, round(power.share * count))
    other = (
        "and no larger contrast was seen either"
        if power.smallest is None
        else f"a contrast of {power.smallest:g} would have been"
    )
    return (
        f"a lesion of {power.contrast:g} of the targets' range, planted in {many} of the {count} "
        f"pairs, was seen in {power.found:.0%} of the trials; {other}; give {remedy}"
    )
