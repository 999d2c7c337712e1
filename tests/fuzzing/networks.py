"""Files of weights, checkpoints and networks: what writes and what reads them."""

from pathlib import Path

import numpy as np


def write_tensors(folder: Path) -> None:
    from recondoor import rundir

    arrays = {"a.weight": np.ones((3, 4), np.float32), "step": np.arange(5)}
    rundir.RunDir(folder).save_checkpoint("train", 1, arrays, {"epoch": 1, "best": [1.5, None]})


def read_tensors(folder: Path) -> None:
    from recondoor import rundir

    rundir.RunDir(folder).load_checkpoint("train")
    rundir.read_tensors(folder / "checkpoints" / "train.000001.safetensors")


def write_weights(folder: Path) -> None:
    from recondoor import config, models, rundir

    settings = config.Model(width=2, code=2, kernel=3)
    model = models.build((1, 8, 8), settings, 0)
    arrays = {key: value.contiguous().numpy() for key, value in model.state_dict().items()}
    own = settings.model_dump(mode="json")
    rundir.write_tensors(folder / "ours.safetensors", arrays, {"model": own})
    (folder / "config.toml").write_text("[model]\nwidth = 2\ncode = 2\nkernel = 3\n")


def read_weights(folder: Path) -> None:
    from recondoor.audit import read_network

    read_network(str(folder / "ours.safetensors"), (1, 8, 8))


def write_onnx(folder: Path) -> None:
    import onnx_files

    (folder / "net.onnx").write_bytes(onnx_files.endless())


def read_onnx(folder: Path) -> None:
    """What the confined process does before onnxruntime sees anything."""
    from recondoor.core.errors import DataError
    from recondoor.io.confined import _onnx_copy

    try:
        copy = _onnx_copy.plain_copy((folder / "net.onnx").read_bytes())
    except _onnx_copy.Unfit as error:
        raise DataError(str(error)) from None
    assert _onnx_copy.plain_copy(copy) == copy
