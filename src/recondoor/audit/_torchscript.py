"""TorchScript files: looked at before they are loaded, as their program runs while they are.

An archive's pickles are read by PyTorch's C++ unpickler, which knows tensors and the archive's own
classes and calls no Python. Its program is written in a language without files or processes but for
a few operations, which are looked for in its text.
"""

import re
import warnings
import zipfile
from pathlib import Path

import torch
from torch import nn

from recondoor.errors import DataError

LIMIT = 1 << 32
"""Bytes that an archive may declare: 4 GiB."""

FORBIDDEN = re.compile(
    # Files and other machines; operations of other libraries; C++ classes.
    r"\b(save|from_file|rpc_async|rpc_sync|rpc_remote)\b"
    r"|\bops\.(?!aten\b|prim\b|quantized\b)(\w+)|\btorch\.(classes)\b"
)
NAMED_AT_RUN_TIME = re.compile(r"\bgetattr\b(?!\([\w.]+, \"\w+\"\))")

REMEDY = (
    "save the weights as safetensors: from safetensors.torch import save_file; "
    "save_file(model.state_dict(), 'model.safetensors')"
)


def read_torchscript(path: Path) -> nn.Module:
    """The network in a TorchScript archive.

    Raises:
        DataError: another kind of file, among them pickles and .pt2 programs, neither of which is
            opened any further; or a program that names an operation on files.
    """
    _require_harmless(path)
    try:
        with warnings.catch_warnings():
            # PyTorch advises against TorchScript, which is the user's choice here.
            warnings.simplefilter("ignore", DeprecationWarning)
            module: nn.Module = torch.jit.load(path, map_location="cpu")  # type: ignore[no-untyped-call]
    except (RuntimeError, ValueError, OSError) as error:
        reason = str(error).strip().splitlines()[0]
        raise DataError(f"'{path}' is no readable TorchScript file ({reason[:120]})") from None
    return module


def _require_harmless(path: Path) -> None:
    if not zipfile.is_zipfile(path):
        raise DataError(
            f"'{path}' is no safetensors or TorchScript file; if torch.save wrote it, it is a "
            f"pickle, which can run any code and is not opened: {REMEDY}"
        )
    try:
        with zipfile.ZipFile(path) as archive:
            _require_torchscript(path, archive)
            for name in archive.namelist():
                if name.lower().endswith(".py"):
                    _require_plain(path, archive.read(name).decode())
    except (zipfile.BadZipFile, OSError, ValueError, RuntimeError, NotImplementedError) as error:
        raise DataError(f"'{path}' is no readable archive ({error})") from None


def _require_torchscript(path: Path, archive: zipfile.ZipFile) -> None:
    names = [name.lower() for name in archive.namelist()]
    inner = {name.partition("/")[2] for name in names}
    if {
        "archive_format",
        "models/model.json",
    } & inner or "serialized_exported_program.json" in names:
        raise DataError(
            f"'{path}' is a torch.export program, which PyTorch loads by unpickling and is not "
            f"opened: {REMEDY}; or give MODULE:FUNCTION"
        )
    is_script = "constants.pkl" in inner and any(name.startswith("code/") for name in inner)
    if not is_script or "model.json" in inner:
        raise DataError(
            f"'{path}' was written by torch.save: a pickle, which can run any code and is not "
            f"opened: {REMEDY}"
        )
    if len(set(names)) < len(names):
        raise DataError(f"'{path}' holds two files of one name; it was not written by PyTorch")
    size = sum(entry.file_size for entry in archive.infolist())
    if size > LIMIT:
        raise DataError(
            f"'{path}' declares {size / 2**30:.3g} GiB; at most {LIMIT / 2**30:g} are read"
        )


def _require_plain(path: Path, program: str) -> None:
    found = FORBIDDEN.search(program) or NAMED_AT_RUN_TIME.search(program)
    if found:
        raise DataError(
            f"'{path}': its program says '{found[0]}', which may reach files or other machines, "
            f"and is not run: {REMEDY}"
        )
