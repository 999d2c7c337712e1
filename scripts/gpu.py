"""What a machine with a GPU says: the CUDA tests, and how fast training and attacks are there.

    python scripts/gpu.py [--data FOLDER] [--wheels FOLDER] [--json FILE] [--dry-run]

Needs PyTorch 2.11 or newer with CUDA, and no network: other packages may be carried as wheels,
which are unpacked beside the results. It writes the file anew after every figure, leaves out what
there is no time for, and says so. With --dry-run all of it runs on the CPU at the least size; its
numbers mean nothing, and it lists the packages that were needed.
"""

import argparse
import importlib
import importlib.metadata
import json
import os
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable
from pathlib import Path

HERE = Path(__file__).resolve().parents[1]
BUILD = HERE / "build" / "gpu"


def main() -> int:
    """Run everything that there is time for; returns the exit status."""
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument(
        "--data", type=Path, help="folder of the full MNIST; default: 5,000 digits"
    )
    options.add_argument("--wheels", type=Path, help="folder with wheels of what is not installed")
    options.add_argument("--json", type=Path, default=BUILD / "gpu.json")
    options.add_argument("--most-seconds", type=float, default=480)
    options.add_argument("--dry-run", action="store_true", help="on the CPU, at the least size")
    arguments = options.parse_args()
    sys.path.insert(0, str(HERE / "src"))
    if arguments.wheels is not None:
        unpack(arguments.wheels)
    try:
        import torch

        sys.path.insert(0, str(HERE / "scripts"))
        import _gpu_figures as figures
    except ImportError as error:
        print(
            f"gpu: {error.name} is not installed; put its wheel into a folder and give --wheels "
            "FOLDER (a --dry-run elsewhere lists all that is needed)",
            file=sys.stderr,
        )
        return 2
    if not (arguments.dry_run or torch.cuda.is_available()):
        print("gpu: torch finds no GPU; --dry-run goes through all on the CPU", file=sys.stderr)
        return 2
    deadline = time.monotonic() + arguments.most_seconds
    found: dict[str, object] = {"dry_run": arguments.dry_run, **figures.machine()}
    steps = {"tests": lambda: tests(deadline)} | figures.of(arguments.dry_run, arguments.data)
    failed = False
    for name, measure in steps.items():
        found[name], fault = attempt(measure, deadline)
        failed |= fault
        print(f"{name}: {json.dumps(found[name])[:300]}", flush=True)
        found["packages"] = packages()
        arguments.json.parent.mkdir(parents=True, exist_ok=True)
        arguments.json.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    print(f"written: {arguments.json}")
    if arguments.dry_run:
        sys.path.insert(0, str(HERE / "tests"))
        importlib.import_module("test_cuda")  # what the tests need is needed too
        print("needed beside torch:", " ".join(packages()))
    return int(failed)


def attempt(measure: Callable[[], object], deadline: float) -> tuple[object, bool]:
    """What a figure is, or why there is none, and whether it failed: the others go on."""
    if time.monotonic() > deadline:
        return {"left_out": "no time was left"}, False
    begun = time.monotonic()
    try:
        found = measure()
    except Exception as error:  # noqa: BLE001 (whatever it is, it is written down)
        return {"failed": " ".join(f"{type(error).__name__}: {error}".split())[:2000]}, True
    failed = isinstance(found, dict) and bool(found.get("failed"))
    return {"took_s": round(time.monotonic() - begun, 1), "found": found}, failed


def unpack(folder: Path) -> None:
    """A wheel is an archive of what lies on Python's path; nothing has to be installed."""
    target = BUILD / "packages"
    for wheel in sorted(folder.glob("*.whl")):
        with zipfile.ZipFile(wheel) as archive:
            archive.extractall(target)
    sys.path.insert(1, str(target))


def tests(deadline: float) -> dict[str, object]:
    """The tests marked `cuda`, in a process of their own."""
    command = [sys.executable, "-m", "pytest", "-m", "cuda", "tests/test_cuda.py", "-q", "-ra"]
    paths = [str(HERE / "src"), str(HERE / "tests"), *filter(None, sys.path)]
    done = subprocess.run(
        [*command, "-p", "no:cacheprovider", "-o", "filterwarnings="],
        cwd=HERE,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(paths)},
        capture_output=True,
        text=True,
        check=False,
        timeout=max(1.0, deadline - time.monotonic()),
    )
    last = (done.stdout + done.stderr).strip().splitlines()[-12:]
    return {"failed": done.returncode != 0, "said": last}


def packages() -> list[str]:
    """NAME==VERSION of every package that was imported, but for torch and what it brings."""
    owners = importlib.metadata.packages_distributions()
    loaded = {name.partition(".")[0] for name in sys.modules}
    names = {owner for name in loaded for owner in owners.get(name, ())}
    own = ("torch", "nvidia", "triton", "cuda")
    return sorted(
        f"{name}=={importlib.metadata.version(name)}"
        for name in names
        if not name.lower().startswith((*own, "recondoor"))
    )


if __name__ == "__main__":
    raise SystemExit(main())
