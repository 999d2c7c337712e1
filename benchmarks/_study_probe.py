"""Run one command of recondoor and write down where its CPU time went; `study.py` starts this.

Usage: _study_probe.py OUT.json ARGUMENT...   (the arguments of the command line)

Functions are replaced, in every module that has them, by ones that measure. What a measured
function spends in another one is counted there and not twice.
"""

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import recondoor.report
import recondoor.studies
from recondoor import data, operators, rundir
from recondoor.attacks import bilevel, tangent
from recondoor.cli import main
from recondoor.evaluation import judge
from recondoor.poisoning import PoisonedPairs
from recondoor.training import hypergradient, loop

STARTED = time.process_time()

seconds: dict[str, float] = {}
calls: dict[str, int] = {}
watched: set[str] = set()
_inside: list[float] = []


def measured(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
    """Return `function`, adding the CPU time of each call to `seconds`[`name`]."""
    watched.add(name)

    def call(*args: Any, **kwargs: Any) -> Any:
        _inside.append(0.0)
        started = time.process_time()
        try:
            return function(*args, **kwargs)
        finally:
            spent = time.process_time() - started
            seconds[name] = seconds.get(name, 0.0) + spent - _inside.pop()
            calls[name] = calls.get(name, 0) + 1
            if _inside:
                _inside[-1] += spent

    return call


def watch(name: str, function: Callable[..., Any], within: str = "recondoor") -> None:
    """Measure `function` wherever a module under `within` refers to it."""
    replacement = measured(name, function)
    for module_name, module in list(sys.modules.items()):
        if module_name.startswith(within):
            for attribute, value in list(vars(module).items()):
                if value is function:
                    setattr(module, attribute, replacement)


def watch_method(name: str, kind: type, method: str) -> None:
    """Measure a method."""
    setattr(kind, method, measured(name, getattr(kind, method)))


def watch_everything() -> None:
    """Put every measurement in place."""
    step = loop.adam_step
    watch("warm-up steps", step, "recondoor.attacks")
    watch("training steps", step, "recondoor.training.loop")
    watch_method("training steps: batches", PoisonedPairs, "batch")
    watch("hypergradient steps", hypergradient.solve)
    watch_method("validations", judge.Monitor, "__call__")
    watch("test evaluations", judge.evaluate)
    watch_method("training between its steps", loop.Fitting, "_eager")
    watch("growth steps of the start", tangent.tangent)
    watch_method("attack between its steps", bilevel.Bilevel, "craft")
    watch("optimisers made", loop.make_adam)
    for name in ("load", "split"):
        watch("data and operators", getattr(data, name))
    watch("data and operators", operators.build)
    for name in ("write_atomically", "read_tensors", "write_tensors"):
        watch("files", getattr(rundir, name))
    for method in ("save_checkpoint", "write_tensors", "read_tensors", "write_npz", "read_npz"):
        watch_method("files", rundir.RunDir, method)
    watch_method("files", rundir.History, "record")
    watch("report", recondoor.report.build)


if __name__ == "__main__":
    watch_everything()
    main(sys.argv[2:])
    if unseen := watched - calls.keys():
        sys.exit(f"never called, so renamed or not needed: {', '.join(sorted(unseen))}")
    record = {"start": STARTED, "seconds": seconds, "calls": calls, "end": time.process_time()}
    Path(sys.argv[1]).write_text(json.dumps(record), encoding="utf-8")
