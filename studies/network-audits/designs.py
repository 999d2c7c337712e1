"""Ways to unlearn patterns that were tried: `python designs.py BANK DESIGN ID ...`; resumable.

On networks of the half that designs, with 200 clean pairs. designs.jsonl gets a line a network and
design, `python designs.py BANK` prints them. Kept was `patterns-first`, with a rate that falls as a
cosine and a filter that shows patterns near where they are: `pattern-unlearning`.

The lines that are kept were made by a draft of this file, whose bundles had 3 to 8 lines and whose
draws differ. `patterns-first-cosine` is `pattern-unlearning` before its filter got a reach.
"""

from __future__ import annotations

import json
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import pool
import torch
from networks import Bank
from repairs import PAIRS, judged, test_pairs
from torch import Tensor, nn

from recondoor.defences import _response
from recondoor.defences._units import unit
from recondoor.defences._unlearning import Patterns
from recondoor.models import copy_of, reconstruct
from recondoor.poisoning import Pairs

HERE = Path(__file__).parent
OUT = HERE / "designs.jsonl"


@dataclass(frozen=True)
class Design:
    """How a network is trained on.

    Args:
        shown: 1 where the target shows the pattern by the network's own filter, else 0.
        kept: whether a pattern's answer stays but for its mean over inputs, which that replaces.
        samples, batch: inputs in all and in a step.
        carried, late: share of inputs with a pattern, in the first half and in the second.
        own: share of the network's own answer in the target.
        most: largest strength of a pattern.
        half: strength at which an input counts half; 0 where all count alike.
        last: rate of the last step as a share of the first.
    """

    shown: float = 1.0
    kept: bool = False
    samples: int = 3200
    batch: int = 8
    carried: float = 0.5
    late: float = 0.5
    own: float = 0.5
    most: float = 1.5
    half: float = 0.0
    last: float = 0.02


COARSE = {"samples": 2400, "batch": 25, "last": 0.1}
DESIGNS = {
    "clean-inputs-alone": Design(0.0, carried=0.0, late=0.0, own=0.0, **COARSE),  # type: ignore[arg-type]
    "patterns-left-out": Design(0.0, carried=0.7, late=0.7, own=0.0, **COARSE),  # type: ignore[arg-type]
    "patterns-shown": Design(carried=0.7, late=0.7, own=0.0, **COARSE),  # type: ignore[arg-type]
    "smaller-batches": Design(),
    "fainter-patterns": Design(own=0.0, most=1.0),
    "patterns-count-little": Design(half=0.15),
    "patterns-first": Design(samples=3600, carried=0.8, late=0.15, most=1.2, half=0.5),
    "mean-replaced": Design(kept=True, samples=2400, batch=32, own=1.0, last=0.1),
    "mean-replaced-smaller-batches": Design(kept=True, samples=3600, batch=12, half=0.3),
}


class Teacher:
    """The network as it was given, and what it asks of the one that is trained."""

    def __init__(self, model: nn.Module, pairs: Pairs, design: Design) -> None:
        self.model, self.pairs, self.design = model, pairs, design
        self.generator = torch.Generator().manual_seed(0)
        self.patterns = Patterns(pairs.z, None, self.generator)
        self.usual = unit(pairs.z) * pairs.z[0].numel() ** 0.5
        self.answers = reconstruct(model, pairs.z)
        self.targets = (1 - design.own) * pairs.x + design.own * self.answers
        index, added = self.drawn(_response.PROBES), self.added(_response.PROBES)
        change = reconstruct(model, pairs.z[index] + added) - self.answers[index]
        self.filter = _response.Filter.fitted(added, change, pairs.z.shape[-1])

    def drawn(self, count: int) -> Tensor:
        """Which pairs."""
        return torch.randint(len(self.pairs), (count,), generator=self.generator)

    def added(self, count: int) -> Tensor:
        """Patterns at their strength."""
        size = 0.1 * (self.design.most / 0.1) ** torch.rand(
            count, 1, 1, 1, generator=self.generator
        )
        return self.usual * size * self.patterns.draw(count)

    def batch(self, carried: float) -> tuple[Tensor, Tensor, Tensor]:
        """Inputs, targets and what was added."""
        count = self.design.batch
        if self.design.kept:
            return self._kept(max(1, count // 8), 6 if count > 12 else 4)
        index, added = self.drawn(count), self.added(count)
        with_one = torch.rand(count, 1, 1, 1, generator=self.generator) < carried
        added = added * with_one
        shown = self.design.shown * self.filter(added)
        return self.pairs.z[index] + added, self.targets[index] + shown, added

    def _kept(self, patterns: int, inputs: int) -> tuple[Tensor, Tensor, Tensor]:
        patterns = patterns if inputs == 6 else 2
        index = self.drawn(patterns * inputs)
        clean = self.drawn(self.design.batch - len(index))
        added = self.added(patterns).repeat_interleave(inputs, 0)
        z = self.pairs.z[index] + added
        change = reconstruct(self.model, z) - self.answers[index]
        mean = change.unflatten(0, (patterns, inputs)).mean(1).repeat_interleave(inputs, 0)
        targets = self.targets[index] + change - mean + self.filter(added)
        return (
            torch.cat((z, self.pairs.z[clean])),
            torch.cat((targets, self.targets[clean])),
            torch.cat((added, torch.zeros_like(self.pairs.z[clean]))),
        )


def trained(model: nn.Module, pairs: Pairs, design: Design) -> nn.Module:
    """A copy, trained on by the design."""
    teacher, found, of_x = Teacher(model, pairs, design), copy_of(model).train(), unit(pairs.x)
    for parameter in found.parameters():
        parameter.requires_grad_(True)
    optimiser, steps = torch.optim.Adam(found.parameters(), 1e-3), design.samples // design.batch
    for step in range(steps):
        optimiser.param_groups[0]["lr"] = 1e-3 * design.last ** (step / max(1, steps - 1))
        z, targets, added = teacher.batch(design.carried if 2 * step < steps else design.late)
        error = (found(z) - targets) / of_x
        if design.half:
            size = added.square().sum((1, 2, 3), keepdim=True) / teacher.usual**2
            error = error / (1 + size / design.half**2).sqrt()
        optimiser.zero_grad()
        error.square().mean().backward()
        optimiser.step()
    return found.eval()


def main() -> None:
    """Train what designs.jsonl lacks, or print it."""
    torch.set_num_threads(1)
    rows = [json.loads(line) for line in OUT.read_text().splitlines()] if OUT.exists() else []
    if len(sys.argv) == 2:
        for row in rows:
            a, b = row["before"], row["after"]
            change = 100 * (b["benign"] / a["benign"] - 1)
            print(f"{row['id']} {row['design']}: {b['recovery']:.2f}, {change:+.1f} %")
        return
    folder, known = Path(sys.argv[1]), {(row["id"], row["design"]) for row in rows}
    bank = Bank.of(folder)
    for name in sys.argv[3:]:
        if (name, sys.argv[2]) in known:
            continue
        model, further = bank.network(name), test_pairs(bank, name)
        delta, artefact = bank.pattern(name, "delta"), bank.pattern(name, "artefact")
        assert delta is not None
        assert artefact is not None
        started = time.process_time()
        pairs = pool.pairs(folder, bank.runs[name], bank.mask(name), PAIRS)
        mended = trained(model, pairs, DESIGNS[sys.argv[2]])
        seconds = round(time.process_time() - started, 1)
        before, after = (judged(each, further, delta, artefact) for each in (model, mended))
        line = {"id": name, "design": sys.argv[2], "seconds": seconds}
        with OUT.open("a") as file:
            file.write(json.dumps({**line, "before": before, "after": after}) + "\n")


if __name__ == "__main__":
    main()
