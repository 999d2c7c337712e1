"""Turn a checkpoint of fastMRI's U-Net (.pt, .ckpt) into a safetensors file that recondoor reads.

    python scripts/unet_to_safetensors.py CHECKPOINT.pt model.safetensors

A checkpoint is a pickle, which is a program. recondoor itself opens none. Here the file is read as
bytes and handed to a process of few rights, which loads it with `weights_only=True`: it can open no
file and no socket any more, and its memory and time are bounded. Only tensors come back. Still,
convert only what you trust.
"""

import argparse
import io
import os
import resource
import subprocess
import sys
from pathlib import Path
from typing import Any, BinaryIO

FIRST = "down_sample_layers.0.layers.0.weight"
"""A weight of every such network; what stands before it is a wrapper's, as Lightning's `unet.`."""

PARTS = ("down_sample_layers.", "conv.", "up_conv.", "up_transpose_conv.")
MEMORY, SECONDS, LARGEST = 8 << 30, 120, 4 << 30
"""Bytes and processor seconds of the confined process, and bytes of a checkpoint."""

CONFINED = "--confined"


def main() -> None:
    """Read, convert in another process, check, write."""
    options = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    options.add_argument("checkpoint", type=Path)
    options.add_argument("out", type=Path, help="a new file that ends in .safetensors")
    given = options.parse_args()
    if given.out.suffix != ".safetensors" or given.out.exists():
        options.error(f"{given.out}: give the name of a new .safetensors file")
    try:
        content = _bounded(given.checkpoint)
    except OSError as error:
        options.error(f"{given.checkpoint}: {error.strerror or error}")
    made = converted(content)
    if isinstance(made, str):
        options.error(f"{given.checkpoint}: {made}")
    print(described(made))
    given.out.write_bytes(made)


def _bounded(path: Path) -> bytes:
    if not path.is_file() or path.stat().st_size > LARGEST:
        raise OSError(f"give a file of at most {LARGEST >> 30} GiB")
    return path.read_bytes()


def converted(content: bytes) -> bytes | str:
    """A safetensors file with the U-Net's weights, or why there is none."""
    done = subprocess.run(
        # -I: nothing from the current folder or the environment.
        [sys.executable, "-I", str(Path(__file__).resolve()), CONFINED],
        input=content,
        capture_output=True,
        env={"OMP_NUM_THREADS": "1"},
        cwd="/",
        check=False,
    )
    if done.returncode == 0 and done.stdout[:1] == b"+":
        return done.stdout[1:]
    if done.returncode == 0 and done.stdout[:1] == b"-":
        return " ".join(done.stdout[1:].decode(errors="replace").split())[:500]
    return f"the process that loads it ended with code {done.returncode}"


def described(made: bytes) -> str:
    """What the file holds, from its header: nothing that the other process says is believed."""
    from safetensors import deserialize

    shapes = {name: tuple(entry["shape"]) for name, entry in deserialize(made)}
    pools = sum(name.endswith(".layers.0.weight") and name.startswith(PARTS[0]) for name in shapes)
    channels = shapes[FIRST][0]
    return f"{len(shapes)} weights of a U-Net with {channels} channels and {pools} pools"


def confined() -> None:
    """The process of few rights: bytes in, one safetensors file or one fault out."""
    import torch
    from safetensors.torch import save

    answers, requests = os.fdopen(os.dup(1), "wb"), os.fdopen(os.dup(0), "rb")
    for zipped in (True, False):  # PyTorch opens files of its own when it loads for the first time
        own = io.BytesIO()
        torch.save({"a": torch.zeros(1)}, own, _use_new_zipfile_serialization=zipped)
        torch.load(io.BytesIO(own.getvalue()), map_location="cpu", weights_only=True)
    save({"a": torch.zeros(1)})
    _give_up_rights()
    content = requests.read()
    try:
        found = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
        weights = of_unet(found)
        _say(answers, b"+" + save({key: value.contiguous() for key, value in weights.items()}))
    except Exception as error:  # noqa: BLE001 - whatever a stranger's pickle makes it raise
        _say(answers, b"-" + (str(error).partition("\n")[0] or type(error).__name__).encode())


def of_unet(found: Any) -> dict[str, Any]:
    """The U-Net's weights in a state dict or a Lightning checkpoint, without a wrapper's names."""
    import torch

    state = found.get("state_dict", found) if isinstance(found, dict) else {}
    state = state if isinstance(state, dict) else {}
    names = [name for name in state if isinstance(name, str) and name.endswith(FIRST)]
    if len(names) != 1:
        raise ValueError(f"it holds {len(names)} U-Nets with fastMRI's names of weights, not one")
    prefix = names[0].removesuffix(FIRST)
    weights = {
        name.removeprefix(prefix): value.float().clone()
        for name, value in state.items()
        if isinstance(value, torch.Tensor)
        and name.startswith(prefix)
        and name.removeprefix(prefix).startswith(PARTS)
    }
    if not all(bool(value.isfinite().all()) for value in weights.values()):
        raise ValueError("some of its weights are NaN or infinite")
    return weights


def _give_up_rights() -> None:
    used = resource.getrusage(resource.RUSAGE_SELF)
    seconds = int(used.ru_utime + used.ru_stime) + 1 + SECONDS
    for limit, value in (
        (resource.RLIMIT_AS, MEMORY),
        (resource.RLIMIT_CPU, seconds),
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_FSIZE, 0),
        (resource.RLIMIT_NOFILE, 0),  # of new ones: files, sockets, pipes
    ):
        resource.setrlimit(limit, (value, value))


def _say(answers: BinaryIO, text: bytes) -> None:
    answers.write(text)
    answers.flush()


if __name__ == "__main__":
    confined() if sys.argv[1:] == [CONFINED] else main()
