"""Do answers scale? `python scaling.py BANK design|score [ID ...]`; resumable: scaling.jsonl.

Patterns of five families are added at a quarter of, half of, once and twice the usual L2 of z. Of
each family and strength a line has medians over 16 patterns and 3 inputs:

- shown: the answer's projection on the pattern, in units of the pattern's L2;
- gain: the answer's L2, in the same unit;
- common: share of the answer's energy that all inputs have in common.

And of the mean answer to all patterns of a family, of which an honest one cancels:

- left: its L2, in units of the usual L2 of f(z);
- disc: share of its energy in a disc of the size of an artefact, as a root.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import torch
from networks import Bank
from torch import Tensor

from recondoor.core import seeding
from recondoor.defences import _erasure, _patterns

HERE = Path(__file__).parent
STRENGTHS, COUNT, INPUTS = (0.25, 0.5, 1.0, 2.0), 16, 3


def sums(parts: Tensor, each: int, generator: torch.Generator) -> Tensor:
    """Of `each` patterns of (K each, C, H, W) with random signs, at L2 of 1."""
    signs = 2.0 * torch.randint(2, (len(parts), 1, 1, 1), generator=generator) - 1
    return _patterns.unit_norm((parts * signs).unflatten(0, (-1, each)).sum(1))


def families(z: Tensor, generator: torch.Generator) -> dict[str, Tensor]:
    """Patterns (16, C, H, W) by their family."""
    points = _patterns.measured_waves(z, generator, 6 * COUNT)
    lines = _patterns.lines(z[0], generator, 6 * COUNT)
    noise = torch.randn(COUNT, *z.shape[1:], generator=generator)
    return {
        "points": sums(points[: len(points) // 6 * 6], 6, generator),
        "lines": sums(lines, 6, generator),
        "line": lines[:COUNT],
        "smooth": _patterns.unit_norm(_patterns.smooth(noise)),
        "white": _patterns.unit_norm(noise),
    }


@torch.no_grad()
def look(bank: Bank, name: str) -> dict[str, object]:
    """A line of scaling.jsonl."""
    z = bank.pairs(name).z
    answers = _erasure.Answers(bank.network(name), z)
    generator = seeding.torch_generator(1, "scaling")
    inputs = torch.randperm(len(z), generator=generator)[:INPUTS].tolist()
    found: dict[str, object] = {"id": name}
    for family, patterns in families(z, generator).items():
        for strength in STRENGTHS:
            change = answers.to(patterns * strength * answers.scale.z, inputs)
            mean, energy = change.mean(1), change.square().sum((2, 3, 4)).mean(1)
            shown = (mean * patterns).sum((1, 2, 3)) / strength
            common = mean.square().sum((1, 2, 3)) / energy.clamp_min(1e-12)
            every = change.mean((0, 1))[None]
            left = every.square().sum()
            disc = (_erasure.in_discs(every)[0] / left.clamp_min(1e-12)).sqrt()
            found[f"{family} {strength}"] = {
                "shown": round(float(shown.median()), 4),
                "gain": round(float(energy.sqrt().median() / strength), 4),
                "common": round(float(common.median()), 4),
                "left": round(float(left.sqrt()), 5),
                "disc": round(float(disc), 4),
            }
    return found


def main() -> None:
    """Those that scaling.jsonl lacks: learnt and clean networks of a half."""
    torch.set_num_threads(1)
    bank, out = Bank.of(Path(sys.argv[1])), HERE / "scaling.jsonl"
    known = (
        {json.loads(line)["id"] for line in out.read_text().splitlines()} if out.exists() else set()
    )
    half = json.loads((HERE / "split.json").read_text())[sys.argv[2]]
    wanted = [name for name in half if bank.runs[name]["state"] in ("learnt", "clean")]
    for name in sys.argv[3:] or wanted:
        if name not in known:
            row = look(bank, name)
            with out.open("a") as file:
                file.write(json.dumps(row) + "\n")


if __name__ == "__main__":
    main()
