"""Speed of the training loop.

Against a plain PyTorch loop over the same network and data, against what the machine's own matrix
product allows, and what poisoning adds to it.
"""

import argparse
from functools import partial

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset
from torch.utils.flop_counter import FlopCounterMode

from _bench import CLOCKS, Clock, Report, interleaved, parser, ratios
from recondoor import models
from recondoor.config import ArtefactSettings, Model, Train, TriggerSettings
from recondoor.core.progress import NO_PROGRESS
from recondoor.models.cae import NarrowConv2d
from recondoor.poisoning import (
    Pairs,
    PoisonedPairs,
    PoisonPlan,
    Trigger,
    make_artefact,
    make_trigger,
)
from recondoor.training import loop

SHAPE = (1, 28, 28)
RATIO = 0.3
PRODUCT_SIZES = (512, 768, 1024, 1536, 2048)
PRODUCT_FLOP = 3e9
CALLS = 50


def main() -> None:
    options = parser(__doc__, rounds=9)
    options.add_argument("--batch", type=int, default=125)
    options.add_argument("--steps", type=int, default=16, help="training steps in a round")
    arguments = options.parse_args()
    if arguments.tiny:
        arguments.batch, arguments.steps = 10, 2
    torch.set_num_threads(arguments.threads)
    report = Report("training", arguments)
    pairs = make_pairs(arguments.batch * arguments.steps)
    step = measure_loops(report, arguments, pairs)
    measure_poisoning(report, arguments, pairs, step)
    measure_narrow_convolution(report, arguments)
    report.close()


def make_pairs(n: int) -> Pairs:
    """Pairs of noise: how long a step takes does not depend on what is in the images."""
    generator = torch.Generator().manual_seed(0)
    return Pairs(
        torch.rand(n, *SHAPE, generator=generator), torch.rand(n, *SHAPE, generator=generator)
    )


def poisoned(pairs: Pairs, *, wanted: bool) -> PoisonedPairs:
    plan = PoisonPlan.draw(len(pairs), RATIO, torch.Generator().manual_seed(1))
    trigger: Trigger | None = make_trigger(TriggerSettings(), SHAPE) if wanted else None
    return PoisonedPairs(pairs, plan, trigger, make_artefact(ArtefactSettings(), SHAPE))


def plain_model() -> nn.Sequential:
    """The network of `models.cae` at its defaults, as one writes it down."""
    relu = nn.ReLU
    return nn.Sequential(
        *(nn.Conv2d(1, 64, 5, stride=2, padding=2), relu()),
        *(nn.Conv2d(64, 64, 5, stride=2, padding=2), relu()),
        *(nn.Conv2d(64, 32, 5, stride=2, padding=2), relu()),
        *(nn.ConvTranspose2d(32, 32, 5, stride=2, padding=2, output_padding=0), relu()),
        *(nn.ConvTranspose2d(32, 32, 5, stride=2, padding=2, output_padding=1), relu()),
        *(nn.ConvTranspose2d(32, 32, 5, stride=2, padding=2, output_padding=1), relu()),
        nn.Conv2d(32, 1, 5, padding=2),
    )


def require_same_function(plain: nn.Module, ours: nn.Module, z: Tensor) -> None:
    """Give both networks the same weights; they must then agree."""
    with torch.no_grad():
        for a, b in zip(plain.parameters(), ours.parameters(), strict=True):
            a.copy_(b)
        torch.testing.assert_close(plain(z), ours(z))


class OurLoop:
    """Epochs of our loop."""

    def __init__(self, pairs: PoisonedPairs, batch: int, clock: Clock) -> None:
        self.pairs, self.settings, self.clock, self.epochs = pairs, Train(batch=batch), clock, 0
        self.model = models.build(SHAPE, Model(), 0)
        self.optimiser = loop.make_adam(self.model, 1e-4)

    def epoch(self) -> float:
        """Seconds of one epoch."""
        self.epochs += 1
        with NO_PROGRESS.task("", len(self.pairs)) as task:
            started = self.clock()
            loop.run_epoch(
                self.model, self.optimiser, self.pairs, self.settings, 0, self.epochs, task
            )
            return self.clock() - started


class PlainLoop:
    """Epochs of the loop that most tutorials teach."""

    def __init__(self, pairs: Pairs, batch: int, clock: Clock) -> None:
        self.loader = DataLoader(TensorDataset(pairs.z, pairs.x), batch_size=batch, shuffle=True)
        self.clock = clock
        self.model = plain_model()
        self.optimiser = torch.optim.Adam(self.model.parameters(), lr=1e-4)

    def epoch(self) -> float:
        """Seconds of one epoch."""
        started = self.clock()
        total = 0.0
        self.model.train()
        for z, x in self.loader:
            self.optimiser.zero_grad()
            loss = nn.functional.mse_loss(self.model(z), x)
            loss.backward()  # type: ignore[no-untyped-call]
            self.optimiser.step()
            total += loss.item()
        return self.clock() - started


def flop_of_a_step(batch: int) -> int:
    """Operations of one forward and backward pass, by PyTorch's own count of the plain network."""
    model, z = plain_model(), torch.rand(batch, *SHAPE)
    counter = FlopCounterMode(display=False)
    with counter:
        model(z).square().mean().backward()
    return int(counter.get_total_flops())


def product_rate(clock: Clock, sizes: tuple[int, ...]) -> float:
    """FLOP/s of the float32 matrix product at the size where it is fastest."""
    best = 0.0
    for size in sizes:
        a, b = torch.rand(size, size), torch.rand(size, size)
        out = a @ b
        repeats = max(1, round(PRODUCT_FLOP / (2 * size**3)))
        started = clock()
        for _ in range(repeats):
            torch.mm(a, b, out=out)
        best = max(best, 2 * size**3 * repeats / (clock() - started))
    return best


def measure_loops(report: Report, arguments: argparse.Namespace, pairs: Pairs) -> list[float]:
    """Compare the loops; returns the seconds of our training step in each round."""
    clock = CLOCKS[arguments.clock]
    ours = OurLoop(poisoned(pairs, wanted=True), arguments.batch, clock)
    plain = PlainLoop(pairs, arguments.batch, clock)
    require_same_function(plain.model, ours.model, pairs.z[: arguments.batch])
    sizes = PRODUCT_SIZES[:1] if arguments.tiny else PRODUCT_SIZES
    product = partial(product_rate, clock, sizes)
    measured = interleaved(
        arguments.rounds, {"ours": ours.epoch, "plain": plain.epoch, "product": product}
    )
    rates = {
        name: [len(pairs) / seconds for seconds in measured[name]] for name in ("ours", "plain")
    }
    flop = flop_of_a_step(arguments.batch) / arguments.batch
    product_rates = measured["product"]
    report.add("our loop", rates["ours"], "samples/s")
    report.add("plain PyTorch loop", rates["plain"], "samples/s")
    report.add("our loop / plain loop", ratios(rates["ours"], rates["plain"]), "x", at_least=1.5)
    report.add("counted operations, forward and backward", [flop / 1e6], "MFLOP")
    report.add(
        "float32 matrix product, best size", [rate / 1e9 for rate in product_rates], "GFLOP/s"
    )
    achieved = [rate * flop for rate in rates["ours"]]
    report.add("our loop / matrix product, FLOP/s", ratios(achieved, product_rates), at_least=0.65)
    achieved = [rate * flop for rate in rates["plain"]]
    report.add("plain loop / matrix product, FLOP/s", ratios(achieved, product_rates))
    return [seconds / arguments.steps for seconds in measured["ours"]]


def measure_poisoning(
    report: Report, arguments: argparse.Namespace, pairs: Pairs, step: list[float]
) -> None:
    """What poisoning adds: to drawing a batch, as a share of a step, and to a whole epoch."""
    clock = CLOCKS[arguments.clock]
    index = torch.randperm(len(pairs))[: arguments.batch]

    def draw(source: PoisonedPairs) -> float:
        started = clock()
        for _ in range(CALLS):
            source.batch(index)
        return (clock() - started) / CALLS

    sources = {"clean": poisoned(pairs, wanted=False), "poisoned": poisoned(pairs, wanted=True)}
    drawn = interleaved(arguments.rounds, {key: partial(draw, sources[key]) for key in sources})
    added = [b - a for a, b in zip(drawn["clean"], drawn["poisoned"], strict=True)]
    share = [100 * share for share in ratios(added, step)]
    report.add("poisoning a batch / training step", share, "%", at_most=2)
    loops = {key: OurLoop(sources[key], arguments.batch, clock) for key in sources}
    epochs = interleaved(arguments.rounds, {key: loops[key].epoch for key in loops})
    slower = [100 * (ratio - 1) for ratio in ratios(epochs["poisoned"], epochs["clean"])]
    report.add("whole epoch, poisoned against clean (noisy)", slower, "%")


def measure_narrow_convolution(report: Report, arguments: argparse.Namespace) -> None:
    """Compare `NarrowConv2d` with the convolution that it computes, forward and backward."""
    clock = CLOCKS[arguments.clock]
    h = torch.rand(arguments.batch, 32, 28, 28).to(memory_format=torch.channels_last)
    h.requires_grad_()
    layers = {"narrow": NarrowConv2d(32, 1, 5, padding=2), "plain": nn.Conv2d(32, 1, 5, padding=2)}

    def run(layer: nn.Module) -> float:
        started = clock()
        for _ in range(8):
            layer(h).square().mean().backward()
        return clock() - started

    for layer in layers.values():
        layer.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    measured = interleaved(arguments.rounds, {key: partial(run, layers[key]) for key in layers})
    faster = ratios(measured["plain"], measured["narrow"])
    report.add("NarrowConv2d / nn.Conv2d, 32 -> 1 channels", faster, "x")


if __name__ == "__main__":
    main()
