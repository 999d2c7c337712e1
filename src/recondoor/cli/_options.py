"""Options that commands share, and what they stand for."""

import shlex
import sys
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from json import dumps
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import Parameter

from recondoor.cli._typed import MOST_THREADS, MOST_TOGETHER, whole
from recondoor.core.errors import RunError, plain

if TYPE_CHECKING:
    from recondoor.config import Config
    from recondoor.studies import Runtime


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class SceneOptions:
    """What is measured, and how: options of whatever makes pairs."""

    preset: Annotated[str, Parameter(help="ct, mri, paper, paper-regime, quick or smoke")] = "quick"
    files: Annotated[
        tuple[Path, ...],
        Parameter(
            name="--config", help="TOML file with any part of the settings; may be given again"
        ),
    ] = ()
    overrides: Annotated[
        tuple[str, ...],
        Parameter(
            name="--set",
            help="one setting, as in poison.ratio=0.1; may be given again, and of a key the "
            "last counts",
        ),
    ] = ()
    dataset: Annotated[str | None, Parameter(help="registered data set, or a path")] = None
    data_dir: Annotated[Path | None, Parameter(help="folder with the data set's files")] = None
    seed: Annotated[
        int | None,
        Parameter(help="root seed; of several seeds the first", converter=whole(0, 2**63 - 1)),
    ] = None

    def named(self) -> dict[str, str | int | None]:
        """Settings that have an option of their own, by key; None where it was not given."""
        return {
            "data.name": self.dataset,
            "data.dir": None if self.data_dir is None else str(self.data_dir),
            "seed": self.seed,
        }

    def resolve(self) -> "Config":
        """Return the settings that these options stand for; raises ConfigError."""
        from recondoor import config

        given = [
            f"{key}={dumps(value, ensure_ascii=False)}"
            for key, value in self.named().items()
            if value is not None
        ]
        overrides = [*self.overrides, *given]
        tell_given_twice(overrides, self.files)
        return config.load_config(self.preset, self.files, overrides)


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class StageOptions(SceneOptions):
    """Options of what looks at the attacks of a run, of one seed."""

    attack: Annotated[
        str | None, Parameter(help="names of attacks, comma-separated (attack.names)")
    ] = None
    device: Literal["auto", "cpu", "cuda"] = "auto"
    together: Annotated[
        int,
        Parameter(
            help="networks that are trained at once on the device; pays on a GPU",
            converter=whole(1, MOST_TOGETHER),
        ),
    ] = 1
    threads: Annotated[
        int | None,
        Parameter(
            help="CPU threads; default: all cores, or OMP_NUM_THREADS",
            converter=whole(1, MOST_THREADS),
        ),
    ] = None
    out: Annotated[Path | None, Parameter(help="run folder; default: runs/DATA-HASH")] = None

    def named(self) -> dict[str, str | int | None]:
        """As of the scene, with the attacks."""
        return super().named() | {"attack.names": self.attack}

    def folder(self, settings: "Config") -> Path:
        """Return the run folder: an older one of the same settings where there is one."""
        from recondoor import rundir

        if self.out is None:
            return rundir.default_folder(settings)
        rundir.require_place(self.out)
        return self.out


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class Options(StageOptions):
    """Options that all stages of a study share."""

    seeds: Annotated[int | None, Parameter(help="number of seeds", converter=whole(1, 10_000))] = (
        None
    )

    def named(self) -> dict[str, str | int | None]:
        """As of one seed, with their number."""
        return super().named() | {"seeds": self.seeds}


SCENE, STAGE, DEFAULT = SceneOptions(), StageOptions(), Options()


def runtime(options: StageOptions) -> "Runtime":
    """Return how to run."""
    import torch

    from recondoor.core.terminal import TerminalProgress
    from recondoor.studies import Runtime

    if options.threads is not None:
        torch.set_num_threads(options.threads)
    return Runtime(options.device, TerminalProgress(), command(), options.together)


def tell_given_twice(overrides: Sequence[str], files: Sequence[Path] = ()) -> None:
    """Say on stderr which value counts of a setting given twice, and what its name is now."""
    from recondoor import config

    for line in [*config.given_twice(overrides), *config.older_spellings(files, overrides)]:
        # A log that is full stops no work.
        with suppress(OSError):
            print(f"recondoor: {plain(line)}", file=sys.stderr)


def tell_no_report(error: RunError) -> None:
    """Say on stderr why there is no report, where its folder is not for writing; else raise it."""
    from recondoor.rundir import READ_ONLY

    if not (isinstance(error.__cause__, OSError) and error.__cause__.errno in READ_ONLY):
        raise error
    print(f"recondoor: no report was written: {error}", file=sys.stderr)


def command() -> str:
    """Return the command line as it was given."""
    return shlex.join(["recondoor", *sys.argv[1:]])
