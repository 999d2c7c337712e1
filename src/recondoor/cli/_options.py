"""Options that commands share, and what they stand for."""

import shlex
import sys
from dataclasses import dataclass
from json import dumps
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import Parameter

from recondoor.errors import ConfigError

if TYPE_CHECKING:
    from recondoor.config import Config
    from recondoor.study import Runtime


@Parameter(name="*")
@dataclass(frozen=True)
class Options:
    """Options that all stages share."""

    preset: Annotated[str, Parameter(help="smoke, quick or paper")] = "quick"
    files: Annotated[
        tuple[Path, ...],
        Parameter(
            name="--config", help="TOML file with any part of the settings; may be given again"
        ),
    ] = ()
    overrides: Annotated[
        tuple[str, ...],
        Parameter(name="--set", help="one setting, as in poison.ratio=0.1; may be given again"),
    ] = ()
    dataset: Annotated[str | None, Parameter(help="registered data set, or a path")] = None
    data_dir: Annotated[Path | None, Parameter(help="folder with the data set's files")] = None
    attack: Annotated[
        str | None, Parameter(help="attacks to run, comma-separated (attack.names)")
    ] = None
    seeds: Annotated[int | None, Parameter(help="number of seeds")] = None
    device: Literal["auto", "cpu", "cuda"] = "auto"
    threads: Annotated[
        int | None, Parameter(help="CPU threads; default: all cores, or OMP_NUM_THREADS")
    ] = None
    out: Annotated[Path | None, Parameter(help="run folder; default: runs/DATA-HASH")] = None

    def resolve(self) -> "Config":
        """Return the settings that these options stand for; raises ConfigError."""
        from recondoor import config

        named = {
            "data.name": self.dataset,
            "data.dir": self.data_dir and str(self.data_dir),
            "attack.names": self.attack,
            "seeds": self.seeds,
        }
        given = [f"{key}={dumps(value)}" for key, value in named.items() if value is not None]
        if self.threads is not None and self.threads < 1:
            raise ConfigError(f"--threads: {self.threads} given; expected 1 or more")
        return config.load_config(self.preset, self.files, [*self.overrides, *given])

    def folder(self, settings: "Config") -> Path:
        """Return the run folder."""
        from recondoor import config

        stem = Path(settings.data.name).stem
        return self.out or Path("runs") / f"{stem}-{config.identity(settings)}"


DEFAULT = Options()


def runtime(options: Options) -> "Runtime":
    """Return how to run."""
    import torch

    from recondoor.study import Runtime
    from recondoor.terminal import TerminalProgress

    if options.threads is not None:
        torch.set_num_threads(options.threads)
    return Runtime(options.device, TerminalProgress(), command())


def command() -> str:
    """Return the command line as it was given."""
    return shlex.join(["recondoor", *sys.argv[1:]])
