"""The confined process itself: takes an ONNX file and images through a pipe, answers with images.

Before a byte of the file is read, memory is limited and no file or socket can be opened any more:
whatever the file makes onnxruntime do, there is nothing for it to reach.
"""

import os
import resource
from collections.abc import Callable
from typing import Any, BinaryIO

import numpy as np

from recondoor.io.confined._frames import (
    FAULT,
    IMAGES,
    LONGEST_FAULT,
    READY,
    Ended,
    Floats,
    read_exactly,
    read_header,
    read_images,
    write_frame,
)
from recondoor.io.confined._onnx_copy import Unfit, plain_copy

Run = Callable[[Floats], Floats]


def main(memory: int, seconds: int) -> None:
    """Serve until the pipe ends.

    Args:
        memory: bytes of address space.
        seconds: of processor time for each request.
    """
    import onnxruntime

    answers, requests = _pipes()
    _confine(memory)
    try:
        _, (size, *_) = read_header(requests)
        _allow(seconds)
        run = _load(onnxruntime, bytes(read_exactly(requests, size)), answers)
        while run is not None:
            _, shape = read_header(requests)
            _allow(seconds)
            _answer(run, read_images(requests, shape), answers)
    except (Ended, BrokenPipeError):
        return


def _pipes() -> tuple[BinaryIO, BinaryIO]:
    """Where answers go and requests come from; what else is printed to stdout is lost."""
    answers, requests = os.dup(1), os.dup(0)
    nowhere = os.open(os.devnull, os.O_RDWR)
    for descriptor in (0, 1, 2):
        os.dup2(nowhere, descriptor)
    os.close(nowhere)
    return os.fdopen(answers, "wb"), os.fdopen(requests, "rb")


def _confine(memory: int) -> None:
    for limit, value in (
        (resource.RLIMIT_AS, memory),
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_FSIZE, 0),
        (resource.RLIMIT_NOFILE, 0),  # of new ones: files, sockets, pipes
    ):
        resource.setrlimit(limit, (value, value))


def _allow(seconds: int) -> None:
    """So much processor time from now; the kernel ends the process after it."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    _, hard = resource.getrlimit(resource.RLIMIT_CPU)
    resource.setrlimit(
        resource.RLIMIT_CPU, (int(used.ru_utime + used.ru_stime) + 1 + seconds, hard)
    )


def _load(onnxruntime: Any, content: bytes, answers: BinaryIO) -> Run | None:
    """The network, whose input's shape is told; None if there is none, which is told too."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.enable_cpu_mem_arena = False
    options.log_severity_level = 4
    # What is checked is run as it is; and never taken for onnxruntime's own format.
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.add_session_config_entry("session.load_model_format", "ONNX")
    try:
        content = plain_copy(content)
        session = onnxruntime.InferenceSession(content, options, ["CPUExecutionProvider"])
        one_in, one_out = _single(session.get_inputs()), _single(session.get_outputs())
    except Exception as error:  # noqa: BLE001 - onnxruntime's have no other base
        _tell(error, answers)
        return None
    first, *others = (size if isinstance(size, int) else -1 for size in one_in.shape)
    write_frame(answers, READY, (first, others[0], others[1], others[2]), b"")
    return lambda z: _of_floats(session.run([one_out.name], {one_in.name: z})[0])


def _single(values: list[Any]) -> Any:
    """The one input or output there has to be, of images."""
    found = [f"{value.type} of {len(value.shape or [])} dimensions" for value in values]
    if found != ["tensor(float) of 4 dimensions"]:
        raise Unfit(
            f"it takes or gives {', '.join(found[:3]) or 'nothing'}; expected one input and one "
            "output of images (B, C, H, W) in float32"
        )
    return values[0]


def _of_floats(out: Any) -> Floats:
    if not isinstance(out, np.ndarray) or out.dtype != np.float32 or out.ndim != 4:
        raise Unfit("it returned no images (B, C, H, W) in float32")
    return np.ascontiguousarray(out)


def _answer(run: Run, z: Floats, answers: BinaryIO) -> None:
    try:
        out = run(z)
    except Exception as error:  # noqa: BLE001 - as above
        _tell(error, answers)
        return
    batch, channels, height, width = out.shape
    write_frame(answers, IMAGES, (batch, channels, height, width), out.tobytes())


def _tell(error: Exception, answers: BinaryIO) -> None:
    text = " ".join(str(error).split()) or type(error).__name__
    said = text.encode()[:LONGEST_FAULT]
    write_frame(answers, FAULT, (len(said), 0, 0, 0), said)
