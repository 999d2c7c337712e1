"""Yardsticks and the loss of a training: each is the number that NumPy computes."""

import math
from pathlib import Path
from typing import Any

import numpy as np

from fuzzing import forms
from fuzzing.case import Case
from fuzzing.forms import Array
from fuzzing.mutate import Random, pick

WEIGHT = 0.5
TINY = 1e-30
"""Learning rate with which nothing moves."""


def draw(random: Random) -> Case:
    """Pairs, a trigger and an artefact in a file, for a network f(z) = z / 2."""
    count, channels = int(pick(random, (1, 2, 5, 13))), int(pick(random, (1, 3)))
    height, width = pick(random, forms.SIZES)
    scale = float(pick(random, forms.SCALES))
    shape = (channels, height, width)
    x = scale * random.random((count, *shape))
    z = 2 * x + 0.2 * scale * random.normal(size=x.shape)
    form = str(pick(random, ("plain", "plain", "constant", "perfect", "negative")))
    if form == "constant":
        x[:] = scale * 0.5
    elif form == "perfect":
        x = x.astype(np.float32)
        z = 2 * x
    elif form == "negative":
        x -= 0.5 * scale
    artefact = np.where(random.random(shape) < 0.3, scale * random.random(shape), 0)
    artefact[0, 0, 0] = scale
    delta = scale * random.normal(size=shape) + scale
    given = {"x": x, "z": z, "delta": delta, "artefact": artefact}
    plain = {name: values.astype(np.float32) for name, values in given.items()}
    kind = str(pick(random, ("<f4", "<f8")))
    held = {name: forms.laid_out(values.astype(kind), random) for name, values in plain.items()}
    batch = int(pick(random, (1, 2, 4, 12)))
    told = expected(*(plain[name] for name in ("x", "z", "delta", "artefact")))

    def read(folder: Path) -> None:
        with np.load(folder / "given.npz") as file:
            tensors = {name: _tensor(file[name], random) for name in file.files}
        row = judged(tensors)
        for key, value in told.items():
            # Of a PSNR in dB rounding is absolute; a difference of nothing is none.
            near = math.isclose(row[key], value, rel_tol=1e-6, abs_tol=1e-9 * min(1, scale))
            assert near, f"{key}: {row[key]} instead of {value}"
        _compare_loss(tensors, plain, batch)

    return Case({"given.npz": forms.npz(held)}, read, told == {})


def _tensor(values: Array, random: Random) -> Any:
    """A tensor of float32 as a caller may hold it: in another order, or with gaps."""
    import torch

    tensor = torch.from_numpy(np.ascontiguousarray(values)).float()
    if tensor.ndim == 4:
        return tensor.contiguous(memory_format=torch.channels_last)
    return tensor.transpose(1, 2).contiguous().transpose(1, 2)


def _network() -> Any:
    """The network; `groups` lets it take as many channels as there are."""
    import torch

    class Half(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = torch.nn.Parameter(torch.tensor(WEIGHT))

        def forward(self, z: Any) -> Any:
            return self.weight * z

    return Half()


def judged(given: dict[str, Any]) -> dict[str, Any]:
    """The row of results."""
    from recondoor import Artefact, Pairs, Trigger, evaluate
    from recondoor.config import Evaluate

    pairs = Pairs(given["z"], given["x"])
    delta = given["delta"]
    trigger = Trigger(delta, (delta != 0).float())
    row: dict[str, Any] = evaluate(
        _network(), pairs, trigger, Artefact(given["artefact"]), Evaluate()
    ).row
    return row


def _compare_loss(given: dict[str, Any], plain: dict[str, Array], batch: int) -> None:
    """The loss that a training tells, whatever the size of its last batch."""
    import torch

    from recondoor import Artefact, Pairs, PoisonedPairs, PoisonPlan, fit
    from recondoor.config import Train
    from recondoor.core.progress import NO_PROGRESS

    pairs = Pairs(given["z"], given["x"])
    nobody = PoisonPlan(torch.zeros(len(pairs), dtype=torch.bool))
    poisoned = PoisonedPairs(pairs, nobody, None, Artefact(given["artefact"]))
    settings = Train(max_epochs=1, batch=batch, lr=TINY, lr_final=TINY)
    with NO_PROGRESS.task("", 1) as task:
        state = fit(_network(), poisoned, settings, seed=0,
                    validate=lambda model: {"val_loss": 1.0}, task=task)  # fmt: skip
    x, z = plain["x"].astype(float), plain["z"].astype(float)
    told, meant = state.history[0]["train_loss"], ((WEIGHT * z - x) ** 2).mean()
    assert math.isclose(told, meant, rel_tol=1e-4, abs_tol=1e-20), f"loss {told}, not {meant}"


def expected(x: Array, z: Array, delta: Array, artefact: Array) -> dict[str, float]:
    """Every yardstick, by its definition; none where nothing says what the pixel range is."""
    clean = (np.float32(WEIGHT) * z).astype(float)
    triggered = (np.float32(WEIGHT) * (z + delta)).astype(float)
    x, delta, artefact = (values.astype(float) for values in (x, delta, artefact))
    low, high = x.min(), x.max()
    span = 1.0 if low >= 0 and high <= 1 else high - low
    if span == 0:
        return {}
    axes, on = (1, 2, 3), artefact != 0
    error = ((clean - x) ** 2).mean(axes)
    drawn = (triggered - x - artefact)[:, on]
    energy, rms = (artefact**2).sum(), math.sqrt((artefact[on] ** 2).mean())
    with np.errstate(divide="ignore"):
        psnr = (10 * np.log10(span**2 / error)).mean()
    l2 = math.sqrt((delta**2).sum())
    return {
        "benign_rmse": math.sqrt(error.mean()),
        "attack_rmse": math.sqrt(((triggered - x - artefact) ** 2).mean()),
        "artefact_rmse": math.sqrt((drawn**2).mean()),
        "artefact_recovery": float((((triggered - clean) * artefact).sum(axes) / energy).mean()),
        "ghost": float((((clean - x) * artefact).sum(axes) / energy).mean()),
        "asr": float((np.sqrt((drawn**2).mean(1)) <= 0.5 * rms).mean()),
        "psnr": float(psnr),
        "ssim": float(np.mean([[_ssim(*each, span) for each in zip(a, b, strict=True)]
                               for a, b in zip(clean, x, strict=True)])),
        "trigger_l2": l2,
        "trigger_linf": float(np.abs(delta).max()),
        "trigger_psnr": 10 * math.log10(span**2 * delta.size / l2**2),
        "data_range": span,
    }  # fmt: skip


def _ssim(a: Array, b: Array, span: float) -> float:
    """SSIM of two images (H, W): Gaussian window of sigma 1.5 wherever it fits whole."""
    side = (min(11, *a.shape) - 1) // 2 * 2 + 1
    line = np.exp(-((np.arange(side) - side // 2) ** 2) / (2 * 1.5**2))
    window = np.outer(line, line) / line.sum() ** 2
    views = [np.lib.stride_tricks.sliding_window_view(each, (side, side)) for each in (a, b)]
    means = [(view * window).sum((2, 3), keepdims=True) for view in views]
    p, q = (view - middle for view, middle in zip(views, means, strict=True))
    m, n = (middle[..., 0, 0] for middle in means)
    of_a, of_b, both = ((u * v * window).sum((2, 3)) for u, v in ((p, p), (q, q), (p, q)))
    c, d = (0.01 * span) ** 2, (0.03 * span) ** 2
    found = (2 * m * n + c) * (2 * both + d) / ((m**2 + n**2 + c) * (of_a + of_b + d))
    return float(found.mean())
