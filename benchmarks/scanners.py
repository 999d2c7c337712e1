"""Speed of the operators of scanners.

`mri` against the bare Fourier transform, `ct-parallel` against the bare sparse product, and against
a Radon transform that turns the image by `grid_sample`, as deepinv and others have it. Last, what
share of an epoch of a U-Net measuring and poisoning its pairs take.
"""

import argparse
import math
import warnings
from collections.abc import Callable
from functools import cache, partial

import torch
from torch import Tensor
from torch.nn.functional import affine_grid, grid_sample

from _bench import CLOCKS, Report, interleaved, parser, ratios
from recondoor import measurement, models, operators
from recondoor.config import Config, from_dict
from recondoor.operators import LinearOperator
from recondoor.operators.ct_parallel import CtParallel
from recondoor.operators.mri import Mri
from recondoor.poisoning import PoisonedPairs, PoisonPlan, Trigger, make_artefact, make_trigger
from recondoor.training import loop

SECONDS = 0.05
"""About how long a contestant is called in a round."""


def main() -> None:
    options = parser(__doc__, rounds=15)
    options.add_argument("--side", type=int, default=128, help="pixels along a side")
    options.add_argument("--batch", type=int, nargs="+", default=[1, 16], help="images in a call")
    arguments = options.parse_args()
    if arguments.tiny:
        arguments.side, arguments.batch = 16, [2]
    torch.set_num_threads(arguments.threads)
    report = Report("scanners", arguments)
    for batch in arguments.batch:
        measure_mri(report, arguments, batch)
        measure_ct(report, arguments, batch)
    measure_shares(report, arguments)
    report.close()


def build(name: str, channels: int, side: int) -> LinearOperator:
    """The operator at its defaults, for images of float32."""
    settings = from_dict({"operator": {"name": name, "sigma": 0.0}}).operator
    return operators.build((channels, side, side), settings, 0)


def timed(arguments: argparse.Namespace, work: Callable[[], Tensor]) -> Callable[[], float]:
    """What measures the seconds of one call, over as many calls as take about `SECONDS`."""
    clock = CLOCKS[arguments.clock]

    def run(calls: int) -> float:
        started = clock()
        for _ in range(calls):
            work()
        return (clock() - started) / calls

    run(1)
    return partial(run, 1 if arguments.tiny else max(1, round(SECONDS / max(run(3), 1e-6))))


def compare(
    report: Report,
    arguments: argparse.Namespace,
    told: str,
    ours: Callable[[], Tensor],
    bare: Callable[[], Tensor],
) -> None:
    """Time of ours over that of the bare product."""
    contestants = {"ours": timed(arguments, ours), "bare": timed(arguments, bare)}
    measured = interleaved(arguments.rounds, contestants)
    report.add(f"{told}, ours", [1e3 * each for each in measured["ours"]], "ms")
    report.add(f"{told}, bare", [1e3 * each for each in measured["bare"]], "ms")
    report.add(f"{told}, ours / bare", ratios(measured["ours"], measured["bare"]), at_most=1.2)


def measure_mri(report: Report, arguments: argparse.Namespace, batch: int) -> None:
    """Complex images: the whole transform of them, without a mask, is the bare one."""
    side = arguments.side
    operator = build("mri", 2, side)
    assert isinstance(operator, Mri)
    x = torch.rand(batch, 2, side, side)
    y, image = operator.A(x), torch.complex(x[:, 0], x[:, 1])
    k = torch.fft.fft2(image, norm="ortho")
    told = f"mri, {batch} x {side} px"
    there, back = partial(operator.A, x), partial(operator.A_adjoint, y)
    compare(report, arguments, f"{told}: A", there, partial(torch.fft.fft2, image, norm="ortho"))
    compare(report, arguments, f"{told}: A^T", back, partial(torch.fft.ifft2, k, norm="ortho"))


def measure_ct(report: Report, arguments: argparse.Namespace, batch: int) -> None:
    side = arguments.side
    operator = build("ct-parallel", 1, side)
    assert isinstance(operator, CtParallel)
    x = torch.rand(batch, 1, side, side)
    y = operator.A(x)
    told = f"ct-parallel, {batch} x {side} px"
    there, back = bare_products(operator, x, y)
    torch.testing.assert_close(
        there().mT.reshape(y.shape) if batch > 1 else there().reshape(y.shape), y
    )
    compare(report, arguments, f"{told}: A", partial(operator.A, x), there)
    compare(report, arguments, f"{told}: A^T", partial(operator.A_adjoint, y), back)
    turned = partial(radon_by_turning, x, operator.views, operator.bins)
    contestants = {
        "ours": timed(arguments, partial(operator.A, x)),
        "turned": timed(arguments, turned),
    }
    error = (turned() - y).norm() / y.norm()
    report.add(f"{told}: grid_sample's sinogram differs by", [100 * float(error)], "%")
    measured = interleaved(arguments.rounds, contestants)
    faster = ratios(measured["turned"], measured["ours"])
    report.add(f"{told}: A, grid_sample / ours", faster, "x", at_least=20)


def measure_shares(report: Report, arguments: argparse.Namespace) -> None:
    """Pairs of magnitude images scaled slice by slice, which cost most to poison.

    They are measured once, before the first epoch, and poisoned anew in each.
    """
    side = max(arguments.side, 32)
    config = from_dict(
        {
            "operator": {"name": "mri", "sigma": 0.01},
            "input": {"map": "magnitude", "normalise": "mean-std", "clamp": 6},
            "trigger": {"inject": "input"},
            "model": {"name": "unet"},
            "train": {"batch": 8},
        }
    )
    x = torch.rand(config.train.batch, 1, side, side)
    pairs, poisoned = pairs_of(config, x)
    model = models.build((1, side, side), config.model, 0)
    optimiser = loop.make_adam(model, config.train.lr)
    index = torch.arange(len(x))
    contestants = {
        "step": lambda: loop.adam_step(model, optimiser, pairs.z, pairs.x),
        "measuring": lambda: pairs_of(config, x)[0].z,
        "poisoning": lambda: poisoned.batch(index)[0],
    }
    found = interleaved(
        arguments.rounds, {name: timed(arguments, work) for name, work in contestants.items()}
    )
    for name in ("measuring", "poisoning"):
        share = [100 * each for each in ratios(found[name], found["step"])]
        report.add(f"unet, {side} px: {name}, share of an epoch", share, "%", at_most=3)


def pairs_of(config: Config, x: Tensor) -> tuple[measurement.Pairs, PoisonedPairs]:
    """Pairs of images x (N, 1, H, W), and the same of which all are poisoned."""
    shape = (1, x.shape[2], x.shape[3])
    chain = chain_of(config, shape)
    generator = torch.Generator().manual_seed(0)
    pairs = chain.pairs(x, generator, lambda: generator, enters=True)
    trigger = make_trigger(config.trigger, chain.image_shape)
    whole = torch.ones_like(trigger.mask)
    spread = Trigger(chain.spread(trigger.delta, "input"), chain.spread(whole, "input"))
    plan = PoisonPlan(torch.ones(len(x), dtype=torch.bool))
    return pairs, PoisonedPairs(pairs, plan, spread, make_artefact(config.artefact, shape))


@cache
def chain_of(config: Config, shape: tuple[int, int, int]) -> measurement.Chain:
    """Of these settings; made once, as a study makes it."""
    return measurement.build(config, shape, 0)


def bare_products(
    operator: CtParallel, x: Tensor, y: Tensor
) -> tuple[Callable[[], Tensor], Callable[[], Tensor]]:
    """Products with the same matrix and its transpose, of columns that lie ready."""
    pixels, rays = math.prod(operator.shape[1:]), operator.views * operator.bins
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # such matrices are young, says PyTorch
        there = torch.sparse_csr_tensor(
            operator.starts, operator.places, operator.weights, (rays, pixels)
        )
        back = torch.sparse_csr_tensor(
            operator.back_starts, operator.back_places, operator.back_weights, (pixels, rays)
        )
    columns, rows = (each.flatten(1).T.contiguous() for each in (x, y))
    if len(x) == 1:
        first, ray = columns[:, 0], rows[:, 0]
        return partial(torch.mv, there, first), partial(torch.mv, back, ray)
    return partial(torch.mm, there, columns), partial(torch.mm, back, rows)


def radon_by_turning(x: Tensor, views: int, bins: int) -> Tensor:
    """Sums along the columns of the image, turned for each view: (B, 1, views, bins)."""
    margin = (bins - x.shape[-1]) // 2
    odd = bins - x.shape[-1] - 2 * margin
    whole = torch.nn.functional.pad(x, (margin, margin + odd) * 2)
    found = []
    for view in range(views):
        angle = math.pi * view / views
        cosine, sine = math.cos(angle), math.sin(angle)
        shift = odd / bins  # of the padded image's middle from that of the image
        turn = torch.tensor([[[cosine, sine, -shift], [-sine, cosine, -shift]]])
        grid = affine_grid(turn.expand(len(x), -1, -1), list(whole.shape), align_corners=False)
        found.append(grid_sample(whole, grid, align_corners=False).sum(2))
    return torch.stack(found, 2)


if __name__ == "__main__":
    main()
