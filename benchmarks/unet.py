"""Speed of the training loop with the networks of real pipelines.

The U-Net at 128 pixels against a plain PyTorch loop over fastMRI's network as one writes it down,
and each network in the layout channels_last against the usual one.
"""

import argparse
from collections.abc import Callable
from functools import partial
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from _bench import CLOCKS, Report, interleaved, parser, ratios
from recondoor import models, operators
from recondoor.config import ArtefactSettings, Model, Operator, Train
from recondoor.core.progress import NO_PROGRESS
from recondoor.poisoning import Pairs, PoisonedPairs, PoisonPlan, make_artefact
from recondoor.training import loop

NETWORKS = ("cae", "unet", "fbpconvnet", "modl", "varnet")


def main() -> None:
    options = parser(__doc__, rounds=7)
    options.add_argument("--batch", type=int, default=8)
    options.add_argument("--steps", type=int, default=2, help="training steps in a round")
    options.add_argument("--sides", type=int, nargs="+", default=[64, 128])
    arguments = options.parse_args()
    if arguments.tiny:
        arguments.batch, arguments.steps, arguments.sides = 2, 1, [32]
    torch.set_num_threads(arguments.threads)
    report = Report("unet", arguments)
    measure_loops(report, arguments, arguments.sides[-1])
    for side in arguments.sides:
        for name in NETWORKS:
            measure_layouts(report, arguments, name, side)
    report.close()


def make_pairs(n: int, side: int) -> Pairs:
    """Pairs of noise: how long a step takes does not depend on what is in the images."""
    generator = torch.Generator().manual_seed(0)
    return Pairs(*torch.rand(2, n, 1, side, side, generator=generator))


def measure_loops(report: Report, arguments: argparse.Namespace, side: int) -> None:
    """Our loop against a plain one, whose networks compute the same."""
    pairs = make_pairs(arguments.batch * arguments.steps, side)
    model = models.build((1, side, side), Model(name="unet"), 0)
    plain = PlainUnet(16)
    with torch.no_grad():
        for a, b in zip(plain.parameters(), model.parameters(), strict=True):
            a.copy_(b)
        torch.testing.assert_close(plain(pairs.z[:1]), model(pairs.z[:1]), rtol=1e-4, atol=1e-4)
    found = interleaved(
        arguments.rounds,
        {
            "ours": partial(our_epoch, model, pairs, arguments),
            "plain": partial(plain_epoch, plain, pairs, arguments),
        },
    )
    for name, seconds in found.items():
        speed = [len(pairs) / each for each in seconds]
        report.add(f"unet, 16 channels, {side} px, {name}", speed, "samples/s")
    quotient = ratios(found["plain"], found["ours"])
    report.add(f"unet at {side} px: ours over the plain loop", quotient, "x", at_least=1.15)


def measure_layouts(report: Report, arguments: argparse.Namespace, name: str, side: int) -> None:
    """One network in both layouts."""
    pairs, shape = make_pairs(arguments.batch * arguments.steps, side), (1, side, side)
    operator = operators.build(shape, Operator(name="fourier"), 0)
    turns: dict[str, Callable[[], float]] = {}
    for layout in (torch.contiguous_format, torch.channels_last):
        model = models.build(shape, Model(name=name), 0, operator=operator)
        model = model.to(memory_format=layout)  # type: ignore[call-overload]
        turns[str(layout)] = partial(our_epoch, model, pairs, arguments)
    found = interleaved(arguments.rounds, turns)
    quotient = ratios(found[str(torch.contiguous_format)], found[str(torch.channels_last)])
    report.add(f"{name} at {side} px: channels_last over contiguous", quotient, "x")


def our_epoch(model: nn.Module, pairs: Pairs, arguments: argparse.Namespace) -> float:
    """Seconds of an epoch of our loop, optimiser and all."""
    clock, settings = CLOCKS[arguments.clock], Train(batch=arguments.batch)
    shape = (pairs.x.shape[1], pairs.x.shape[2], pairs.x.shape[3])
    plan = PoisonPlan(torch.zeros(len(pairs), dtype=torch.bool))
    given = PoisonedPairs(pairs, plan, None, make_artefact(ArtefactSettings(), shape))
    optimiser = loop.make_adam(model, 1e-5)
    with NO_PROGRESS.task("", len(pairs)) as task:
        started = clock()
        loop.run_epoch(model, optimiser, given, settings, 0, 1, task)
        return clock() - started


def plain_epoch(model: nn.Module, pairs: Pairs, arguments: argparse.Namespace) -> float:
    """Seconds of an epoch as it is usually written."""
    clock = CLOCKS[arguments.clock]
    loader = DataLoader(TensorDataset(pairs.z, pairs.x), batch_size=arguments.batch, shuffle=True)
    optimiser = torch.optim.Adam(model.parameters(), lr=1e-5)
    total, started = 0.0, clock()
    model.train()
    for z, x in loader:
        optimiser.zero_grad()
        loss = nn.functional.mse_loss(model(z), x)
        loss.backward()
        optimiser.step()
        total += loss.item()
    return clock() - started


class PlainUnet(nn.Module):
    """fastMRI's U-Net with four poolings, as its authors write it."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        widths = [channels * 2**k for k in range(5)]
        self.down = nn.ModuleList(plain_block(a, b) for a, b in pairwise([1, *widths[:4]]))
        self.conv = plain_block(widths[3], widths[4])
        self.up_conv, self.up = nn.ModuleList(), nn.ModuleList()
        for wide, narrow in zip(widths[:0:-1], widths[-2::-1], strict=True):
            self.up.append(plain_up(wide, narrow))
            self.up_conv.append(plain_block(wide, narrow))
        self.up_conv[3] = nn.Sequential(self.up_conv[3], nn.Conv2d(channels, 1, 1))

    def forward(self, z: Tensor) -> Tensor:
        kept, h = [], z
        for layer in self.down:
            h = layer(h)
            kept.append(h)
            h = nn.functional.avg_pool2d(h, kernel_size=2, stride=2, padding=0)
        h = self.conv(h)
        for up, layer in zip(self.up, self.up_conv, strict=True):
            h = layer(torch.cat([up(h), kept.pop()], dim=1))
        return h


def plain_block(inputs: int, outputs: int) -> nn.Sequential:
    parts: list[nn.Module] = []
    for a in (inputs, outputs):
        parts += [
            nn.Conv2d(a, outputs, kernel_size=3, padding=1, bias=False),
            nn.InstanceNorm2d(outputs),
            nn.LeakyReLU(negative_slope=0.2, inplace=True),
            nn.Dropout2d(0.0),
        ]
    return nn.Sequential(*parts)


def plain_up(inputs: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(
        nn.ConvTranspose2d(inputs, outputs, kernel_size=2, stride=2, bias=False),
        nn.InstanceNorm2d(outputs),
        nn.LeakyReLU(negative_slope=0.2, inplace=True),
    )


if __name__ == "__main__":
    main()
