"""Patterns of any shape that draw where they are not: `python ascents.py BANK ID ...`.

Tried to find artefacts of triggers that are neither square nor wave; nothing rests on it. From
eight draws of noise, 25 steps of Adam raise the energy of the answer in a disc over that of the
pattern there, at an L2 of 0.75 of an input. `whole` takes the answer, and `above` the part of it
beyond the line, f(z + d) - f(z) - 2 (f(z + d / 2) - f(z)), over its energy. ascents.jsonl gets the
cosine of the mean answer, weighted by constancy as _artefacts does, with the true artefact: of the
start that ends highest, of the best, and of what the starts have in common (first principal
component). `python ascents.py BANK` prints it.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import torch
from networks import Bank
from scan import cosine
from torch import Tensor, nn

from recondoor.defences import _artefacts, _patterns
from recondoor.defences._erasure import FAINT, Answers, _disc

HERE = Path(__file__).parent
OUT = HERE / "ascents.jsonl"
STARTS, STEPS, RATE, SEEN, JUDGED, L2 = 8, 25, 0.25, 3, 12, 0.75


def pooled(images: Tensor) -> Tensor:
    """Energy in discs (K, H, W)."""
    radius = _patterns.size_of(images[0])
    energy = images.square().sum(1, keepdim=True)
    return nn.functional.conv2d(energy, _disc(radius).to(energy), padding=radius)[:, 0]


def height(change: Tensor, pattern: Tensor, above: bool) -> Tensor:
    """What is raised, of changes (K, n, C, H, W) by patterns of L2 `L2`, (K,)."""
    area = float(_disc(_patterns.size_of(pattern[0])).sum()) / pattern[0].numel()
    ratio = pooled(change.mean(1)) / (pooled(pattern) + 0.5 * area * L2**2)
    found = ratio.flatten(1).amax(1).clamp_min(1e-12).log()
    return found - (change.square().sum((2, 3, 4)).mean(1) + FAINT**2).log() / 2 * above


def raised(answers: Answers, start: Tensor, order: list[int], above: bool) -> Tensor:
    """Patterns (K, C, H, W) of L2 `L2`."""
    pattern = (_patterns.unit_norm(start) * start[0].numel() ** 0.5).requires_grad_(True)
    optimiser = torch.optim.Adam([pattern], lr=RATE, betas=(0.8, 0.99))
    for step in range(STEPS):
        inputs = [order[(SEEN * step + k) % (len(order) - JUDGED)] for k in range(SEEN)]
        slopes = []
        for part in torch.split(pattern, 4):
            unit = _patterns.unit_norm(part) * L2
            change = answers.to(unit * answers.scale.z, inputs)
            if above:
                change = change - 2 * answers.to(unit * answers.scale.z / 2, inputs)
            slopes.append(torch.autograd.grad(-height(change, unit, above).sum(), part)[0])
        pattern.grad = torch.cat(slopes)
        optimiser.step()
    return _patterns.unit_norm(pattern.detach()) * L2


def line(bank: Bank, name: str, above: bool) -> dict[str, object]:
    """Of one network."""
    z, true = bank.pairs(name).z, bank.pattern(name, "artefact")
    generator = torch.Generator().manual_seed(0)
    order = torch.randperm(len(z), generator=generator).tolist()
    answers = Answers(bank.network(name).requires_grad_(False), z)
    start = torch.randn(STARTS, *z.shape[1:], generator=generator)
    found = raised(answers, start, order, above)
    added, judges = found * answers.scale.z, order[-JUDGED:]
    with torch.no_grad():
        ends = height(answers.to(added, judges), found, above)
    drawn = _artefacts.drawn(answers, added, torch.ones_like(added[:, :1]), judges).artefact
    units = _patterns.unit_norm(drawn).flatten(1)
    common = torch.linalg.svd(units, full_matrices=False).Vh[0]
    common = (common * torch.sign((units @ common).sum())).view_as(drawn[0])
    each = [cosine(one, true) or 0.0 for one in drawn]
    return {
        "id": name,
        "way": "above" if above else "whole",
        "highest": each[int(ends.argmax())],
        "best": max(each),
        "common": cosine(common, true),
    }


def main() -> None:
    """Those that are named, both ways, or the table."""
    torch.set_num_threads(1)
    bank = Bank.of(Path(sys.argv[1]))
    for name in sys.argv[2:]:
        with OUT.open("a") as file:
            for above in (False, True):
                file.write(json.dumps(line(bank, name, above)) + "\n")
    if len(sys.argv) == 2:
        print("| network | way | highest start | best start | common to all |")
        print("|:---|:---|---:|---:|---:|")
        for row in map(json.loads, OUT.read_text().splitlines()):
            told = " | ".join(f"{row[key]:.2f}" for key in ("highest", "best", "common"))
            print(f"| {row['id']} | {row['way']} | {told} |")


if __name__ == "__main__":
    main()
