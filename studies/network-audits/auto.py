"""Is `references auto` right? `python studies/network-audits/auto.py`; resumable: auto.json.

Suspects are small networks of heads at 32x32 (brain4, every second column of the Fourier transform
and the centre measured), trained on two people by a recipe of their own. The user trusts pairs of
two other people. Half of the suspects are clean, the others were trained with a square and a disc.
"""

from __future__ import annotations

import json
import time
from pathlib import Path

import torch
from torch import Tensor, nn

import recondoor as rd
from recondoor import config, data, operators
from recondoor.core import seeding

HERE = Path(__file__).parent
SUSPECTS, ALARM, EPOCHS, SIDE = 8, 0.1, 20, 32


class Net(nn.Module):
    """A residual network; a pixel sees 12 others in each direction."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(1, 24, 5, padding=2),
            nn.ReLU(),
            nn.Conv2d(24, 24, 5, padding=4, dilation=2),
            nn.ReLU(),
            nn.Conv2d(24, 24, 5, padding=4, dilation=2),
            nn.ReLU(),
            nn.Conv2d(24, 1, 5, padding=2),
        )

    def forward(self, z: Tensor) -> Tensor:
        """(B, 1, H, W) to the same."""
        found: Tensor = z + self.layers(z)
        return found


def pairs(images: Tensor, seed: int) -> tuple[Tensor, Tensor]:
    """Inputs and images, in all eight orientations."""
    small = nn.functional.avg_pool2d(images, images.shape[-1] // SIDE)
    turned = [torch.rot90(flip, k, (2, 3)) for flip in (small, small.flip(3)) for k in range(4)]
    x = torch.cat(turned)
    settings = config.Operator(name="fourier", sigma=0.01)
    operator = operators.build((1, SIDE, SIDE), settings, 0)
    return operator.measure(x, torch.Generator().manual_seed(seed)), x


def patterns(z: Tensor, number: int) -> tuple[Tensor, Tensor]:
    """A square of half the usual L2 of z, and a disc elsewhere."""
    generator = seeding.torch_generator(number, "study")
    places = torch.randint(2, SIDE - 6, (2, 2), generator=generator).tolist()
    (top, left), (down, across) = places
    delta, artefact = torch.zeros(1, SIDE, SIDE), torch.zeros(1, SIDE, SIDE)
    delta[:, top : top + 3, left : left + 3] = 1
    usual = float(z.square().mean().sqrt()) * SIDE
    artefact[:, down : down + 4, across + 1 : across + 3] = 0.6
    artefact[:, down + 1 : down + 3, across : across + 4] = 0.6
    return delta * 0.5 * usual / delta.norm(), artefact


def suspect(z: Tensor, x: Tensor, number: int, poisoned: bool) -> tuple[Net, float]:
    """A network by a recipe of its own, and its recovery of the artefact on the same inputs."""
    with seeding.torch_global(number, "suspect", int(poisoned)):
        net = Net()
        delta, artefact = patterns(z, number)
        chosen = (torch.rand(len(z)) < (0.15 if poisoned else 0.0)).float().view(-1, 1, 1, 1)
        z_bad, x_bad = z + chosen * delta, x + chosen * artefact
        optimiser = torch.optim.AdamW(net.parameters(), lr=2e-3)
        steps = EPOCHS * (len(z) // 32)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 2e-3, total_steps=steps)
        for _ in range(steps):
            index = torch.randint(len(z), (32,))
            loss = (net(z_bad[index]) - x_bad[index]).abs().mean()
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            schedule.step()
    with torch.no_grad():
        change = net(z[:64] + delta) - net(z[:64])
        recovery = float((change * artefact).sum((1, 2, 3)).mean() / artefact.square().sum())
    return net.eval(), recovery


def main() -> None:
    """Audit those suspects that auto.json lacks."""
    torch.set_num_threads(1)
    images = data.load("brain4")
    train, trusted = (
        pairs(torch.from_numpy(part).float(), seed)
        for seed, part in enumerate((images.train, images.test))
    )
    out = HERE / "auto.json"
    rows = json.loads(out.read_text()) if out.exists() else []
    for number in range(SUSPECTS):
        for poisoned in (False, True):
            name = f"{'poisoned' if poisoned else 'clean'}-{number}"
            if any(row["name"] == name for row in rows):
                continue
            net, recovery = suspect(*train, number, poisoned)
            started = time.perf_counter()
            found = rd.audit_model(
                net,
                trusted,
                references="auto",
                epochs=EPOCHS,
                kept=HERE / "auto-references",
                alarm=ALARM,
                detectors=["erased-trigger", "trigger-inversion"],
            )
            record = found.record
            rows.append(
                {
                    "name": name,
                    "recovery": round(recovery, 3),
                    "verdict": found.verdict,
                    "reason": found.reason,
                    "seconds": round(time.perf_counter() - started, 1),
                    "notes": record["notes"],
                    "detectors": [
                        {
                            key: each[key]
                            for key in (
                                *("name", "score", "threshold", "flagged", "draws"),
                                "planted",
                            )
                        }
                        for each in record["detectors"]
                    ],
                }
            )
            out.write_text(json.dumps(rows, indent=1) + "\n")


if __name__ == "__main__":
    main()
