"""Which inputs of the bank's networks are told from clean ones by what needs no network.

    python studies/network-audits/peaks.py BANK > studies/network-audits/peaks.jsonl

`input-peaks` compares with 64 clean inputs of the people that networks were trained on; 400 others
of theirs give the conformal threshold at a rate of 1 %. Judged are inputs of another person, with
and without the trigger. Once as strong as it was trained with (`strength` null), and once of an L2
of 0.34 of the median input's, which is that of the weakest squares of the bank. The settings of the
detector were chosen on the design half of split.json.
"""

import json
import sys
from pathlib import Path

import pool
import torch
from networks import Bank

from recondoor import defences
from recondoor.defences import Defender
from recondoor.poisoning import Pairs

HERE = Path(__file__).parent
OWN, THRESHOLD, ALARM, WEAK = 64, 400, 0.01, 0.34


def rows(folder, half):
    """A row for each trigger of a half of the bank, as trained and weak."""
    bank, detector = Bank.of(folder), defences.input_detector("input-peaks")
    for name in json.loads((HERE / "split.json").read_text())[half]:
        run, delta = bank.runs[name], bank.pattern(name, "delta")
        if run["state"] == "clean" or delta is None:
            continue
        pairs = pool.pairs(folder, run, bank.mask(name), OWN + THRESHOLD)
        z = torch.from_numpy(bank.arrays[f"test/{run['pairs']}/z"]).float()
        defender = Defender(Pairs(pairs.z[:OWN], pairs.x[:OWN]))
        limit = defences.threshold(detector.scores(pairs.z[OWN:], defender), ALARM)
        usual = float(z.flatten(1).norm(dim=1).median())
        for strength in (None, WEAK):
            added = delta if strength is None else strength * usual * delta / delta.norm()
            found = [detector.scores(each, defender) > limit for each in (z + added, z)]
            yield {
                "half": half,
                "id": name,
                "strength": strength,
                "l2": round(float(added.norm()) / usual, 3),
                "inputs": len(z),
                "flagged": int(found[0].sum()),
                "clean_flagged": int(found[1].sum()),
            }


if __name__ == "__main__":
    torch.set_num_threads(1)
    for half in ("design", "score"):
        for row in rows(Path(sys.argv[1]), half):
            print(json.dumps(row))
