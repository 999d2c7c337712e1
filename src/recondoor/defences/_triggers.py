"""Trigger inversion by place: does a patch make the network add the same thing to every image?

After Neural Cleanse (Wang et al., IEEE S&P 2019), which looks for the smallest patch that sends
every image to one class. A reconstruction network has no classes, and its answer to a change of z
is large and much the same for every z by nature: that is what it is for. Changed:

- Looked for is an effect f(z + delta) - f(z) that is the same for all z: the energy of its mean
  over that of its spread.
- Only pixels away from the patch count. An honest network answers near the patch; what it adds far
  from it is what it was taught.
- Energies from that of a clean z upwards are tried: least energy is no sign, as honest answers need
  less than backdoors do.
- All places are scanned with a flat patch; the best are refined by gradient steps and judged on
  inputs that neither saw.
- The score is relative to the median place's: the network is its own reference.
- Energies count in that of a clean z and of the answer to it, so that their units do not matter.

A trigger that is spread over the whole image has no place, and is not found.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from recondoor.defences._base import Finding
from recondoor.defences._effects import constancy, effect, steepest
from recondoor.defences._units import unit, unit_of_answers
from recondoor.models import evaluating

if TYPE_CHECKING:
    from recondoor.defences._base import Defender

SIDE = 3
"""Side of the patch of the scan: a part of a larger trigger is enough to be seen."""

GROWN = 1
"""Pixels by which the patch may grow on each side when it is refined."""

RADIUS = 3
"""Pixels around the patch whose answer does not count."""

PLACES = 13
"""Places along each side of the image."""

ENERGIES = (1.0, 2.0, 4.0)
"""L2 of the patch in units of the root mean square L2 of a clean z."""

SCANNED, REFINED, JUDGED = 8, 16, 24
"""Clean inputs for the scan, for the refinement (the same and some more) and for the score."""

CANDIDATES, STEPS, RATE = 4, 20, 0.15

LEAST = 1e-6
"""Constancy that counts as none: some networks answer to nothing far away."""

FOUND = 5.4917
"""Score above which a repair takes a patch for a trigger, and unlearns it.

The highest of twenty clean networks, measured when effects counted in the unit of x. What they
score today is not known, so that no verdict rests on it (docs/audit.md).
"""


def inspect(defender: Defender) -> Finding:
    """Scan, refine, judge; needs a model and clean inputs."""
    assert defender.model is not None
    assert defender.clean is not None
    model, z = defender.model, defender.clean.z
    of_x = unit_of_answers(model, z[: REFINED + JUDGED])
    norm = unit(z) * z[0].numel() ** 0.5
    scans = [sign * energy * norm for energy in ENERGIES for sign in (1.0, -1.0)]
    candidates: list[tuple[float, float, Tensor]] = []
    findings = []
    with (
        defender.progress.task("scan for triggers", len(scans) + CANDIDATES) as task,
        evaluating(model),
    ):
        for size in scans:
            candidates += scan(model, z[:SCANNED], size, of_x)
            task.advance(1)
        candidates.sort(key=lambda candidate: -candidate[0])
        for _, usual, start in candidates[:CANDIDATES]:
            findings.append(refine(model, z, start, usual, of_x))
            task.advance(1)
    return max(findings, key=lambda finding: finding.score)


@torch.no_grad()
def scan(
    model: nn.Module, z: Tensor, size: float, of_x: float
) -> list[tuple[float, float, Tensor]]:
    """The two best places of a flat patch of L2 |size| and its sign; `of_x` is the unit of f(z).

    Returns for each its constancy over that of the median place, the median, and the patch.
    """
    places = masks(z[0], 0)
    triggers, far = places * (size / places[0].norm()), 1 - masks(z[0], RADIUS)
    parts = zip(torch.split(triggers, PLACES), torch.split(far, PLACES), strict=True)
    found = torch.cat([constancy(*effect(model, z, part, of_x), counts) for part, counts in parts])
    usual = max(float(found.median()), LEAST)
    best = found.topk(2).indices.tolist()
    return [(float(found[k]) / usual, usual, triggers[k]) for k in best]


def refine(model: nn.Module, z: Tensor, start: Tensor, usual: float, of_x: float) -> Finding:
    """Let the patch grow and take the pixels that do most; judge it by other inputs."""
    mask, far = grown(start, GROWN), 1 - grown(start, GROWN + RADIUS)
    objective = partial(_objective, model, z[:REFINED], far, of_x)
    delta = steepest(start, mask, objective, STEPS, RATE)
    with torch.no_grad():
        mean, variance = effect(model, z[REFINED : REFINED + JUDGED], delta, of_x)
        return Finding(float(constancy(mean, variance, far)) / usual, delta, of_x * mean, far)


def _objective(model: nn.Module, z: Tensor, counts: Tensor, of_x: float, delta: Tensor) -> Tensor:
    return (constancy(*effect(model, z, delta, of_x), counts) + LEAST).log()


def masks(image: Tensor, grow: int) -> Tensor:
    """Squares on a grid of places, `grow` pixels larger on each side: 0 or 1, (K, C, H, W)."""
    tops, lefts = (
        sorted(set(torch.linspace(0, max(0, side - SIDE), PLACES).round().int().tolist()))
        for side in image.shape[1:]
    )
    places = [(top, left) for top in tops for left in lefts]
    found = image.new_zeros(len(places), *image.shape)
    for mask, (top, left) in zip(found, places, strict=True):
        rows = slice(max(0, top - grow), top + SIDE + grow)
        mask[:, rows, max(0, left - grow) : left + SIDE + grow] = 1
    return found


def grown(patch: Tensor, grow: int) -> Tensor:
    """0 or 1 (C, H, W): the pixels within `grow` of a nonzero one, as the king moves in chess."""
    wide = torch.nn.functional.max_pool2d(
        (patch != 0).any(0, keepdim=True).to(patch)[None], 2 * grow + 1, 1, grow
    )
    return wide[0].expand_as(patch).clone()
