"""Figure and tables of the study of scanners: python studies/scanners/figures.py."""

from collections.abc import Iterator
from pathlib import Path

import matplotlib
import numpy as np
import pyarrow.parquet as pq

matplotlib.use("Agg")
import matplotlib.pyplot as plt

HERE = Path(__file__).parent
NAMES = {
    "mri": "MRI, magnitude, U-Net",
    "mri-128": "the same at 128 px, one seed",
    "ct": "CT, FBP, U-Net",
    "modl": "MRI, 8 coils, MoDL",
}
SERIES = {
    ("heuristic", ("input", "z")): ("square, into the image", "#0072B2", "o", 0.94),
    ("heuristic", ("y",)): ("square, into the measurement", "#D55E00", "s", 1.06),
    ("tangent", ("input",)): ("tangent, anywhere in the image", "#009E73", "^", 1.0),
    ("bilevel", ("input",)): ("BLO, anywhere in the image", "#CC79A7", "D", 1.06),
}
"""What is drawn: attack and place of entry; label, colour, mark, and a shift to the side."""

NOT_LEARNT = 1.35
"""Where a network that did not learn is drawn, in multiples of the images that it saw."""


def rows(name: str) -> list[dict[str, object]]:
    """Rows of a kept sweep, those of the poisoned networks."""
    path = HERE / name / "sweep.parquet"
    table = pq.read_table(path).to_pylist() if path.exists() else []
    return [row for row in table if row["model"] != "original"]


def draw() -> None:
    """Images until each backdoor was learnt, against the trigger's L2."""
    kept = [name for name in NAMES if rows(name)]
    figure, axes = plt.subplots(
        1, len(kept), figsize=(3.6 * len(kept), 3.4), sharey=True, squeeze=False
    )
    for axis, name in zip(axes[0], kept, strict=True):
        found = [row for row in rows(name) if row["poison.ratio"] == 0.3]
        most = max(float(str(row["samples"])) for row in found)
        for (model, enters), (label, colour, mark, aside) in SERIES.items():
            own = [r for r in found if r["model"] == model and r["trigger.inject"] in enters]
            for learnt in (True, False):
                points = [r for r in own if (r["transition_samples"] is not None) == learnt]
                axis.scatter(
                    [aside * float(str(r["attack.l2"])) for r in points],
                    [float(str(r["transition_samples"])) if learnt else NOT_LEARNT * most
                     for r in points],
                    marker=mark, s=34, label=label if learnt else None,
                    facecolors=colour if learnt else "none", edgecolors=colour,
                )  # fmt: skip
        axis.axhline(most, color="0.6", linewidth=0.8, linestyle=":")
        axis.set(xscale="log", yscale="log", title=NAMES[name], xlabel="L2 of the trigger")
        ticks = sorted({float(str(row["attack.l2"])) for row in found})
        axis.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
        axis.minorticks_off()
    axes[0][0].set_ylabel("training images until learnt\n(open: not learnt)")
    handles, labels = axes[0][0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="lower center", ncols=2, frameon=False, fontsize=8)
    figure.tight_layout(rect=(0, 0.13, 1, 1))
    for suffix in ("png", "svg"):
        figure.savefig(HERE / f"transitions.{suffix}", dpi=150)


def table(name: str) -> Iterator[str]:
    """One line for each setting: over seeds, how often it was learnt, when, and how well."""
    yield f"\n## {NAMES[name]}\n"
    yield "| trigger | enters at | L2 | p | learnt | images until learnt | recovery | benign RMSE |"
    yield "|---|---|---:|---:|---:|---:|---:|---:|"
    groups: dict[tuple[str, str, float, float], list[dict[str, object]]] = {}
    for row in rows(name):
        key = (
            str(row["model"]),
            str(row["trigger.inject"]),
            float(str(row["attack.l2"])),
            float(str(row["poison.ratio"])),
        )
        groups.setdefault(key, []).append(row)
    for (model, enters, l2, ratio), own in groups.items():
        found = [int(str(v)) for r in own if (v := r["transition_samples"]) is not None]
        when = f"{min(found):,} to {max(found):,}" if found else "-"
        recovery = np.mean([float(str(r["artefact_recovery"])) for r in own])
        benign = np.mean([float(str(r["benign_rmse"])) for r in own])
        yield (
            f"| {model} | {enters} | {l2:g} | {ratio:g} | {len(found)} of {len(own)} | "
            f"{when} | {recovery:.2f} | {benign:.3f} |"
        )


if __name__ == "__main__":
    draw()
    lines = ["# Tables of the study of scanners", "", "Made by figures.py of the kept sweeps."]
    for name in NAMES:
        if rows(name):
            lines += table(name)
    (HERE / "tables.md").write_text("\n".join(lines) + "\n", encoding="utf-8")
