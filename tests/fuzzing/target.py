"""A target of the fuzzer, and the ways to damage its files."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from fuzzing import forge, mutate, volumes
from fuzzing.mutate import Random

Mutator = Callable[[bytes, Random], bytes]


@dataclass(frozen=True)
class Target:
    """What is fuzzed.

    Args:
        name: of the target.
        write: puts valid files into an empty folder.
        read: reads them through the public entry.
        share: inputs of this target, as a share of all.
        damaged: suffixes of the files that are damaged; the others stay valid.
        makes: patterns of the files that `read` may make in that folder.
        patience: seconds after which an input counts as a hang.
    """

    name: str
    write: Callable[[Path], object]
    read: Callable[[Path], object]
    share: float
    damaged: tuple[str, ...]
    makes: tuple[str, ...] = ()
    patience: float = 5.0


# Beside damage to bytes, which every kind of file gets.
MUTATORS: dict[str, tuple[Mutator, ...]] = {
    ".toml": (mutate.retoken,) * 5,
    ".txt": (mutate.retoken,) * 5,
    ".json": (mutate.json_tree, mutate.json_tree, mutate.json_tree, mutate.retoken),
    ".jsonl": (mutate.json_line, mutate.json_line, mutate.retoken),
    ".npy": (forge.npy_head, forge.npy_head, forge.npy_values, forge.npy_values, forge.npy_pickle),
    ".npz": (forge.npz,) * 5 + (forge.npz_sizes, forge.npz_bomb),
    ".png": (forge.png,) * 3,
    ".safetensors": (forge.safetensors,) * 3,
    ".onnx": (),
    ".parquet": (forge.parquet,) * 5,
    ".h5": (forge.h5,) * 3,
    ".nii": (volumes.nifti_head,) * 4,
    ".nrrd": (volumes.nrrd_head,) * 4,
    ".hdr": (mutate.retoken,) * 3,
    ".cfl": (),
    ".dcm": (),
    "": (forge.idx,) * 2,
    ".gz": (forge.idx,) * 2,
}


def mutated(files: dict[str, bytes], target: Target, random: Random) -> dict[str, bytes]:
    """Valid files, of which one is damaged."""
    names = [name for name in sorted(files) if Path(name).suffix in target.damaged]
    name = mutate.pick(random, names)
    makers = (mutate.damage, *MUTATORS[Path(name).suffix])
    try:
        changed = mutate.pick(random, makers)(files[name], random)
    except (ValueError, TypeError, OverflowError, OSError, RuntimeError):
        # What cannot even be written.
        changed = mutate.damage(files[name], random)
    return files | {name: changed}
