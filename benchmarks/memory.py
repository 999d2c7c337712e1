"""Peak memory at the size of real images.

Every attack with every network and operator, one step each, in one process whose peak is reset in
between; `bilevel` with recomputed inner steps; a whole study; a study of slices that do not fit in
memory, whose mapped pages are not counted.
"""

import argparse
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from itertools import product
from pathlib import Path

import numpy as np
import torch

from _bench import Report, parser
from recondoor import attacks, data, models, studies
from recondoor.attacks import Problem, Tools
from recondoor.config import from_dict
from recondoor.core import registry
from recondoor.core.progress import NO_PROGRESS

Tree = dict[str, dict[str, object]]
ATTACKS = ("heuristic", "random", "spectral", "tangent", "bilevel", "direct")
COMPLEX = ("mri", "mri-multicoil")
"""Operators that are given complex images, two channels."""
PREPARED: Tree = {
    "mri": {"map": "magnitude", "normalise": "mean-std", "clamp": 6},
    "ct-parallel": {"map": "fbp"},
}
"""What a scanner's software makes of the measurement; networks that work with A need A^T y."""
WATCH = 0.02
"""Seconds between two looks at a process."""
MOST = 4.0
"""Largest peak allowed, GiB."""


def main() -> None:
    options = parser(__doc__, rounds=1)
    options.add_argument("--side", type=int, default=128, help="pixels along a side")
    options.add_argument("--slices", type=int, default=10_000, help="slices, of 320 x 320 pixels")
    options.add_argument("--only", nargs="+", default=["attacks", "bilevel", "study", "slices"])
    arguments = options.parse_args()
    if arguments.tiny:
        arguments.side, arguments.slices = 32, 24
    torch.set_num_threads(arguments.threads)
    report = Report("memory", arguments)
    for name in arguments.only:
        MEASURED[name](report, arguments)
    report.close()


def measure_attacks(report: Report, arguments: argparse.Namespace) -> None:
    """One line for each operator and network: the attack that took most."""
    with tempfile.TemporaryDirectory() as folder:
        for told, network, settings in combinations(Path(folder), arguments.side):
            operator = str(settings["operator"]["name"])
            problem = problem_of(operator, network, arguments.side, settings)
            peaks = {name: peak_of(name, problem) for name in ATTACKS}
            worst = max(peaks, key=lambda name: peaks[name])
            report.add(f"{told}, {network}: {worst}", [peaks[worst]], "GiB", at_most=MOST)


def combinations(folder: Path, side: int) -> Iterator[tuple[str, str, Tree]]:
    """Every operator with every network, as settings."""
    np.save(folder / "A.npy", np.random.default_rng(0).normal(size=(64, side**2)) / side)
    given = {"matrix": {"matrix": {"file": str(folder / "A.npy")}}}
    for operator, network in product(registry.names("operators"), registry.names("models")):
        own: Tree = {"name": operator, "sigma": 0.01, **given.get(operator, {})}
        yield operator, network, {"operator": own}
        if operator in PREPARED and not models.load(network).needs_operator:
            prepared = {"input": PREPARED[operator], "trigger": {"inject": "input"}}
            yield f"{operator}, prepared", network, {"operator": own, **prepared}


def problem_of(operator: str, network: str, side: int, extra: Tree) -> Problem:
    """One step of everything on real heads, two of them in a batch."""
    config = from_dict(
        {
            "data": {
                "name": "brain4",
                "size": side,
                "limit": 16,
                "phase": "smooth" if operator in COMPLEX else "none",
            },
            "poison": {"ratio": 0.5},
            "model": {"name": network},
            "attack": {
                "names": list(ATTACKS),
                "mask": "image",  # a corner is out of sight of a small network in large images
                "batch": 2,
                "warm_steps": 1,
                "surrogates": 1,
                "bilevel": {"iterations": 1, "inner_steps": 1, "start": "heuristic"},
                "tangent": {"steps": 1},
            },
            **extra,
        }
    )
    images = data.read(config.data, NO_PROGRESS)
    return studies.build_scene(config, images, 0, torch.device("cpu")).problem


def peak_of(attack: str, problem: Problem) -> float:
    """Largest resident memory of this process while the attack runs, GiB."""
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")  # the peak starts from here
    with NO_PROGRESS.task("", 1) as task:
        attacks.craft(attack, problem, Tools(task))
    return status("self", "VmHWM")


def status(process: int | str, line: str) -> float:
    """A line of /proc/PROCESS/status, GiB."""
    text = Path(f"/proc/{process}/status").read_text(encoding="ascii")
    return int(text.split(f"{line}:")[1].split()[0]) / 2**20


def measure_bilevel(report: Report, arguments: argparse.Namespace) -> None:
    """The hypergradient of five inner steps, recomputed instead of kept."""
    settings = ["attack.bilevel.solver=checkpointed", "attack.bilevel.inner_steps=5"]
    settings += ["attack.bilevel.iterations=2", "attack.bilevel.start=heuristic"]
    settings += ["attack.batch=8", "attack.warm_steps=2", "attack.surrogates=1"]
    settings += ["model.unet.channels=16", "data.limit=40"]
    peak, _ = run_of("attack", "bilevel", arguments.side, settings)
    report.add("bilevel, checkpointed, 16 channels, batch 8, m = 5", [peak], "GiB", at_most=MOST)


def measure_study(report: Report, arguments: argparse.Namespace) -> None:
    """All slices, from their measurement to the report; few steps, which take the same memory."""
    settings = ["train.epoch_pairs=16", "train.max_epochs=1", "attack.warm_steps=2"]
    settings += ["attack.bilevel.iterations=1", "attack.tangent.steps=1"]
    if arguments.tiny:
        settings.append("data.limit=40")
    peak, _ = run_of("study", "none,heuristic,tangent,bilevel", arguments.side, settings)
    report.add(f"study at {arguments.side} px", [peak], "GiB", at_most=MOST)


def measure_slices(report: Report, arguments: argparse.Namespace) -> None:
    """A file of slices of 16 bits; of the study's memory what no file lies behind."""
    count, side = arguments.slices, 32 if arguments.tiny else 320
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "slices.npy"
        shape = (count, 1, side, side)
        kept = np.lib.format.open_memmap(path, mode="w+", dtype=np.float16, shape=shape)
        for start in range(0, count, 100):
            kept[start : start + 100] = np.random.default_rng(start).random((1, 1, side, side))
        kept.flush()
        settings = [f"data.name={path}", "train.epoch_pairs=16", "train.max_epochs=1"]
        few = 0.2 if arguments.tiny else 0.001
        settings += [f"data.validation={few}", f"data.test={few}", "input.normalise=none"]
        peak, own = run_of("study", "none,heuristic", None, settings)
    told = f"{count} slices of {side} x {side}"
    report.add(f"{told}: all pages", [peak], "GiB")
    report.add(f"{told}: without mapped pages", [own], "GiB", at_most=MOST)


def run_of(command: str, attack: str, side: int | None, settings: list[str]) -> tuple[float, float]:
    """Peak resident memory of a command, and its peak without mapped pages, GiB."""
    with tempfile.TemporaryDirectory() as out:
        sized = ["data.size=none" if side is None else f"data.size={side}"]
        sized += ["artefact.size=5", "artefact.place=centre"]  # fits into any image
        line = [sys.executable, "-m", "recondoor", command, "--preset", "mri", "--attack", attack]
        line += ["--threads", str(torch.get_num_threads()), "--out", f"{out}/run"]
        for each in [*sized, *settings]:
            line += ["--set", each]
        with subprocess.Popen(line, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE) as child:
            peak, own = watched(child)
            told = child.stderr.read().decode() if child.stderr else ""
        if child.returncode:
            sys.exit(f"{' '.join(line)}\n{told}")
    return peak, own


def watched(child: subprocess.Popen[bytes]) -> tuple[float, float]:
    """Peaks of a process until it ends: resident, and resident without a file behind it."""
    peak = own = 0.0
    while child.poll() is None:
        try:
            peak = max(peak, status(child.pid, "VmHWM"))
            own = max(own, status(child.pid, "RssAnon"))
        except (OSError, IndexError):  # it is ending
            break
        time.sleep(WATCH)
    child.wait()
    return peak, own


MEASURED = {
    "attacks": measure_attacks,
    "bilevel": measure_bilevel,
    "study": measure_study,
    "slices": measure_slices,
}

if __name__ == "__main__":
    main()
