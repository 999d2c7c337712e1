"""Tables and a figure of the scores: python summary.py scores.json FIGURE.svg."""

import json
import sys
from collections import defaultdict
from pathlib import Path

import matplotlib as mpl
from matplotlib import pyplot as plt
from scipy.stats import beta

mpl.rcParams["svg.hashsalt"] = "real-audits"

LEVEL, SURE = 0.01, 0.95


def upper(alarms, count):
    """Upper end of the one-sided binomial interval by Clopper and Pearson."""
    return 1.0 if alarms == count else float(beta.ppf(SURE, alarms + 1, count - alarms))


def clean_sets(rows):
    """(cell, operator): alarms, sets that were judged, sets in which the test abstained."""
    found = defaultdict(lambda: [0, 0, 0])
    for row in rows:
        for p_value in row.get("p_values", ()):
            one = found[row["cell"], row["operator"]]
            one[2 if p_value is None else 1] += 1
            one[0] += p_value is not None and p_value <= LEVEL
    return found


def poisoned_sets(rows):
    """(job, cell, operator): verdicts, and the mean AUC."""
    return {
        (row["job"], row["cell"], row["operator"]): row["sets"] for row in rows if "sets" in row
    }


def print_tables(rows, spent):
    """False alarms per cell and over all fresh cells; then verdicts of poisoned sets."""
    print("| cell | operator | alarms | clean sets | upper 95 % | abstains |")
    print("|---|---|---:|---:|---:|---:|")
    alarms = judged = 0
    for (cell, given), (found, count, silent) in clean_sets(rows).items():
        name = f"{cell} (spent)" if cell in spent else cell
        most = f"{upper(found, count):.3f}" if count else ""
        print(f"| {name} | {'yes' if given else 'no'} | {found} | {count} | {most} | {silent} |")
        if cell not in spent:
            alarms, judged = alarms + found, judged + count
    print(f"\nfresh cells: {alarms} of {judged}, upper {upper(alarms, judged):.4f}\n")
    print("| poison | cell | operator | suspicious | undecided | clean | AUC |")
    print("|---|---|---|---:|---:|---:|---:|")
    for (job, cell, given), sets in poisoned_sets(rows).items():
        verdicts = [one["verdict"] for one in sets]
        counts = " | ".join(
            str(verdicts.count(each)) for each in ("suspicious", "undecided", "clean")
        )
        aucs = [one["auc"] for one in sets if "auc" in one]
        auc = f"{sum(aucs) / len(aucs):.3f}" if aucs else ""
        print(f"| {job} | {cell} | {'yes' if given else 'no'} | {counts} | {auc} |")


def draw(rows, path):
    """P values of clean sets against those that chance gives, and the level."""
    values = [p for row in rows for p in row.get("p_values", ()) if p is not None]
    figure, axes = plt.subplots(figsize=(4.5, 3.2), layout="constrained")
    share = [(k + 1) / len(values) for k in range(len(values))]
    axes.plot(sorted(values), share, drawstyle="steps-post", label=f"{len(values)} clean sets")
    axes.plot([1e-3, 1], [1e-3, 1], "--", color="0.6", label="chance")
    axes.axvline(LEVEL, color="0.3", linewidth=0.8, label="level of an alarm")
    axes.set(xscale="log", yscale="log", xlim=(1e-3, 1), ylim=(1e-3, 1))
    axes.set(xlabel="p value of a set", ylabel="share of sets below")
    axes.legend(frameon=False, fontsize=8)
    figure.savefig(path, metadata={"Date": None})


if __name__ == "__main__":
    kept = json.loads(Path(sys.argv[1]).read_text("utf-8"))["rows"]
    print_tables(kept, ("mri8", "mri3-max-factor4"))
    draw(kept, sys.argv[2])
