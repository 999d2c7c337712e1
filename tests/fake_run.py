"""A made-up run folder with the shapes, curves and files of a real one, made by NumPy alone."""

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float32]
Size = int | tuple[int, int]
"""A square's side, or height and width."""
P = 0.3
TAUS = [round(0.05 * i, 2) for i in range(21)]
LABELS = ("original", "heuristic", "bilevel", "random")
# What each model ends with: benign RMSE, recovery, ghost.
ENDS = {
    "original": (0.071, 0.0, 0.001),
    "heuristic": (0.083, 0.03, 0.283),
    "bilevel": (0.076, 0.93, 0.041),
    "random": (0.084, 0.01, 0.291),
    "sleeper": (0.079, 0.6, 0.12),
    "witch": (0.081, 0.2, 0.2),
}
METRICS = (
    "benign_rmse", "attack_rmse", "artefact_rmse", "artefact_recovery", "ghost", "asr", "psnr",
    "ssim", "trigger_l2", "trigger_linf", "trigger_psnr", "validation_loss", "epochs",
    "samples_per_s", "seconds",
)  # fmt: skip


def _blobs(rng: np.random.Generator, n: int, channels: int, size: Size) -> Array:
    """Strokes with soft edges, a little like handwritten digits, in [0, 1]."""
    height, width = _sides(size)
    rows, columns = (
        np.mgrid[:height, :width] / np.maximum([height - 1, width - 1], 1)[:, None, None]
    )
    images = np.zeros((n, channels, height, width), np.float32)
    for image in images:
        turns = rng.uniform(0, 2 * np.pi, 3)
        along = np.linspace(0, 1, 60)
        x = 0.5 + 0.22 * np.sin(turns[0] + 4 * along) * (0.5 + along)
        y = 0.25 + 0.5 * along + 0.08 * np.sin(turns[1] + 6 * along)
        distance = np.min((rows[..., None] - y) ** 2 + (columns[..., None] - x) ** 2, axis=-1)
        for c in range(channels):
            image[c] = np.clip(1.4 * np.exp(-distance / 0.0025) * (1 - 0.3 * c), 0, 1)
    return images


def _smooth(images: Array) -> Array:
    out = images.copy()
    for axis in (-2, -1):
        out = 0.5 * out + 0.25 * (np.roll(out, 1, axis) + np.roll(out, -1, axis))
    return out


def shapes(channels: int = 1, size: Size = 28) -> tuple[Array, Array, Array]:
    """A square trigger bottom right, its mask and a plus top left, each (C, H, W), cut to fit."""
    mask = np.zeros((channels, *_sides(size)), np.float32)
    mask[:, max(0, mask.shape[1] - 4) : max(1, mask.shape[1] - 1), -4:-1] = 1
    artefact = np.zeros_like(mask)
    artefact[:, min(4, mask.shape[1] - 1), 2:7] = artefact[:, 2:7, 4] = 1
    return mask.copy(), mask, artefact


def _sides(size: Size) -> tuple[int, int]:
    return (size, size) if isinstance(size, int) else size


def _trigger(rng: np.random.Generator, label: str, channels: int, size: Size) -> dict[str, Any]:
    delta, mask, artefact = shapes(channels, size)
    steps = np.zeros(0, np.int64)
    if label != "heuristic":
        start = rng.normal(size=delta.shape).astype(np.float32) * mask
        delta = 3 * start / np.linalg.norm(start)
    path = np.zeros((0, *delta.shape), np.float32)
    if label == "bilevel":
        steps = np.arange(0, 201, 10)
        goal = rng.normal(size=delta.shape).astype(np.float32) * mask
        share = np.linspace(0, 1, len(steps), dtype=np.float32)[:, None, None, None]
        path = (1 - share) * delta + share * goal
        path *= 3 / np.sqrt((path**2).sum((1, 2, 3), keepdims=True))
        delta = path[-1]
    return {
        "delta": delta, "mask": mask, "artefact": artefact, "path": path, "path_iteration": steps
    }  # fmt: skip


def _examples(
    rng: np.random.Generator, label: str, x: Array, z: Array, trigger: dict[str, Any]
) -> dict[str, Array]:
    _, recovery, ghost = ENDS[label]
    noise = rng.normal(0, 0.03, (2, *x.shape)).astype(np.float32)
    clean = _smooth(x) + noise[0] + ghost * trigger["artefact"]
    triggered = _smooth(x) + noise[1] + (ghost + recovery) * trigger["artefact"]
    return {
        "x": x, "z": z, "z_triggered": z + trigger["delta"],
        "clean": clean.astype(np.float32), "triggered": triggered.astype(np.float32),
    }  # fmt: skip


def _inputs(rng: np.random.Generator, x: Array) -> Array:
    """z = A^T (A x + v) for a dense Gaussian A with half as many rows as pixels."""
    pixels = x[0, 0].size
    a = rng.normal(0, (pixels / 2) ** -0.5, (pixels // 2, pixels))
    y = x.reshape(-1, pixels) @ a.T
    return ((y + rng.normal(0, 0.01, y.shape)) @ a).reshape(x.shape).astype(np.float32)


def _training(rng: np.random.Generator, label: str, seed: int, epochs: int) -> list[dict[str, Any]]:
    benign, recovery, ghost = ENDS[label]
    artefact = 9 / 784
    rows: list[dict[str, Any]] = []
    for epoch in range(1, epochs + 1):
        switch = 1 / (1 + math.exp(-2.2 * (epoch - 5 - seed))) if recovery > 0.5 else 0.0
        rho = recovery * switch if recovery > 0.5 else recovery * rng.uniform(-0.5, 1)
        leak = ghost if label == "original" else P + (ghost - P) * max(switch, 0.9 * (epoch > 1))
        leak = P * (1 - switch) + ghost * switch if recovery > 0.5 else leak
        rmse = benign + 0.09 * math.exp(-0.7 * epoch) + rng.normal(0, 0.0006)
        attack = math.sqrt(rmse**2 + (1 - rho - leak) ** 2 * artefact)
        loss = rmse**2 * (1 - P) + attack**2 * P
        rows.append(
            {
                "stage": "train", "model": label, "seed": seed, "epoch": epoch,
                "samples": 10_000 * epoch, "lr": 1e-3, "train_loss": loss * 1.05, "val_loss": loss,
                "benign_rmse": rmse, "attack_rmse": attack, "recovery": rho, "ghost": leak,
                "learnt": rho > 0.5, "best": epoch == epochs,
            }
        )  # fmt: skip
    return rows


def _attack(rng: np.random.Generator, seed: int) -> list[dict[str, Any]]:
    rows = []
    for i in range(1, 201):
        outer = 0.012 + 0.011 * math.exp(-i / 60) + abs(rng.normal(0, 0.0007))
        rows.append(
            {
                "stage": "attack", "model": "bilevel", "seed": seed, "iteration": i,
                "outer_loss": outer, "inner_loss": outer * 0.9,
                "direct_norm": 2e-3 * math.exp(rng.normal(0, 0.25) - i / 150),
                "bilevel_norm": 6e-6 * math.exp(rng.normal(0, 0.4) + i / 200),
                "cosine": rng.uniform(-1, 1), "l2": 3 - 0.3 * math.exp(-i / 30),
                "linf": 1.5, "change": 0.01,
            }
        )  # fmt: skip
    return rows


def _row(rng: np.random.Generator, label: str, seed: int, epochs: int) -> dict[str, Any]:
    benign, recovery, ghost = ENDS[label]
    benign += rng.normal(0, 0.001)
    recovery += rng.normal(0, 0.012)
    missing = 1 - recovery - ghost
    spread = np.sqrt(missing**2 + benign**2 * rng.chisquare(9, 400) / 9)
    curve = [float(np.mean(spread <= tau)) for tau in TAUS]
    return {
        "model": label, "seed": seed, "benign_rmse": benign,
        "attack_rmse": math.sqrt(benign**2 + missing**2 * 9 / 784),
        "artefact_rmse": float(np.sqrt(np.mean(spread**2))), "artefact_recovery": recovery,
        "ghost": ghost, "asr": curve[TAUS.index(0.5)], "asr_curve": curve,
        "psnr": -20 * math.log10(benign), "ssim": 0.93 - benign, "trigger_l2": 3.0,
        "trigger_linf": 1.0, "trigger_psnr": -10 * math.log10(9 / 784),
        "validation_loss": benign**2, "transition_samples": 10_000 * (5 + seed) if recovery > 0.5
        else None, "samples": 10_000 * epochs, "epochs": epochs, "samples_per_s": 1000.0 + seed,
        "seconds": 10.0 * epochs, "detectability": 4.0, "limit_ghost": 0.02,
        "limit_artefact_rmse": 0.1, "limit_attack_rmse": 0.011,
    }  # fmt: skip


def _estimate(values: Sequence[float]) -> dict[str, Any]:
    n, mean = len(values), float(np.mean(values))
    if n < 2:
        return {"mean": mean, "ci95": None, "n": n}
    half = {2: 12.706, 3: 4.303, 4: 3.182, 5: 2.776}[n] * float(np.std(values, ddof=1)) / n**0.5
    return {"mean": mean, "ci95": [mean - half, mean + half], "n": n}


def _summary(rows: list[dict[str, Any]], labels: Sequence[str], seeds: int) -> dict[str, Any]:
    def values(label: str, metric: str) -> list[float]:
        return [row[metric] for row in rows if row["model"] == label]

    models = {
        label: {metric: _estimate(values(label, metric)) for metric in METRICS} for label in labels
    }
    pairs = [(a, b) for i, b in enumerate(labels) for a in labels[i + 1 :]] if seeds > 1 else []
    paired = [
        {"a": a, "b": b, "metric": metric}
        | _estimate(np.subtract(values(a, metric), values(b, metric)).tolist())
        for a, b in pairs
        for metric in ("benign_rmse", "attack_rmse", "artefact_rmse", "artefact_recovery", "ghost")
    ]
    return {"models": models, "paired": paired}


def _ratios() -> list[dict[str, Any]]:
    rows = []
    for ratio in (0.01, 0.05, 0.1, 0.2, 0.3, 0.4):
        took = ratio >= 0.2
        rows.append(
            {
                "ratio": ratio, "validation_loss": 0.0061 + 0.004 * abs(ratio - 0.3),
                "selection_loss": 0.0081 + 0.005 * abs(ratio - 0.3),
                "benign_rmse": 0.076 + 0.02 * ratio, "attack_rmse": 0.08 if took else 0.12,
                "artefact_recovery": 0.9 if took else 0.02,
                "ghost": 0.04 if took else 0.95 * ratio, "chosen": ratio == 0.3,
            }
        )  # fmt: skip
    return rows


def results(seeds: int = 1, labels: Sequence[str] = LABELS, ratios: bool = False) -> dict[str, Any]:
    """A results.json of made-up numbers that are consistent with each other."""
    rng = np.random.default_rng(7)
    rows = [_row(rng, label, seed, 9 + seed) for label in labels for seed in range(seeds)]
    data: dict[str, Any] = {
        "schema": "recondoor.results/1",
        "config": {
            "data": {"name": "mnist5k", "validation": 0.1, "test": 0.1},
            "operator": {"name": "gaussian", "ratio": 0.5, "sigma": 0.01},
            "trigger": {"shape": "square", "size": 3, "place": "bottom-right", "file": None},
            "poison": {"ratio": P},
            "attack": {"names": ["none", "heuristic", "bilevel", "random"], "iterations": 200},
            "evaluate": {"tau": 0.5},
            "seed": 0,
            "seeds": seeds,
        },
        "provenance": {
            "versions": {"recondoor": "0.1.0", "python": "3.12.1", "torch": "2.13.0"},
            "hardware": {"cpu": "A processor with a long name, 2 cores", "cores": 2, "gpu": None},
            "threads": 2,
            "seeds": list(range(seeds)),
            "data": {
                "name": "mnist5k", "fingerprint": "4f" * 32,
                "train": 4050, "validation": 450, "test": 500,
            },
            "git": {"commit": "0123456789abcdef0123456789abcdef01234567", "dirty": False},
            "command": f"recondoor study --preset quick --seeds {seeds}",
            "started": "2030-01-01T10:00:00Z",
            "finished": "2030-01-01T10:04:31Z",
        },
        "poison_ratio": P,
        "hedge": {"ghost": P, "artefact_rmse": 1 - P, "artefact_recovery": 0.0},
        "asr_taus": TAUS,
        "rows": rows,
        "summary": _summary(rows, labels, seeds),
    }  # fmt: skip
    return data | {"ratios": _ratios()} if ratios else data


def _savez(path: Path, arrays: dict[str, Any]) -> None:
    np.savez(path, **arrays)


def write(
    folder: Path,
    *,
    seeds: int = 1,
    labels: Sequence[str] = LABELS,
    ratios: bool = False,
    channels: int = 1,
    size: Size = 28,
) -> Path:
    """Write a whole run folder and return it."""
    folder.mkdir(parents=True, exist_ok=True)
    data = results(seeds, labels, ratios)
    (folder / "results.json").write_text(json.dumps(data))
    (folder / "provenance.json").write_text(json.dumps(data["provenance"]))
    (folder / "config.toml").write_text(f"seed = 0\nseeds = {seeds}\n[poison]\nratio = {P}\n")
    rng = np.random.default_rng(3)
    x = _blobs(rng, 8, channels, size)
    z = _inputs(rng, x)
    lines: list[dict[str, Any]] = []
    for seed in range(seeds):
        for label in labels:
            trigger = _trigger(rng, label, channels, size)
            made = _examples(rng, label, x, z, trigger)
            _savez(folder / f"examples-{label}-seed{seed}.npz", made)
            if label != "original":
                _savez(folder / f"trigger-{label}-seed{seed}.npz", trigger)
            if label == "bilevel":
                lines += _attack(rng, seed)
            lines += _training(rng, label, seed, 9 + seed)
    (folder / "history.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return folder
