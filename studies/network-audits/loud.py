"""Look at the bank through loud noise: `python loud.py BANK design|score`; resumable: loud.jsonl.

The measure that `erased-trigger` got last, of networks that learnt a backdoor and clean ones.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import torch
from networks import Bank

from recondoor.core import seeding
from recondoor.defences import _erasure

HERE = Path(__file__).parent
MEASURE = "erases loud noise"


def look(bank: Bank, name: str) -> dict[str, object]:
    """The measure of one network."""
    z = bank.pairs(name).z
    answers = _erasure.Answers(bank.network(name), z)
    generator = seeding.torch_generator(0, "erased-trigger")
    order = torch.randperm(len(z), generator=generator).tolist()
    shown = _erasure.loud_noise(answers, order, 0).shown.median()
    return {"id": name, MEASURE: round(_erasure._erased(shown, _erasure.LEAST_SHOWN), 4)}


def main() -> None:
    """Those that loud.jsonl lacks."""
    torch.set_num_threads(1)
    bank, out = Bank.of(Path(sys.argv[1])), HERE / "loud.jsonl"
    known = (
        {json.loads(line)["id"] for line in out.read_text().splitlines()} if out.exists() else set()
    )
    for name in json.loads((HERE / "split.json").read_text())[sys.argv[2]]:
        if name not in known and bank.runs[name]["state"] in ("learnt", "clean"):
            row = look(bank, name)
            with out.open("a") as file:
                file.write(json.dumps(row) + "\n")


if __name__ == "__main__":
    main()
