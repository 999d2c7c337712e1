"""Which half of the bank designs and which scores: `python studies/network-audits/split.py BANK`.

By make and state, every second network in the order of the SHA-256 of its id; written once, before
any network was looked at by the detector as it is here.
"""

import hashlib
import json
import sys
from pathlib import Path

HERE = Path(__file__).parent


def main() -> None:
    """Write split.json."""
    runs = json.loads((Path(sys.argv[1]) / "bank.json").read_text())["runs"]
    groups: dict[tuple[str, ...], list[str]] = {}
    for run in runs:
        make: tuple[str, ...] = run["arch"], run["pipe"], run["state"], run["kind"]
        groups.setdefault(make, []).append(run["id"])
    halves: dict[str, list[str]] = {"design": [], "score": []}
    turn = 0
    for make in sorted(groups):
        for name in sorted(groups[make], key=lambda each: hashlib.sha256(each.encode()).digest()):
            halves[("score", "design")[turn % 2]].append(name)
            turn += 1
    text = json.dumps({half: sorted(names) for half, names in halves.items()}, indent=1)
    (HERE / "split.json").write_text(text + "\n")


if __name__ == "__main__":
    main()
