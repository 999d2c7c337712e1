"""Look at the bank through lines and points of k-space: `python lines.py BANK [ID ...]`; resumable.

The measures that `erased-trigger` got last. lines.jsonl gets a line a network, so that the longer
scans of scan.py need not be done again. `unit` is what the first scans' gains are to be multiplied
by: they counted in the unit of x, and now count in that of f(z).
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import torch
from networks import Bank

from recondoor.core import seeding
from recondoor.defences import _erasure, _patterns
from recondoor.defences._units import unit

HERE = Path(__file__).parent


def look(bank: Bank, name: str) -> dict[str, object]:
    """Both measures of one network."""
    pairs = bank.pairs(name)
    answers = _erasure.Answers(bank.network(name), pairs.z)
    generator = seeding.torch_generator(0, "erased-trigger")
    order = torch.randperm(len(pairs), generator=generator).tolist()
    drawn = torch.Generator().manual_seed(5)
    looks = {
        "erases lines": _patterns.lines(pairs.z[0], drawn),
        "erases measured frequencies": _patterns.measured_waves(pairs.z, drawn),
    }
    found: dict[str, object] = {"id": name, "unit": round(unit(pairs.x) / unit(answers.usual), 5)}
    for key, patterns in looks.items():
        shown = answers.look(patterns, _erasure.FINE, order[3:4]).shown.median()
        found[key] = round(_erasure._erased(shown, _erasure.LEAST_SHOWN), 4)
    return found


def main() -> None:
    """Those that lines.jsonl lacks."""
    torch.set_num_threads(1)
    bank, out = Bank.of(Path(sys.argv[1])), HERE / "lines.jsonl"
    known = (
        {json.loads(line)["id"] for line in out.read_text().splitlines()} if out.exists() else set()
    )
    for name in sys.argv[2:] or sorted(bank.runs):
        if name not in known:
            row = look(bank, name)
            with out.open("a") as file:
                file.write(json.dumps(row) + "\n")


if __name__ == "__main__":
    main()
