"""Steps of a training, recorded once and replayed: on a GPU as a CUDA graph on a stream of its own.

Eager PyTorch launches some hundred small kernels a step, which takes a GPU longer than the kernels
do. Here data, order, place in the epoch, learning rate and loss lie on the device, so that a replay
needs nothing of Python, and replays of several networks run beside each other.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Protocol

import torch
from torch import Tensor, nn

from recondoor.config import Train
from recondoor.core.errors import ConfigError
from recondoor.poisoning import PoisonedPairs
from recondoor.training import losses

# Steps before a recording, in which libraries choose their kernels and take their memory.
WARM_UPS = 3

Work = Callable[[], None]


class Recorder(Protocol):
    """Does work in one order of its own."""

    def run(self, work: Work) -> None:
        """Do it now, after what was begun before."""

    def record(self, work: Work) -> Work:
        """Do it `WARM_UPS` times, record it, and return what does it again."""

    def wait(self) -> None:
        """Until all that was begun is done."""


class AsItComes:
    """Records nothing: a replay is the work itself. For the CPU, where nothing is to be gained."""

    def run(self, work: Work) -> None:
        work()

    def record(self, work: Work) -> Work:
        for _ in range(WARM_UPS):
            work()
        return work

    def wait(self) -> None:
        pass


class CudaGraphs:
    """Records CUDA graphs, on a stream of its own."""

    def __init__(self, device: torch.device) -> None:
        self._stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]

    def run(self, work: Work) -> None:
        self._stream.wait_stream(torch.cuda.current_stream(self._stream.device))
        with torch.cuda.stream(self._stream):
            work()

    def record(self, work: Work) -> Work:
        for _ in range(WARM_UPS):
            self.run(work)
        torch.cuda.synchronize(self._stream.device)
        graph = torch.cuda.CUDAGraph()
        # Other threads may go on with work that a capture by the whole process would refuse.
        with torch.cuda.graph(graph, stream=self._stream, capture_error_mode="thread_local"):
            work()
        torch.cuda.synchronize(self._stream.device)

        def replay() -> None:
            with torch.cuda.stream(self._stream):
                graph.replay()

        return replay

    def wait(self) -> None:
        self._stream.synchronize()


class RecordedSteps:
    """The steps of a network's epochs on `pairs`, whose data lie on the network's device.

    The optimiser's learning rate has to be a tensor there (`make_adam`). Warm-up and recording
    leave network and optimiser as they were.
    """

    def __init__(
        self,
        model: nn.Module,
        pairs: PoisonedPairs,
        settings: Train,
        count: int,
        optimiser: torch.optim.Optimizer,
        recorder: Recorder,
    ) -> None:
        device = next(model.parameters()).device
        self._model, self._pairs, self._optimiser = model, pairs, optimiser
        self._settings, self._recorder = settings, recorder
        self._batch, self._count = min(settings.batch, count), count
        # Warm-up and recording run through its beginning, however short an epoch is.
        room = max(count, (WARM_UPS + 1) * self._batch)
        self._order = torch.zeros(room, dtype=torch.long, device=device)
        self._window = torch.arange(self._batch, device=device)
        self._place = torch.zeros((), dtype=torch.long, device=device)
        self._total = torch.zeros((), dtype=torch.float64, device=device)
        model.train()
        with _left_as_it_was(model, optimiser, recorder), precision(settings):
            self._replay = recorder.record(self._whole_batch)

    def epoch(self, order: Tensor) -> Iterator[int]:
        """Go through the pairs `order` (count,); yields after each step how many it took."""
        self._model.train()
        self._recorder.run(lambda: self._begin(order))
        whole, rest = divmod(self._count, self._batch)
        for _ in range(whole):
            self._replay()
            yield self._batch
        if rest:
            index = self._order[whole * self._batch : self._count]
            with precision(self._settings):
                self._recorder.run(lambda: self._step(index))
            yield rest

    def wait(self) -> None:
        """Until the steps begun are done: the device's queue must not grow without end."""
        self._recorder.wait()

    def mean_loss(self) -> float:
        """Over the pairs of the epoch so far, when all steps are done."""
        self._recorder.wait()
        return float(self._total) / self._count

    def _begin(self, order: Tensor) -> None:
        self._order[: self._count].copy_(order)
        self._place.zero_()
        self._total.zero_()

    def _whole_batch(self) -> None:
        self._step(self._order.index_select(0, self._place + self._window))
        self._place.add_(self._batch)

    def _step(self, index: Tensor) -> None:
        z, x = self._pairs.batch(index)
        loss = losses.loss(self._settings.loss, self._model(z), x)
        self._optimiser.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        self._optimiser.step()
        self._total.add_(loss.detach() * len(index))


def make_adam(model: nn.Module, lr: float) -> torch.optim.Adam:
    """Adam whose learning rate a recorded step reads anew each time, as all else of its state."""
    device = next(model.parameters()).device
    # Fused Adam reads a rate of 32 bits on a GPU, and a rate as Python's own on the CPU.
    kind = torch.float32 if device.type == "cuda" else torch.float64
    rate = torch.tensor(lr, dtype=kind, device=device)
    on_gpu = device.type == "cuda"
    return torch.optim.Adam(model.parameters(), lr=rate, fused=True, capturable=on_gpu)


def can_record(model: nn.Module, pairs: object) -> bool:
    """Whether a step of `model` on `pairs` is the same work each time, with no look at its values.

    The network has to say so of itself (`recordable`), and inputs must not be prepared anew.
    """
    plain = isinstance(pairs, PoisonedPairs) and pairs.is_added
    return plain and bool(getattr(model, "recordable", False))


def require_precision(settings: Train, device: torch.device) -> None:
    """Raise ConfigError for `train.precision` tf32 where there is no GPU."""
    if settings.precision == "tf32" and device.type != "cuda":
        raise ConfigError(
            "train.precision: tf32 given, which only a GPU has; set train.precision=float32, or "
            "give --device cuda on a machine with a GPU"
        )


@contextmanager
def precision(settings: Train) -> Iterator[None]:
    """Convolutions and products on a GPU have the factors that `train.precision` asks for."""
    convolutions, products = torch.backends.cudnn, torch.backends.cuda.matmul
    before = convolutions.allow_tf32, products.allow_tf32
    try:
        # Also where it is no: PyTorch's own default rounds those of convolutions.
        convolutions.allow_tf32 = products.allow_tf32 = settings.precision == "tf32"
        yield
    finally:
        convolutions.allow_tf32, products.allow_tf32 = before


@contextmanager
def _left_as_it_was(
    model: nn.Module, optimiser: torch.optim.Optimizer, recorder: Recorder
) -> Iterator[None]:
    """In place, as a recording holds addresses; the optimiser's first state is all zeros."""
    weights = {name: value.clone() for name, value in model.state_dict().items()}
    moments = {
        parameter: {name: value.clone() for name, value in entry.items()}
        for parameter, entry in optimiser.state.items()
    }
    yield
    recorder.wait()
    with torch.no_grad():
        for name, value in model.state_dict().items():
            value.copy_(weights[name])
        for parameter, entry in optimiser.state.items():
            for name, value in entry.items():
                old = moments.get(parameter)
                value.zero_() if old is None else value.copy_(old[name])
    recorder.wait()
