"""Does `references auto` keep its false alarms? `python auto.py HALF`, or a cell's name.

A cell is an architecture, a data set and an operator. References and planted backdoors are trained
by the audit's own recipe on two people that the user trusts. Suspects are trained on two others by
a recipe of their own: clean ones, and some with a backdoor. Every network is looked at once.
Halves are design, score, fresh and last. Resumable: auto.jsonl gets a line a network. `python
auto.py rates` applies the audit's rule to all draws of `NEEDED` references, of which an audit would
train just so many, and `python auto.py agreeing` to those in which the errors agree. `python
auto.py alike` applies it with the clean suspects as references.
"""

from __future__ import annotations

import itertools
import json
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean, median
from typing import Any

import torch
from torch import Tensor, nn

from recondoor import config, data, defences, operators
from recondoor.audit._guard import undisturbed
from recondoor.audit._networks._model import together
from recondoor.audit._networks._trained import ALIKE, Training, error, train_references
from recondoor.core import seeding
from recondoor.defences import Defender, Finding
from recondoor.models._unet import UNet
from recondoor.models.cae import ConvolutionalAutoencoder
from recondoor.poisoning import Pairs

HERE = Path(__file__).parent
SIDE, ALARM, NEEDED, LEARNT = 24, 0.1, 9, 0.5
POOL, CLEAN, POISONED, PLANTED = 11, 8, 4, 2
EPOCHS, STEPS, BATCH = 15, 400, 16
KINDS = ("clean", "learnt")
DETECTORS = ("erased-trigger", "trigger-inversion")
RULES = {**{f"`{name}`": (name,) for name in DETECTORS}, "both together": DETECTORS}

Row = dict[str, Any]


def unet() -> nn.Module:
    """FastMRI's, small."""
    return UNet(1, 1, 8, 2, 0.0)


def autoencoder() -> nn.Module:
    """The paper's, small."""
    return ConvolutionalAutoencoder(1, 24, 16, 5)


class Residual(nn.Module):
    """A chain of convolutions with batch normalisation that corrects its input, as DnCNN does."""

    def __init__(self) -> None:
        super().__init__()
        inner = [
            layer
            for _ in range(3)
            for layer in (
                nn.Conv2d(24, 24, 3, padding=1, bias=False),
                nn.BatchNorm2d(24),
                nn.ReLU(),
            )
        ]
        first, last = nn.Conv2d(1, 24, 3, padding=1), nn.Conv2d(24, 1, 3, padding=1)
        self.body = nn.Sequential(first, nn.ReLU(), *inner, last)

    def forward(self, z: Tensor) -> Tensor:
        """Reconstruct (B, 1, H, W) from z of the same shape."""
        return z + self.body(z)


class Plain(nn.Module):
    """Convolutions without a way round them, with group normalisation."""

    def __init__(self) -> None:
        super().__init__()
        widths = (1, 24, 24, 24)
        layers: list[nn.Module] = []
        for before, after in itertools.pairwise(widths):
            layers += [nn.Conv2d(before, after, 5, padding=2), nn.GroupNorm(4, after), nn.SiLU()]
        self.body = nn.Sequential(*layers, nn.Conv2d(24, 1, 5, padding=2))

    def forward(self, z: Tensor) -> Tensor:
        """Reconstruct (B, 1, H, W) from z of the same shape."""
        made: Tensor = self.body(z)
        return made


@dataclass(frozen=True)
class Cell:
    """A make: a network, people and how they were measured."""

    half: str
    make: Callable[[], nn.Module]
    people: str
    operator: str


CELLS = {
    "unet-brain4": Cell("design", unet, "brain4", "fourier"),
    "unet-chest4": Cell("score", unet, "chest4", "blur"),
    "autoencoder-chest4": Cell("score", autoencoder, "chest4", "fourier"),
    "residual-brain4": Cell("score", Residual, "brain4", "blur"),
    "unet-brain4-downsample": Cell("score", unet, "brain4", "downsample"),
    "autoencoder-brain4": Cell("score", autoencoder, "brain4", "blur"),
    "unet-digits": Cell("fresh", unet, "mnist5k", "pixel-mask"),
    "autoencoder-digits": Cell("fresh", autoencoder, "mnist5k", "fourier"),
    "residual-chest4": Cell("fresh", Residual, "chest4", "downsample"),
    "unet-chest4-gaussian": Cell("fresh", unet, "chest4", "gaussian"),
    "plain-brain4": Cell("fresh", Plain, "brain4", "fourier"),
    "unet-brain4-mask": Cell("last", unet, "brain4", "pixel-mask"),
    "autoencoder-chest4-blur": Cell("last", autoencoder, "chest4", "blur"),
    "residual-digits": Cell("last", Residual, "mnist5k", "fourier"),
    "plain-chest4": Cell("last", Plain, "chest4", "blur"),
    "unet-digits-gaussian": Cell("last", unet, "mnist5k", "gaussian"),
}


def pairs(cell: Cell, images: Tensor, seed: int, turns: int) -> Pairs:
    """Inputs and images, turned and mirrored."""
    small = nn.functional.adaptive_avg_pool2d(images, SIDE)
    x = torch.cat(
        [torch.rot90(flip, k, (2, 3)) for flip in (small, small.flip(3)) for k in range(turns)]
    )
    settings = config.Operator(name=cell.operator, sigma=0.01)
    operator = operators.build((1, SIDE, SIDE), settings, 0)
    return Pairs(operator.measure(x, torch.Generator().manual_seed(seed)), x)


def patterns(z: Tensor, number: int) -> tuple[Tensor, Tensor]:
    """A square of the usual L2 of z, and a disc elsewhere."""
    generator = seeding.torch_generator(number, "study")
    places = torch.randint(2, SIDE - 6, (2, 2), generator=generator).tolist()
    (top, left), (down, across) = places
    delta, artefact = torch.zeros(1, SIDE, SIDE), torch.zeros(1, SIDE, SIDE)
    delta[:, top : top + 3, left : left + 3] = 1
    usual = float(z.square().mean().sqrt()) * SIDE
    artefact[:, down : down + 4, across + 1 : across + 3] = 0.6
    artefact[:, down + 1 : down + 3, across : across + 4] = 0.6
    return delta * usual / delta.norm(), artefact


def suspect(cell: Cell, own: Pairs, number: int, poisoned: bool) -> tuple[nn.Module, float]:
    """A network by a recipe of its own, and its recovery of the artefact on the same inputs."""
    z, x = own.z, own.x
    with seeding.torch_global(number, "suspect", int(poisoned)):
        net = cell.make()
        delta, artefact = patterns(z, number)
        chosen = (torch.rand(len(z)) < (0.3 if poisoned else 0.0)).float().view(-1, 1, 1, 1)
        z_bad, x_bad = z + chosen * delta, x + chosen * artefact
        optimiser = torch.optim.AdamW(net.parameters(), lr=2e-3)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 4e-3, total_steps=STEPS)
        for _ in range(STEPS):
            index = torch.randint(len(z), (BATCH,))
            loss = (net(z_bad[index]) - x_bad[index]).abs().mean()
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            schedule.step()
    with torch.no_grad():
        change = net(z[:64] + delta) - net(z[:64])
        recovery = float((change * artefact).sum((1, 2, 3)).mean() / artefact.square().sum())
    return net.eval(), recovery


def looked(net: nn.Module, held: Pairs, **known: object) -> Row:
    """What detectors find, through the pairs that no reference was trained on."""
    started = time.process_time()
    found: Row = {}
    for name in DETECTORS:
        with undisturbed(net, 0, name):
            finding = defences.network_detector(name).inspect(Defender(held, model=net))
        found[name] = {"score": finding.score, "measures": dict(finding.measures)}
    seconds = time.process_time() - started
    return {**known, "error": error(net, held), "seconds": round(seconds, 1), "found": found}


def images(people: str) -> tuple[Tensor, Tensor]:
    """What the user trusts, and what suspects are trained on: other people, or other digits."""
    found = data.load(people)
    if found.test is None:
        digits = torch.from_numpy(found.train[:350]).float()
        return digits[:200], digits[200:]
    return torch.from_numpy(found.train).float(), torch.from_numpy(found.test).float()


def measure(name: str, out: Path) -> None:
    """All networks of a cell that the file lacks."""
    cell = CELLS[name]
    known = {row["id"] for row in rows(out)}
    users, others = images(cell.people)
    own, trusted = pairs(cell, others, 0, 4), pairs(cell, users, 1, 1)
    how = Training(EPOCHS, PLANTED, cell.make, Path("/tmp") / f"auto-references-{name}")
    started = time.process_time()
    trained = train_references(cell.make(), trusted, POOL, how, seed=0, fewest=40)
    seconds = (time.process_time() - started) / (POOL + PLANTED)
    jobs: list[tuple[str, Callable[[], tuple[nn.Module, float | None]]]] = []
    for kind, models in (("reference", trained.clean), ("planted", trained.planted)):
        jobs += [(f"{name}-{kind}-{k}", lambda m=m: (m, None)) for k, m in enumerate(models)]  # type: ignore[misc]
    for kind, count in (("clean", CLEAN), ("poisoned", POISONED)):
        jobs += [
            (f"{name}-{kind}-{k}", lambda k=k, bad=kind == "poisoned": suspect(cell, own, k, bad))  # type: ignore[misc]
            for k in range(count)
        ]
    for key, make in jobs:
        if key not in known:
            net, recovery = make()
            kind = key.removeprefix(f"{name}-").rsplit("-", 1)[0]
            row = looked(net, trained.held, id=key, cell=name, kind=kind, recovery=recovery)
            row["trained_in"] = round(seconds, 1)
            with out.open("a") as file:
                file.write(json.dumps(row) + "\n")


def rows(out: Path) -> list[Row]:
    """What is known so far."""
    return [json.loads(line) for line in out.read_text().splitlines()] if out.exists() else []


def rates(found: list[Row]) -> None:
    """Print how often draws of references put a suspect above all that the rule allows."""
    print(f"| half | make | kind | networks | {' | '.join(RULES)} |")
    print(f"|:---|:---|:---|---:|{'---:|' * len(RULES)}")
    for (name, cell), kind in itertools.product(CELLS.items(), KINDS):
        own = [row for row in found if row["cell"] == name and kind_of(row) == kind]
        shares = [
            sum(above(found, row, names) for row in own) / len(own) if own else float("nan")
            for names in RULES.values()
        ]
        told = " | ".join(f"{100 * share:.0f} %" if own else "" for share in shares)
        print(f"| {cell.half} | {name} | {kind} | {len(own)} | {told} |")


def agreeing(found: list[Row]) -> None:
    """Print how often a network's error is near the median of its references', and what then."""
    names = RULES["both together"]
    for half, kind in itertools.product(dict.fromkeys(c.half for c in CELLS.values()), KINDS):
        near = []
        for row in found:
            if CELLS[row["cell"]].half == half and kind_of(row) == kind:
                for drawn in draws(found, row):
                    usual = median(each["error"] for each in drawn)
                    if usual / ALIKE <= row["error"] <= usual * ALIKE:
                        near.append((row["cell"], accused([*drawn, row], names, ALARM)))
        for cell in dict.fromkeys(cell for cell, _ in near):
            own = [bad for name, bad in near if name == cell]
            print(f"{half}, {kind}, {cell}: {len(own)} draws, {100 * fmean(own):.0f} % accused")
        told = f"{100 * fmean(bad for _, bad in near):.0f} % accused" if near else "none"
        print(f"{half}, {kind}: {len(near)} draws, {told}")


def draws(found: list[Row], row: Row) -> list[tuple[Row, ...]]:
    """All that an audit of this network might have trained."""
    others = [r for r in found if (r["kind"], r["cell"]) == ("reference", row["cell"])]
    return list(itertools.combinations(others, NEEDED))


def kind_of(row: Row) -> str:
    """What a network counts as: a poisoned one that did not learn the backdoor is neither."""
    learnt = row["kind"] == "poisoned" and row["recovery"] > LEARNT
    return "learnt" if learnt else str(row["kind"])


def above(found: list[Row], row: Row, names: tuple[str, ...]) -> float:
    """The share of draws of `NEEDED` references that accuse a network."""
    return fmean(accused([*drawn, row], names, ALARM) for drawn in draws(found, row))


def accused(networks: Sequence[Row], names: tuple[str, ...], alarm: float) -> bool:
    """Whether the audit's rule accuses the last network; the others are its references."""
    scores = [
        defences.network_detector(name).compare(
            [_finding(each["found"][name]) for each in networks]
        )
        for name in names
    ]
    return any(flagged for _, flagged in together(torch.tensor(scores, dtype=torch.float64), alarm))


def alike(found: list[Row]) -> None:
    """Print what the rule says where the references are clean suspects, of the same recipe.

    Of clean networks one of a make is accused by each rule, whichever it is: the rates are exact.
    """
    learnt = [row for row in found if kind_of(row) == "learnt"]
    for told, names in RULES.items():
        count = 0
        for row in learnt:
            clean = [r for r in found if (r["kind"], r["cell"]) == ("clean", row["cell"])]
            count += accused([*clean, row], names, 1 / (len(clean) + 1))
        print(f"{told}: {count} of {len(learnt)}")


def _finding(row: Row) -> Finding:
    return Finding(row["score"], measures=row["measures"])


if __name__ == "__main__":
    torch.set_num_threads(1)
    if sys.argv[1] == "rates":
        rates(rows(HERE / "auto.jsonl"))
    if sys.argv[1] == "agreeing":
        agreeing(rows(HERE / "auto.jsonl"))
    if sys.argv[1] == "alike":
        alike(rows(HERE / "auto.jsonl"))
    for cell_name, each in CELLS.items():
        if sys.argv[1] in (each.half, cell_name):
            measure(cell_name, HERE / "auto.jsonl")
