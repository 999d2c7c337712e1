"""Figures of docs/when.md, from the tables of the sweeps and growth.json.

    python studies/when/figures.py

writes energy, place and ratio as .svg and .png beside this file, operators.md and injection.md.
Curves over images are read from the run folders where they are, and kept in energy/curves.json.
"""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import matplotlib as mpl

mpl.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.patheffects import withStroke
from pyarrow import parquet

from recondoor.rundir import RunDir

HERE = Path(__file__).parent
GREY = "#777777"
COLOURS = {"heuristic": "#000000", "bilevel": "#D55E00"}
MARKERS = {"heuristic": "s", "bilevel": "*"}
NAMES = {"heuristic": "square in the corner", "bilevel": "BLO, anywhere"}
OPERATORS = {"fourier": "Fourier, m/n = 0.4", "gaussian": "Gaussian, m/n = 0.5"}
Row = dict[str, Any]


def main() -> None:
    """Draw all that there are sweeps for."""
    plt.rcParams |= {"font.size": 8, "axes.spines.top": False, "axes.spines.right": False}
    plt.rcParams |= {"svg.hashsalt": "recondoor", "axes.titlesize": 8.5}
    parts: dict[str, Callable[[list[Row]], None]] = {
        "energy": energy,
        "place": place,
        "ratio": ratio,
        "operator": operator,
        "injection": injection,
    }
    for name, make in parts.items():
        table = HERE / name / "sweep.parquet"
        if table.exists():
            make(parquet.read_table(table).to_pylist())


def save(figure: Any, name: str) -> None:
    """As SVG and PNG."""
    for suffix in ("svg", "png"):
        metadata = {"Date": None} if suffix == "svg" else None
        figure.savefig(HERE / f"{name}.{suffix}", dpi=180, metadata=metadata)


def energy(rows: list[Row]) -> None:
    """Mean recovery over L2 and images, one map an operator, with its transition."""
    kept = HERE / "energy" / "curves.json"
    if (HERE / "energy" / "points").is_dir():
        kept.write_text(json.dumps(curves(rows), indent=0) + "\n", encoding="utf-8")
    found = json.loads(kept.read_text(encoding="utf-8"))
    figure, axes = plt.subplots(1, 2, figsize=(7.4, 3.1), layout="constrained")
    for ax, (name, title) in zip(axes, OPERATORS.items(), strict=True):
        here = [line for line in found if line["operator"] == name]
        budgets = sorted({line["l2"] for line in here})
        samples = here[0]["samples"]
        mean = np.array(
            [np.mean([line["recovery"] for line in here if line["l2"] == l2], 0) for l2 in budgets]
        )
        image = ax.pcolormesh(
            np.arange(len(budgets) + 1) - 0.5,
            [0, *samples],
            mean.T,
            vmin=0,
            vmax=1,
            cmap="cividis",
        )
        for at, l2 in enumerate(budgets):
            for line in here:
                when = line["transition"]
                if line["l2"] == l2 and when is not None:
                    ax.plot(at, when, marker="o", color="white", markeredgecolor="black", ms=4)
        ax.set_xticks(range(len(budgets)), [f"{l2:g}" for l2 in budgets])
        ax.set_title(title, loc="left")
        ax.set_xlabel("L2 of the square in its corner")
        ax.set_yticks(range(0, 16001, 4000), [f"{k:,}" for k in range(0, 16001, 4000)])
    axes[0].set_ylabel("training images seen")
    bar = figure.colorbar(image, ax=axes, pad=0.02)
    bar.set_label("recovery (mean of 3 seeds)")
    axes[1].plot(
        [], [], "o", color="white", markeredgecolor="black", ms=4, label="a seed learns it"
    )
    figure.legend(loc="outside upper right", frameon=False, fontsize=7)
    save(figure, "energy")
    plt.close(figure)


def curves(rows: list[Row]) -> list[Row]:
    """Recovery on the validation pairs after every thousand images."""
    found = []
    for row in rows:
        folder = RunDir(HERE / "energy" / "points" / row["point"] / f"seed{row['seed']}")
        steps = [line for line in folder.history() if line["stage"] == "train"]
        found.append(
            {
                "operator": row["operator.name"],
                "l2": row["attack.l2"],
                "seed": row["seed"],
                "transition": row["transition_samples"],
                "samples": [line["samples"] for line in steps],
                "recovery": [round(line["recovery"], 4) for line in steps],
            }
        )
    return found


def place(rows: list[Row]) -> None:
    """Images until the transition for each place of the square, and the growth there."""
    growth = {
        (row["trigger.place"], row["seed"]): row["growth"]["0 steps, 4 networks"]
        for row in json.loads((HERE / "growth.json").read_text(encoding="utf-8"))
        if row["sweep"] == "place" and row["point"].startswith("map")
    }
    places: dict[str, list[Row]] = {}
    for row in rows:
        if row["point"].startswith("map"):
            places.setdefault(row["trigger.place"], []).append(row)
    at = {name: tuple(map(int, name.split(","))) for name in places}
    lines = sorted({row for row, _ in at.values()})
    seen, grown, late = np.full((3, len(lines), len(lines)), np.nan)
    for name, group in places.items():
        cell = tuple(lines.index(k) for k in at[name])
        images = [row["transition_samples"] or row["samples"] for row in group]
        seen[cell] = np.exp(np.mean(np.log(images)))
        late[cell] = any(row["transition_samples"] is None for row in group)
        grown[cell] = np.mean([np.log10(growth[name, row["seed"]]) for row in group])
    figure, axes = plt.subplots(1, 3, figsize=(7.4, 2.9), width_ratios=[1, 1, 1.05])
    panel(axes[0], seen / 1000, lines, "cividis_r", "thousand images until learnt", "{:.1f}", late)
    panel(axes[1], grown, lines, "cividis", "log10 of the growth an image", "{:.1f}", None)
    distance(axes[2], [row for row in rows if not row["point"].startswith("map")], places["8,8"])
    figure.tight_layout(w_pad=1.5)
    save(figure, "place")
    plt.close(figure)


def panel(
    ax: Any, values: Any, lines: list[int], colours: str, title: str, form: str, late: Any
) -> None:
    """A map of the square's places, with its numbers; '≥' where a seed did not learn it."""
    image = ax.imshow(values, cmap=colours)
    ax.set_title(title, loc="left")
    for (row, column), value in np.ndenumerate(values):
        shade = image.cmap(image.norm(value))
        dark = 0.2126 * shade[0] + 0.7152 * shade[1] + 0.0722 * shade[2] < 0.5
        text = form.format(value)
        if late is not None and late[row, column]:
            text = f"≥{text}"
        ink, halo = ("w", shade) if dark else ("k", shade)
        look = {"ha": "center", "va": "center", "color": ink, "zorder": 3}
        # Numbers stand over the artefact's box, each with an edge in the colour of its own cell.
        edge = [withStroke(linewidth=1.6, foreground=halo)]
        size = 4.6 if len(text) > 4 else 5.5
        ax.text(column, row, text, fontsize=size, path_effects=edge, **look)
    # The artefact has rows and columns 2 to 6; ticks are upper left pixels, 4 apart.
    ax.add_patch(plt.Rectangle((-0.1, -0.1), 1.3, 1.3, fill=False, edgecolor="#D55E00", lw=1.3))
    ax.set_xticks(range(len(lines)), lines)
    ax.set_yticks(range(len(lines)), lines)
    ax.set_xlabel("column of the square")
    ax.set_ylabel("row")
    ax.spines[:].set_visible(False)
    ax.tick_params(length=0)


def distance(ax: Any, rows: list[Row], nearest: list[Row]) -> None:
    """Images until the transition along the diagonal, by kernel size."""
    styles = {3: ("#56B4E9", "v"), 5: ("#000000", "s"), 7: ("#D55E00", "D")}
    rows = [*rows, *nearest]
    for kernel, (colour, marker) in styles.items():
        here = [row for row in rows if row["model.kernel"] == kernel]
        away = sorted({int(row["trigger.place"].split(",")[0]) for row in here})
        points = [[row for row in here if row["trigger.place"] == f"{k},{k}"] for k in away]
        middle = [
            np.exp(np.mean(np.log([row["transition_samples"] or row["samples"] for row in group])))
            for group in points
        ]
        ax.plot(away, middle, color=colour, lw=1.1, label=f"{kernel} x {kernel}")
        for k, y, group in zip(away, middle, points, strict=True):
            learnt = all(row["transition_samples"] is not None for row in group)
            ax.plot(k, y, marker, color=colour, markerfacecolor=colour if learnt else "w", ms=4.5)
    ax.set(yscale="log", box_aspect=1)
    ax.set_title("thousand images, by kernel", loc="left")
    ax.set_yticks([2000, 4000, 8000, 16000], ["2", "4", "8", "16"])
    ax.minorticks_off()
    ax.set_xlabel("row = column of the square")
    ax.set_xticks([8, 13, 18, 24])
    ax.plot([], [], "o", color=GREY, markerfacecolor="w", ms=4.5, label="not every seed")
    ax.legend(frameon=False, fontsize=7)


def ratio(rows: list[Row]) -> None:
    """Yardsticks over the poisoning ratio, with the hedge line."""
    original = [row for row in rows if row["model"] == "original"]
    titles = {
        "artefact_recovery": "recovery",
        "ghost": "ghost",
        "artefact_rmse": "artefact RMSE",
        "benign_rmse": "benign RMSE",
    }
    hedge = {
        "artefact_recovery": lambda p: 0 * p,
        "ghost": lambda p: p,
        "artefact_rmse": lambda p: 1 - p,
    }
    figure, axes = plt.subplots(1, 4, figsize=(7.4, 2.5))
    ratios = np.array(sorted({row["poison.ratio"] for row in rows if row["model"] != "original"}))
    for ax, (key, title) in zip(axes, titles.items(), strict=True):
        if key in hedge:
            ax.plot(ratios, hedge[key](ratios), color=GREY, ls=":", lw=1, label="hedge line")
        else:
            level = np.mean([row[key] for row in original])
            ax.axhline(level, color=GREY, ls="--", lw=1, label="original network")
        for method, colour in COLOURS.items():
            groups = [
                [row[key] for row in rows if row["model"] == method and row["poison.ratio"] == p]
                for p in ratios
            ]
            means = [np.mean(group) for group in groups]
            look = {"color": colour, "marker": MARKERS[method], "label": NAMES[method]}
            ax.plot(ratios, means, ms=4, lw=1.1, **look)
            for p, group in zip(ratios, groups, strict=True):
                ax.plot([p, p], [min(group), max(group)], color=colour, lw=0.8)
        ax.set(xscale="log", title=title, xlabel="poisoning ratio p")
        ax.set_xticks([0.01, 0.05, 0.2], ["0.01", "0.05", "0.2"])
        ax.minorticks_off()
    handles = {
        label: handle
        for ax in axes
        for handle, label in zip(*ax.get_legend_handles_labels(), strict=True)
    }
    figure.legend(handles.values(), handles, loc="lower center", ncols=4, frameon=False, fontsize=7)
    figure.tight_layout(rect=(0, 0.09, 1, 1))
    save(figure, "ratio")
    plt.close(figure)


def until(row: Row) -> str:
    """Images until the transition, in words."""
    when = row["transition_samples"]
    return f"≥ {row['samples']:,}" if when is None else f"{when:,}"


def operator(rows: list[Row]) -> None:
    """Table of operators: images until the transition and reconstruction error, by seed."""
    lines = ["| operator | m/n | σ | images until learnt, by seed | benign RMSE there |"]
    lines.append("|:---|---:|---:|---:|---:|")
    points: dict[str, list[Row]] = {}
    for row in rows:
        points.setdefault(row["point"], []).append(row)
    for group in points.values():
        one = group[0]
        when = ", ".join(until(row) for row in group)
        error = np.mean([row["benign_rmse"] for row in group])
        lines.append(
            f"| {one['operator.name']} | {one['operator.ratio']:g} | {one['operator.sigma']:g} | "
            f"{when} | {error:.3f} |"
        )
    (HERE / "operators.md").write_text("\n".join(lines) + "\n", encoding="utf-8")


def injection(rows: list[Row]) -> None:
    """Table of where the trigger enters: images until the transition, by seed."""
    lines = ["| operator | enters by | L2 in z | images until learnt, by seed | recovery there |"]
    lines.append("|:---|:---|---:|---:|---:|")
    points: dict[str, list[Row]] = {}
    for row in rows:
        points.setdefault(row["point"], []).append(row)
    for group in points.values():
        one = group[0]
        recovery = np.mean([row["artefact_recovery"] for row in group])
        lines.append(
            f"| {one['operator.name']} | {one['trigger.inject']} | {one['attack.l2']:g} | "
            f"{', '.join(until(row) for row in group)} | {recovery:.2f} |"
        )
    (HERE / "injection.md").write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
