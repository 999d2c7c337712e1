"""What would stop a study on this machine, and the remedy."""

import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path

from recondoor import data
from recondoor.core import provenance, registry
from recondoor.core.errors import DataError

FREE_GIB = 1.0
FOR_DEVELOPERS = ("dev", "docs", "bench")
"""Extras of which a user needs none."""


@dataclass(frozen=True)
class Finding:
    """One line: what was looked at, whether it is in order, and what to do if not.

    needed: whether a study cannot run without it.
    """

    what: str
    ok: bool
    text: str
    needed: bool = True


def examine(data_dir: Path | None = None) -> list[Finding]:
    """Look at versions, device, threads, data and disk; changes nothing that stays."""
    found = [_versions(), *_torch(), _hardware()]
    found += [_data(name, data_dir) for name in registry.names("datasets")]
    return [*found, _disk(Path.cwd()), *_extras()]


def _extras() -> Iterator[Finding]:
    """Optional parts of the package, and what they lack."""
    try:
        wanted = requires("recondoor") or []
    except PackageNotFoundError:  # run from its sources alone
        return
    extras: dict[str, list[str]] = {}
    for each in wanted:
        named = re.match(r"([\w.-]+).*extra == ['\"](\w+)['\"]", each)
        if named and named[2] not in FOR_DEVELOPERS:
            extras.setdefault(named[2], []).append(named[1])
    for extra, packages in sorted(extras.items()):
        missing = [name for name in packages if not _is_installed(name)]
        text = f"not installed: {', '.join(missing)}; pip install 'recondoor[{extra}]'"
        here = f"{', '.join(packages)} installed"
        yield Finding(f"extra {extra}", not missing, text if missing else here, needed=False)


def _is_installed(package: str) -> bool:
    try:
        version(package)
    except PackageNotFoundError:
        return False
    return True


def _versions() -> Finding:
    versions = provenance.versions()
    missing = [name for name, version in versions.items() if version == "not installed"]
    text = ", ".join(f"{name} {version}" for name, version in versions.items())
    remedy = f"; install {', '.join(missing)}: pip install recondoor" if missing else ""
    return Finding("versions", not missing, text + remedy)


def _torch() -> list[Finding]:
    try:
        import torch
    except (ImportError, OSError) as error:
        text = f"torch cannot be imported ({error}); install it anew: pip install torch"
        return [Finding("torch", False, text)]
    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else None
    device = f"GPU: {gpu}" if gpu else "no GPU found; studies run on the CPU"
    threads = torch.get_num_threads()
    cores = len(os.sched_getaffinity(0))
    text = f"{threads} for {cores} usable cores"
    if threads > cores:
        text += "; more threads than cores are many times slower: use --threads or OMP_NUM_THREADS"
    return [Finding("device", True, device), Finding("threads", threads <= cores, text)]


def _hardware() -> Finding:
    facts = provenance.hardware()
    return Finding("hardware", True, f"{facts['processor']}, {facts['memory_gib']} GiB memory")


def _data(name: str, data_dir: Path | None) -> Finding:
    try:
        place = data.find(name, data_dir)
    except DataError as error:
        # Only the default set must be there: another is asked for by name, and then refused.
        return Finding(name, False, str(error), needed=name == "mnist5k")
    return Finding(
        name, True, f"found: {place}" if place else "not here; downloaded when first used"
    )


def _disk(folder: Path) -> Finding:
    free = shutil.disk_usage(folder).free / 2**30
    try:
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        return Finding("disk", False, f"{folder}: {error.strerror}; run elsewhere, or give --out")
    text = f"{free:.1f} GiB free in {folder}"
    return Finding(
        "disk", free >= FREE_GIB, text + ("" if free >= FREE_GIB else f"; free {FREE_GIB} GiB")
    )
