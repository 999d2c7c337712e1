"""What would stop a study on this machine, and the remedy."""

import os
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path

from recondoor import data
from recondoor.core import provenance, registry
from recondoor.core.errors import DataError

FREE_GIB = 1.0


@dataclass(frozen=True)
class Finding:
    """One line: what was looked at, whether a study can run with it, and what to do if not."""

    what: str
    ok: bool
    text: str


def examine(data_dir: Path | None = None) -> list[Finding]:
    """Look at versions, device, threads, data and disk; changes nothing that stays."""
    found = [_versions(), *_torch(), _hardware()]
    found += [_data(name, data_dir) for name in registry.names("datasets")]
    return [*found, _disk(Path.cwd())]


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
        return Finding(name, name != "mnist5k", str(error))
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
