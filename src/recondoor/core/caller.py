"""The process of a caller: work leaves what it shares as it was, and computes as in a fresh one.

Every public function that computes or draws goes through one of the three decorators here. They
import neither torch nor matplotlib: what is not loaded yet has no state that a caller changed.
"""

import locale
import logging
import os
import random
import signal
import sys
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TypeVar

import numpy as np

from recondoor.core.errors import ConfigError

T = TypeVar("T")
Restore = Callable[[], object]


@contextmanager
def as_found() -> Iterator[None]:
    """Whatever the work does to what a process shares, it ends as it was.

    That is: warning filters, NumPy's reaction to floating-point errors, the global generators of
    `random`, NumPy and PyTorch; PyTorch's default type, gradients, threads and precision;
    matplotlib's settings and backend; logging, locale, working directory, environment, where
    Python looks for modules, and signal handlers. Also a decorator.
    """
    with ExitStack() as stack:
        # Last in, first out, and each even where another fails.
        for states in (_process, _loggers, _generators, _torch, _backend):
            for restore in states():
                stack.callback(restore)
        if "matplotlib" in sys.modules:
            import matplotlib as mpl

            stack.enter_context(mpl.rc_context())
        stack.enter_context(np.errstate())
        stack.enter_context(warnings.catch_warnings())
        yield


@contextmanager
def afresh() -> Iterator[None]:
    """As `as_found`, and what is computed is what a process that changed nothing computes.

    New tensors are float32 and on the CPU, gradients are on, automatic casting is off, convolutions
    on a GPU have factors of 32 bits, NumPy warns of floating-point errors. The number of threads
    stays the caller's. Raises ConfigError inside
    `torch.inference_mode()`. Also a decorator.
    """
    with as_found(), np.errstate(divide="warn", over="warn", under="ignore", invalid="warn"):
        if "torch" not in sys.modules:
            yield
            return
        with _torch_afresh():
            yield


@contextmanager
def gradients() -> Iterator[None]:
    """Gradients are on; all else stays as the caller's own network wants it.

    Raises ConfigError inside `torch.inference_mode()`. Also a decorator.
    """
    import torch

    _refuse_inference_mode()
    with torch.enable_grad():
        yield


@contextmanager
def _torch_afresh() -> Iterator[None]:
    import torch

    _refuse_inference_mode()
    torch.set_default_dtype(torch.float32)
    # PyTorch's default rounds the factors of a convolution to 10 bits on a recent GPU.
    torch.backends.cudnn.allow_tf32 = False
    with ExitStack() as stack:
        stack.enter_context(torch.enable_grad())
        for kind in ("cpu", "cuda"):
            if torch.is_autocast_enabled(kind):
                stack.enter_context(torch.autocast(kind, enabled=False))
        if torch.get_default_device().type != "cpu":
            stack.enter_context(torch.device("cpu"))
        yield


def _refuse_inference_mode() -> None:
    import torch

    if torch.is_inference_mode_enabled():
        raise ConfigError(
            "called inside torch.inference_mode(), which keeps no gradients; call it outside, or "
            "inside torch.no_grad()"
        )


def _kept(get: Callable[[], T], put: Callable[[T], object]) -> Restore:
    """What puts a value back that can be compared, if it is another one by then."""
    before = get()
    return lambda: put(before) if get() != before else None


def _process() -> Iterator[Restore]:
    yield _kept(_folder, _put_folder)
    yield _kept(lambda: dict(os.environ), _put_environment)
    yield _kept(lambda: list(sys.path), lambda before: sys.path.__setitem__(slice(None), before))
    yield _kept(
        lambda: locale.setlocale(locale.LC_ALL), lambda name: locale.setlocale(locale.LC_ALL, name)
    )
    if threading.current_thread() is threading.main_thread():
        for number in signal.valid_signals():
            yield _kept(
                lambda number=number: signal.getsignal(number),  # type: ignore[misc]
                lambda old, number=number: _put_handler(number, old),  # type: ignore[misc]
            )


def _put_handler(number: int, handler: Callable[..., object] | int | None) -> None:
    if handler is not None:  # one that C code set, which cannot be set from here
        signal.signal(number, handler)


def _folder() -> Path | None:
    try:
        return Path.cwd()
    except FileNotFoundError:  # it was removed, and cannot be gone back to
        return None


def _put_folder(folder: Path | None) -> None:
    if folder is not None:
        os.chdir(folder)


def _put_environment(before: dict[str, str]) -> None:
    for name in os.environ.keys() - before.keys():
        del os.environ[name]
    os.environ.update(before)


def _loggers() -> Iterator[Restore]:
    known = logging.Logger.manager.loggerDict.values()
    for logger in (logging.root, *(each for each in known if isinstance(each, logging.Logger))):
        yield _kept(
            lambda logger=logger: _of_logger(logger),  # type: ignore[misc]
            lambda before, logger=logger: _put_logger(logger, *before),  # type: ignore[misc]
        )
    yield _kept(lambda: logging.root.manager.disable, logging.disable)


def _of_logger(logger: logging.Logger) -> tuple[int, bool, bool, list[logging.Handler]]:
    return logger.level, logger.propagate, logger.disabled, list(logger.handlers)


def _put_logger(
    logger: logging.Logger,
    level: int,
    propagate: bool,
    disabled: bool,
    handlers: list[logging.Handler],
) -> None:
    logger.setLevel(level)
    logger.propagate, logger.disabled, logger.handlers = propagate, disabled, list(handlers)


def _generators() -> Iterator[Restore]:
    state, arrays = random.getstate(), np.random.get_state()  # noqa: NPY002 a caller may use them
    yield lambda: random.setstate(state)
    yield lambda: np.random.set_state(arrays)  # noqa: NPY002
    if "torch" in sys.modules:
        import torch

        cpu = torch.get_rng_state()
        yield lambda: torch.set_rng_state(cpu)
        if torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
            every = torch.cuda.get_rng_state_all()
            yield lambda: torch.cuda.set_rng_state_all(every)


def _torch() -> Iterator[Restore]:
    if "torch" not in sys.modules:
        return
    import torch

    yield _kept(torch.get_default_dtype, torch.set_default_dtype)
    yield _kept(torch.is_grad_enabled, torch.set_grad_enabled)
    yield _kept(torch.get_num_threads, torch.set_num_threads)
    yield _kept(torch.get_float32_matmul_precision, torch.set_float32_matmul_precision)
    yield _kept(
        lambda: (
            torch.are_deterministic_algorithms_enabled(),
            torch.is_deterministic_algorithms_warn_only_enabled(),
        ),
        lambda old: torch.use_deterministic_algorithms(old[0], warn_only=old[1]),
    )
    for flags, names in (
        (torch.backends.cudnn, ("allow_tf32", "benchmark", "deterministic", "enabled")),
        (torch.backends.mkldnn, ("enabled",)),
    ):
        for name in names:
            yield _kept(
                lambda flags=flags, name=name: getattr(flags, name),  # type: ignore[misc]
                lambda old, flags=flags, name=name: setattr(flags, name, old),  # type: ignore[misc]
            )


def _backend() -> Iterator[Restore]:
    """What matplotlib draws with, which its own `rc_context` leaves out."""
    if "matplotlib" in sys.modules:
        import matplotlib as mpl

        # As it stands: to ask matplotlib itself would choose one where none is chosen yet.
        yield _kept(lambda: dict.__getitem__(mpl.rcParams, "backend"), _put_backend)


def _put_backend(before: object) -> None:
    import matplotlib as mpl

    if not isinstance(before, str):
        dict.__setitem__(mpl.rcParams, "backend", before)
        return
    with mpl.rc_context():  # `use` changes another setting besides
        mpl.use(before, force=False)
