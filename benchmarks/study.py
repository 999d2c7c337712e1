"""CPU time of a whole `study` beyond its training steps, attack steps and evaluations.

The study runs with few epochs and iterations. Its fixed costs and its costs per step are measured
in its own process, and what the preset as it ships would cost follows from the number of its steps.
With --whole, the preset itself is run and nothing is extrapolated.

What is left are fixed costs: importing torch and scipy (start and imports), torch.optim's import of
its compiler when the first optimiser is made, and matplotlib's figures (report). They are the same
for a study of any length; one of few epochs, as `smoke`, is mostly made of them and misses the bar.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from _bench import Report, parser
from recondoor.config import leaves, load_config

BAR = 5.0
PROBE = Path(__file__).with_name("_study_probe.py")
REDUCED = {"train.max_epochs": 1, "attack.bilevel.iterations": 4, "attack.warm_steps": 4}

# What each kind of work is repeated for; the work is everything but the overhead.
WORK: dict[str, str | None] = {
    "training steps": "train.max_epochs",
    "training steps: batches": "train.max_epochs",
    "validations": "train.max_epochs",
    "warm-up steps": "attack.warm_steps",
    "hypergradient steps": "attack.bilevel.iterations",
    "growth steps of the start": None,
    "test evaluations": None,
}
# Overhead that grows with the number of epochs or iterations; the other kinds are fixed costs.
LOOPS: dict[str, str | None] = {
    "training between its steps": "train.max_epochs",
    "attack between its steps": "attack.bilevel.iterations",
    "files": "train.max_epochs",
}


@dataclass(frozen=True)
class Spent:
    """CPU seconds of one study by kind; `total` is the operating system's own count."""

    total: float
    kinds: dict[str, float]

    @property
    def work(self) -> float:
        """Seconds in training steps, attack steps and evaluations."""
        return sum(self.kinds.get(kind, 0.0) for kind in WORK)

    @property
    def overhead(self) -> dict[str, float]:
        """Seconds of everything else, by kind."""
        rest = {kind: spent for kind, spent in self.kinds.items() if kind not in WORK}
        return rest | {"the rest": self.total - sum(self.kinds.values())}


def main() -> None:
    options = parser(__doc__, rounds=1)
    options.add_argument("--preset", default="quick")
    options.add_argument("--set", action="append", default=[], metavar="KEY=VALUE")
    options.add_argument("--whole", action="store_true", help="run the preset unreduced")
    arguments = options.parse_args()
    if arguments.tiny:
        arguments.preset = "smoke"
        arguments.set += ["data.limit=100", "model.width=2", "attack.mask=image"]
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    report = Report("study", arguments)
    runs = [measure(arguments) for _ in range(arguments.rounds)]
    for kind in dict.fromkeys(kind for run in runs for kind in run.kinds):
        report.add(kind, [run.kinds.get(kind, 0.0) for run in runs], "CPU s")
    report.add("the rest", [run.overhead["the rest"] for run in runs], "CPU s")
    report.add("whole study as run here", [run.total for run in runs], "CPU s")
    shares = [100 * (run.total / run.work - 1) for run in runs]
    if arguments.whole:
        report.add(f"overhead, preset {arguments.preset}", shares, "%", at_most=BAR)
    else:
        report.add("overhead of the reduced study, mostly fixed costs", shares, "%")
        preset = [scaled(run, arguments) for run in runs]
        whole = f"preset {arguments.preset}, all its epochs"
        report.add(f"{whole}: work", [run.work for run in preset], "CPU s")
        report.add(f"{whole}: overhead", [run.total - run.work for run in preset], "CPU s")
        shares = [100 * (run.total / run.work - 1) for run in preset]
        report.add(f"{whole}: overhead", shares, "%", at_most=BAR)
    report.close()


def measure(arguments: argparse.Namespace) -> Spent:
    """Run one study in a process of its own."""
    settings = list(arguments.set)
    if not arguments.whole:
        settings += [f"{key}={value}" for key, value in REDUCED.items()]
    with tempfile.TemporaryDirectory() as folder:
        record = Path(folder) / "record.json"
        command = [sys.executable, str(PROBE), str(record), "study", "--preset", arguments.preset]
        command += ["--threads", str(arguments.threads), "--out", str(Path(folder) / "run")]
        command += [word for setting in settings for word in ("--set", setting)]
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        if done.returncode:
            sys.exit(f"the study failed:\n{done.stderr}")
        measured = json.loads(record.read_text(encoding="utf-8"))
    total = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return Spent(total, {"start and imports": measured["start"], **measured["seconds"]})


def scaled(run: Spent, arguments: argparse.Namespace) -> Spent:
    """What the preset as it ships costs, from a reduced run of it."""
    settings = dict(leaves(load_config(arguments.preset, (), arguments.set).model_dump()))
    growth: dict[str | None, float] = {None: 1.0}
    growth |= {key: settings[key] / value for key, value in REDUCED.items()}
    kinds = {
        kind: seconds * growth[(WORK | LOOPS).get(kind)] for kind, seconds in run.kinds.items()
    }
    return Spent(sum(kinds.values()) + run.overhead["the rest"], kinds)


if __name__ == "__main__":
    main()
