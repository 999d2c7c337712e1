"""Audits of what a person has: training pairs here, networks and inputs in `_network`."""

import contextlib
import json as json_
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import App, Parameter

from recondoor.cli._options import command, tell_given_twice
from recondoor.cli._typed import MOST_THREADS, require_there, whole
from recondoor.core import registry
from recondoor.core.errors import ConfigError, plain
from recondoor.rundir import bare_name

if TYPE_CHECKING:
    from recondoor.config import Config
    from recondoor.doors import AuditResult

audit = App(name="audit", help="Look for a backdoor in what you have.")

UNDECIDED, SUSPICIOUS = 4, 3
PAIRS = "pairs in an .npz or .h5 file, or the folder of a run"
OF_PAIRS = ("PairDetector", "SetDetector")
"""What detectors of pairs derive from, also those of scans."""


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class AuditOptions:
    """How pairs were measured, and how they are looked at."""

    operator: Annotated[
        str | None,
        Parameter(help="of a file's pairs: a registered operator, or an .npy matrix"),
    ] = None
    overrides: Annotated[
        tuple[str, ...],
        Parameter(
            name="--set",
            help="its settings, as in operator.fourier.ratio=0.4 or seed=3; more than once, and of "
            "a key the last counts",
        ),
    ] = ()
    files: Annotated[
        tuple[Path, ...],
        Parameter(name="--config", help="TOML file with them; may be given again"),
    ] = ()
    clean: Annotated[
        Path | None,
        Parameter(
            help="trusted clean pairs, drawn at random from what the pairs are, but none of them: "
            "99 or more for --alarm 0.01, 1 / --alarm - 1 in general"
        ),
    ] = None
    network: Annotated[
        str | None,
        Parameter(
            help="look with this network, as `audit model` takes it, instead of one that is "
            "trained on the pairs; such detectors then only rank"
        ),
    ] = None
    alarm: Annotated[
        float, Parameter(help="false-alarm rate per pair; 0.001 takes 999 --clean pairs")
    ] = 0.01
    detectors: Annotated[
        str | None,
        Parameter(
            help="comma-separated; default: all, but those that need a network only where they "
            "could decide what the others leave open"
        ),
    ] = None
    attack: Annotated[
        str | None, Parameter(help="name of an attack: of a run, whose pairs; default: its first")
    ] = None
    seed: Annotated[
        int | None,
        Parameter(
            help="root seed: of a run, which; default: its first. With --operator: of what "
            "it draws",
            converter=whole(0, 2**63 - 1),
        ),
    ] = None
    data_dir: Annotated[
        Path | None, Parameter(help="of a run: folder with the data set's files")
    ] = None
    trust_paths: Annotated[
        bool, Parameter(help="of a run: open the files that its own config.toml names")
    ] = False
    out: Annotated[Path | None, Parameter(help="folder; default: audits/NAME")] = None
    force: Annotated[bool, Parameter(help="replace an audit that is there")] = False
    threads: Annotated[
        int | None, Parameter(help="CPU threads", converter=whole(1, MOST_THREADS))
    ] = None

    def look_at(self, pairs: Path) -> "AuditResult":
        """Audit the pairs; raises as `recondoor.audit_data`."""
        if self.clean is not None:
            require_there(self.clean, PAIRS)
        detectors = split_names(self.detectors, *OF_PAIRS)
        own = [] if self.network is None else list(filter(_of_a_network, self.overrides))
        others = tuple(text for text in self.overrides if text not in own)
        settings = operator_settings(self.operator, others, self.files, self.seed, alone=True)
        from recondoor.core.terminal import TerminalProgress
        from recondoor.doors import audit_data

        if self.threads is not None:
            use_threads(self.threads)
        return audit_data(
            pairs,
            operator=settings,
            clean=self.clean,
            network=self.network,
            alarm=self.alarm,
            detectors=detectors,
            attack=self.attack,
            seed=self.seed,
            data_dir=self.data_dir,
            trust_paths=self.trust_paths,
            overrides=own,
            progress=TerminalProgress(),
            command=command(),
        )


def _of_a_network(override: str) -> bool:
    return override.strip().startswith("model.")


def split_names(text: str | None, *bases: str) -> tuple[str, ...] | None:
    """Names of detectors that derive from `bases`, separated by commas; None if there are none.

    Raises ConfigError for one that is not known, before anything is imported.
    """
    names = tuple(part.strip() for part in text.split(",")) if text else None
    for name in names or ():
        registry.check("defences", name, "--detectors", bases)
    return names


def operator_settings(
    operator: str | None,
    overrides: tuple[str, ...],
    files: tuple[Path, ...],
    seed: int | None = None,
    alone: bool = False,
) -> "Config | None":
    """The settings of a file's operator, None if none is given; raises ConfigError.

    `seed` is the root seed of what the operator draws. Settings without an operator are refused
    where they are the operator's `alone`.
    """
    from recondoor import config

    tell_given_twice(overrides, files)
    if operator is None:
        mine = overrides if alone else [each for each in overrides if each.startswith("operator.")]
        if mine or (alone and files):
            raise ConfigError("--set: give --operator too, these settings are its own")
        return None
    own = [f"operator.name={json_.dumps(operator)}"]
    if operator.endswith(".npy"):
        own = ["operator.name=matrix", f"operator.matrix.file={json_.dumps(operator)}"]
    drawn = [] if seed is None else [f"seed={seed}"]
    return config.load_config("quick", files, [*own, *overrides, *drawn])


DEFAULT = AuditOptions()


@audit.command
def data(pairs: Path, /, *, options: AuditOptions = DEFAULT, json: bool = False) -> None:
    """Are pairs in this training set poisoned?

    Writes audit.json, suspicious.csv and report.html. Exit code 0: clean, 3: suspicious, 4:
    undecided, 2: bad input. Clean asks for the operator, or for pairs in which a planted lesion
    is found.

    For example:

        recondoor audit data a.npz --operator fourier --set operator.fourier.ratio=0.4 --set seed=3
        recondoor audit data pairs.h5 --operator A.npy --set operator.sigma=0.01
        recondoor audit data pairs.npz --clean trusted.npz --alarm 0.001
        recondoor audit data pairs.npz --network net.onnx --operator A.npy
        recondoor audit data runs/a --attack heuristic
        recondoor audit data multicoil_train

    Parameters
    ----------
    pairs
        .npz or .h5 file with x and z (or y, of which z is made; mask says which columns of k-space
        an MRI operator measured, of all slices or of each), or the folder of a run, of which the
        truth is known; or a folder of fastMRI's .h5 files, whose targets are compared with their
        k-space.
    json
        Print audit.json instead of the text.
    """
    require_there(pairs, PAIRS)
    split_names(options.detectors, *OF_PAIRS)
    from recondoor.audit import require_folder

    out = options.out or Path("audits") / bare_name(pairs.resolve())
    require_folder(out, options.force)
    finish(options.look_at(pairs), out, options.force, json)


def finish(found: "AuditResult", out: Path, force: bool, json: bool) -> None:
    """Write the audit with its page, print the text or audit.json, and exit by the verdict."""
    page = found.save(out, force)
    print((out / "audit.json").read_text("utf-8").rstrip() if json else plain(str(found)))
    print(f"\nreport: {plain(str(page))}", file=sys.stderr if json else sys.stdout)
    code = {"clean": 0, "suspicious": SUSPICIOUS, "undecided": UNDECIDED}[found.verdict]
    if code:
        raise SystemExit(code)


def own_output() -> contextlib.redirect_stdout[Any]:
    """What a user's network prints goes to stderr: stdout is for the verdict."""
    return contextlib.redirect_stdout(sys.stderr)


def use_threads(threads: int) -> None:
    """Let torch compute on so many threads."""
    import torch

    torch.set_num_threads(threads)
