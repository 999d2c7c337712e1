"""The command line: thin, and torch is imported only by commands that compute."""

import os
import sys
from contextlib import suppress
from pathlib import Path
from typing import Literal

from cyclopts import App, CycloptsError, Parameter

from recondoor import __version__
from recondoor.cli import _audit, _explore, _network, _pairs, _show, _streams, _study, _sweep
from recondoor.cli._options import Options
from recondoor.cli._typed import require_values
from recondoor.core.errors import RecondoorError, out_of_memory, plain

__all__ = ["Options", "app", "main"]

HELP = """When does a backdoor planted in an image-reconstruction network succeed?

To begin with:

    recondoor doctor                           what would stop a study here
    recondoor study --preset smoke             all stages, in seconds
    recondoor study                            the paper's study, in minutes
    recondoor study --set poison.ratio=0.1 --seeds 3
    recondoor study --ratios 0.01,0.1,0.3      choose the ratio as the paper
    recondoor report runs/* sweeps/axes        build old reports anew
    recondoor explore runs/mine                try it out in the browser
    recondoor predict --attack heuristic       what to expect of training
    recondoor sweep axes.toml --dry-run        many studies: what would it cost
    recondoor pairs mri.npz --preset mri       pairs to try the audits on
    recondoor audit data pairs.npz --operator gaussian     are training pairs poisoned
    recondoor audit model model.safetensors --data trusted.npz   is there a backdoor in a network
    recondoor clean model.safetensors --data trusted.npz --out mended.safetensors
"""

RESUMED = ("study", "attack", "train", "evaluate", "sweep")
"""Commands that keep what they have done as they go."""

app = App(
    name="recondoor",
    help=HELP,
    help_format="plaintext",
    version=__version__,
    version_flags=("--version", "-V"),
    result_action="return_value",
    suppress_keyboard_interrupt=False,
    default_parameter=Parameter(negative=(), show_default=lambda value: value or None),
)
for command in (
    _study.study,
    _study.attack,
    _study.train,
    _study.evaluate,
    _study.predict,
    _sweep.sweep,
    _pairs.pairs,
    _network.clean,
    _explore.explore,
    _show.report,
    _show.doctor,
):
    app.command(command)
app.command(_show.list_, name="list")
app.command(_audit.audit)


@app.command
def completion(shell: Literal["bash", "zsh", "fish"], /) -> None:
    """Print what lets a shell complete commands and options after the tabulator key.

    For example:

        recondoor completion bash > ~/.local/share/bash-completion/completions/recondoor
        recondoor completion fish > ~/.config/fish/completions/recondoor.fish

    Parameters
    ----------
    shell
        Which shell.
    """
    print(app.generate_completion(prog_name="recondoor", shell=shell))


def main(arguments: list[str] | None = None) -> None:
    """Run the command line; exit code 2 for what the user can mend, 130 after Ctrl-C.

    A reader of the output who leaves early ends it without a word, with exit code 141.
    """
    # Looking for pydantic's plugins reads the metadata of every installed package at every start.
    os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "__all__")
    with _streams.readable():
        if _deleted():  # in which PyTorch would end the process
            _refuse("the current folder has been deleted; change into another one")
        try:
            _run(arguments)
        except BrokenPipeError:
            _streams.silence()
            raise SystemExit(141) from None
        except OSError as error:
            place = error.filename or _streams.silence(probe=True)
            _refuse(f"{place}: {error.strerror}" if place else str(error))


def _run(arguments: list[str] | None) -> None:
    try:
        require_values(sys.argv[1:] if arguments is None else arguments)
        app(arguments, exit_on_error=False, print_error=False)
    except (CycloptsError, RecondoorError) as error:
        _refuse(str(error))
    except (MemoryError, RuntimeError) as error:
        if not out_of_memory(error):
            raise
        _refuse("out of memory; give fewer or smaller images, or a machine with more")
    except KeyboardInterrupt:
        print(f"\nstopped; {_again(arguments)}", file=sys.stderr)
        raise SystemExit(130) from None
    finally:
        _streams.flush()


def _again(arguments: list[str] | None) -> str:
    """What the same command does after it was stopped."""
    given = sys.argv[1:] if arguments is None else arguments
    trains = any(text in ("auto", "--references=auto", "--reference=auto") for text in given)
    if trains or (given and given[0] in RESUMED):
        return "the same command carries on from here"
    return "the same command begins anew"


def _deleted() -> bool:
    """Whether the current folder is gone."""
    try:
        Path.cwd()
    except FileNotFoundError:
        return True
    return False


def _refuse(text: str) -> None:
    with suppress(OSError):  # where it cannot be said, the exit code tells
        print(f"recondoor: {plain(text)}", file=sys.stderr)
    _streams.silence()
    raise SystemExit(2)
