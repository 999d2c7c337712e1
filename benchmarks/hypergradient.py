"""Cost of the hypergradient: time in training steps, counted passes and peak memory.

Ours against plain automatic differentiation (`create_graph`), TorchOpt and `higher`, all on the
network of the paper: at the same memory format, and as each is used by default, which for the
others is a plain contiguous network.
"""

import argparse
import os
import subprocess
import sys
from functools import partial
from pathlib import Path

import torch
from torch.utils.flop_counter import FlopCounterMode

from _bench import CLOCKS, Report, interleaved, parser, ratios
from _hypergradient_probe import MISSING, OURS, THEIRS, Derive, Problem, sgd_step

COMPARED = 2
LONGER = (5, 10, 20)
PASSES = {0.1: 16.5, 0.3: 17.5}
MEMORY_AT = 10


def main() -> None:
    options = parser(__doc__, rounds=7)
    options.add_argument("--batch", type=int, default=125)
    options.add_argument("--ratio", type=float, default=0.3, help="share of poisoned rows")
    arguments = options.parse_args()
    arguments.longer, arguments.memory_at, arguments.weighed = LONGER, MEMORY_AT, {**OURS, **THEIRS}
    if arguments.tiny:
        arguments.batch, arguments.longer, arguments.memory_at = 4, (3, 4, 5), 2
        arguments.weighed = dict.fromkeys(("checkpointed",))
    torch.set_num_threads(arguments.threads)
    report = Report("hypergradient", arguments)
    if MISSING:
        print(
            f"  not installed and left out: {', '.join(MISSING)}; pip install --constraint "
            "constraints.txt '.[bench]' brings them"
        )
    require_same_derivative(arguments)
    count_passes(report, arguments)
    measure_time(report, arguments)
    measure_growth(report, arguments)
    measure_memory(report, arguments)
    report.close()


def require_same_derivative(arguments: argparse.Namespace) -> None:
    """Everybody in both formats must agree before anybody is timed."""
    make = partial(Problem.make, COMPARED, arguments.batch, arguments.ratio)
    for contiguous in (False, True):
        problem = make(contiguous=contiguous)
        expected = THEIRS["create_graph"](problem, COMPARED)
        for name, derive in {**OURS, **THEIRS}.items():
            off = float((derive(problem, COMPARED) - expected).norm() / expected.norm())
            if off > 1e-5:
                raise SystemExit(f"{name} is off by {off:.1e}: nothing to compare")


def count_passes(report: Report, arguments: argparse.Namespace) -> None:
    """Operations of a derivative over those of one forward pass, by PyTorch's own counter."""
    for ratio, bar in PASSES.items():
        problem = Problem.make(COMPARED, arguments.batch, ratio)
        forward = operations(lambda problem=problem: problem.model(problem.z[0]))
        for name, derive in {**OURS, **THEIRS}.items():
            passes = operations(partial(derive, problem, COMPARED)) / forward
            report.add(
                f"m = {COMPARED}, p = {ratio}: {name}",
                [passes],
                "passes",
                at_most=bar if name == "unrolled" else None,
            )


def operations(call: partial[object]) -> int:
    counter = FlopCounterMode(display=False)
    with counter:
        call()
    return int(counter.get_total_flops())


def timed(derive: Derive, problem: Problem, steps: int, clock: str) -> float:
    started = CLOCKS[clock]()
    derive(problem, steps)
    return CLOCKS[clock]() - started


def measure_time(report: Report, arguments: argparse.Namespace) -> None:
    """Time at m = 2 of everybody, within one run."""
    make = partial(Problem.make, COMPARED, arguments.batch, arguments.ratio)
    run = partial(timed, steps=COMPARED, clock=arguments.clock)
    same, default = make(), make(contiguous=True)
    contestants = {"step": partial(run, sgd_step, same)}
    for name, derive in {**OURS, **THEIRS}.items():
        contestants[name] = partial(run, derive, same)
    for name, derive in THEIRS.items():
        contestants[f"{name}, default"] = partial(run, derive, default)
    measured = interleaved(arguments.rounds, contestants, warm_up=not arguments.tiny)
    for name in list(contestants)[1:]:
        report.add(f"m = {COMPARED}: {name}", ratios(measured[name], measured["step"]), "steps")
    for name in THEIRS:
        for suffix, bar in (("", 0.8), (", default", 0.5)):
            report.add(
                f"m = {COMPARED}: unrolled / {name}{suffix}",
                ratios(measured["unrolled"], measured[name + suffix]),
                "x",
                at_most=bar,
            )


def measure_growth(report: Report, arguments: argparse.Namespace) -> None:
    """Time of ours at longer inner training; linear if a step costs the same at any length."""
    longer: tuple[int, ...] = arguments.longer
    problem = Problem.make(max(longer), arguments.batch, arguments.ratio)
    run = partial(timed, problem=problem, clock=arguments.clock)
    contestants = {"step": partial(run, sgd_step, steps=1)}
    for name, derive in OURS.items():
        for steps in (COMPARED, *longer):
            contestants[f"{name} {steps}"] = partial(run, derive, steps=steps)
    measured = interleaved(max(1, arguments.rounds // 2), contestants, warm_up=not arguments.tiny)
    for name in OURS:
        for steps in longer:
            spent = measured[f"{name} {steps}"]
            report.add(f"m = {steps}: {name}", ratios(spent, measured["step"]), "steps")
        early, middle, late = (measured[f"{name} {m}"] for m in (COMPARED, *longer[1:]))
        one = [(b - a) / (longer[1] - COMPARED) for a, b in zip(early, middle, strict=True)]
        other = [(b - a) / (longer[2] - longer[1]) for a, b in zip(middle, late, strict=True)]
        report.add(f"{name}: a step from 10 on / before", ratios(other, one), "x", at_most=1.15)


def measure_memory(report: Report, arguments: argparse.Namespace) -> None:
    """Peak growth of a fresh process, everybody at the same memory format."""
    longer: tuple[int, ...] = arguments.longer
    peak = {name: peak_memory(name, arguments.memory_at, arguments) for name in arguments.weighed}
    for name, size in peak.items():
        report.add(f"peak memory, m = {arguments.memory_at}: {name}", [size / 2**20], "MiB")
    for name in [name for name in THEIRS if name in peak]:
        ratio = [peak["checkpointed"] / peak[name]]
        report.add(f"peak memory, checkpointed / {name}", ratio, "x", at_most=0.25)
    flat = {m: peak_memory("checkpointed", m, arguments) for m in (min(longer), max(longer))}
    for m, size in flat.items():
        report.add(f"peak memory, m = {m}: checkpointed", [size / 2**20], "MiB")
    ratio = [flat[max(longer)] / flat[min(longer)]]
    name = f"peak memory, checkpointed, m = {max(longer)} / m = {min(longer)}"
    report.add(name, ratio, "x", at_most=1.2)


def peak_memory(name: str, steps: int, arguments: argparse.Namespace) -> int:
    probe = str(Path(__file__).with_name("_hypergradient_probe.py"))
    figures = (steps, arguments.batch, arguments.ratio, arguments.threads)
    command = [sys.executable, probe, name, *map(str, figures)]
    # Blocks of this size and above go back when freed, so that what is resident is what is held.
    environment = {**os.environ, "MALLOC_MMAP_THRESHOLD_": str(64 * 1024)}
    answer = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, env=environment)
    return int(answer.stdout)


if __name__ == "__main__":
    main()
