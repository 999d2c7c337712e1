"""Audits of networks and of their inputs, and the repair of networks."""

import sys
from dataclasses import dataclass
from json import dumps
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from recondoor.cli._audit import (
    PAIRS,
    UNDECIDED,
    audit,
    finish,
    operator_settings,
    own_output,
    split_names,
    use_threads,
)
from recondoor.cli._options import command
from recondoor.cli._typed import MOST_THREADS, require_network, require_there, whole
from recondoor.core import registry
from recondoor.core.errors import plain
from recondoor.rundir import bare_name

if TYPE_CHECKING:
    from recondoor.config import Config


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class SubjectOptions:
    """What is trusted, how it was measured, and a registered network's settings."""

    data: Annotated[
        Path | None,
        Parameter(help="trusted clean pairs, or a run; default: the run that the network lies in"),
    ] = None
    operator: Annotated[
        str | None,
        Parameter(help="of a file's pairs: a registered operator, or an .npy matrix"),
    ] = None
    overrides: Annotated[
        tuple[str, ...],
        Parameter(
            name="--set",
            help="settings, as in operator.fourier.ratio=0.4, seed=3 or model.cae.width=32; more "
            "than once, and of a key the last counts",
        ),
    ] = ()
    files: Annotated[
        tuple[Path, ...],
        Parameter(name="--config", help="TOML file with them; may be given again"),
    ] = ()
    seed: Annotated[
        int | None,
        Parameter(
            help="root seed: of a run, which; default: the network's. With --operator: of what it "
            "draws",
            converter=whole(0, 2**63 - 1),
        ),
    ] = None
    data_dir: Annotated[
        Path | None, Parameter(help="of a run: folder with the data set's files")
    ] = None
    trust_paths: Annotated[
        bool, Parameter(help="of a run: open the files that its own config.toml names")
    ] = False
    threads: Annotated[
        int | None, Parameter(help="CPU threads", converter=whole(1, MOST_THREADS))
    ] = None

    def common(self) -> dict[str, Any]:
        """What all functions on networks take; raises ConfigError."""
        from recondoor.core.terminal import TerminalProgress

        if self.threads is not None:
            use_threads(self.threads)
        return {
            "files": self.files,
            "overrides": [text for text in self.overrides if text.strip().startswith("model.")],
            "seed": self.seed,
            "data_dir": self.data_dir,
            "trust_paths": self.trust_paths,
            "progress": TerminalProgress(),
            "command": command(),
        }

    def measured(self) -> "Config | None":
        """How trusted pairs of a file were measured; raises ConfigError."""
        return operator_settings(self.operator, self.overrides, self.files, self.seed)

    def require(self, network: str, *paths: Path) -> None:
        """Refuse files that are not there; raises DataError."""
        require_network(network)
        for path in (*paths, *([] if self.data is None else [self.data])):
            require_there(path, PAIRS)


DEFAULT = SubjectOptions()

References = Annotated[
    tuple[str, ...],
    Parameter(
        name=("--references", "--reference"),
        consume_multiple=True,
        help="networks known to be clean, of the same make and recipe; or auto, to train some on "
        "the trusted pairs, beside which the network is ranked and nothing is decided",
    ),
]
Epochs = Annotated[int, Parameter(help="of --references auto", converter=whole(1, 10**6))]
Fresh = Annotated[
    str | None,
    Parameter(
        help="for --references auto: MODULE:FUNCTION that makes an untrained network; default: a "
        "copy whose layers draw their weights anew"
    ),
]


@audit.command
def model(
    network: str,
    /,
    *,
    options: SubjectOptions = DEFAULT,
    references: References = (),
    epochs: Epochs = 40,
    fresh: Fresh = None,
    alarm: Annotated[
        float,
        Parameter(
            help="false-alarm rate of the verdict, over all detectors that compare with "
            "references; takes 1 / --alarm - 1 clean networks, 99 for 0.01"
        ),
    ] = 0.05,
    detectors: Annotated[str | None, Parameter(help="comma-separated; default: all")] = None,
    out: Annotated[Path | None, Parameter(help="folder; default: audits/NAME")] = None,
    force: Annotated[bool, Parameter(help="replace an audit that is there")] = False,
    json: bool = False,
) -> None:
    """Is there a backdoor in this network?

    Writes audit.json and report.html with the trigger and artefact recovered. Exit code 0: clean,
    3: suspicious, 4: undecided, 2: bad input. A verdict asks for clean networks of the same make: 1
    / --alarm - 1 of them as --references. With --references auto the audit trains some, says first
    how long that takes, and keeps them in OUT-references, where a further audit of the same network
    finds them; such references rank the network, and the verdict is undecided.

    For example:

        recondoor audit model runs/a/model-heuristic-seed0.safetensors
        recondoor audit model model.safetensors --data trusted.npz --set model.cae.width=32
        recondoor audit model net.onnx --data trusted.npz
        recondoor audit model package.module:function --data trusted.npz
        recondoor audit model net:trained --fresh net:build --data trusted.npz --references auto

    Parameters
    ----------
    network
        .safetensors file of a registered network, an .onnx file (which has no gradients, so that
        the detectors of networks do not apply), or MODULE:FUNCTION, a Python function that returns
        the network (this runs your own code); MODULE:FUNCTION@FILE gives it the weights of a
        .safetensors file. Pickles and TorchScript are refused unread.
    json
        Print audit.json instead of the text.
    """
    options.require(network)
    named = split_names(detectors, "NetworkDetector")
    from recondoor.audit import require_folder
    from recondoor.doors import audit_model

    out = out or Path("audits") / _stem(network)
    require_folder(out, force)
    with own_output():
        found = audit_model(
            network,
            options.data,
            operator=options.measured(),
            references=references,
            epochs=epochs,
            fresh=fresh,
            kept=out.with_name(f"{out.name}-references"),
            alarm=alarm,
            detectors=named,
            **options.common(),
        )
        found.prepare()
    finish(found, out, force, json)


@audit.command(name="input")
def input_(
    network: str,
    inputs: Path,
    /,
    *,
    options: SubjectOptions = DEFAULT,
    alarm: Annotated[
        float,
        Parameter(
            help="false-alarm rate per input; takes 1 / --alarm - 1 trusted pairs, 99 for 0.01, "
            "beside the fifth (64 at most) that is compared with"
        ),
    ] = 0.01,
    detectors: Annotated[str | None, Parameter(help="comma-separated; default: all")] = None,
    attack: Annotated[
        str | None,
        Parameter(help="name of an attack: of a run, whose trigger; default: the network's"),
    ] = None,
    out: Annotated[Path | None, Parameter(help="folder; default: audits/NAME")] = None,
    force: Annotated[bool, Parameter(help="replace an audit that is there")] = False,
    json: bool = False,
) -> None:
    """Which of these inputs carry a trigger?

    Writes audit.json, suspicious.csv, repaired.npz (reconstructions without what no measurement can
    give) and report.html. Exit code 0: clean, 3: suspicious, 4: undecided, 2: bad input. Clean asks
    for the operator.

    For example:

        recondoor audit input model.safetensors inputs.npz --data trusted.npz --operator A.npy
        recondoor audit input net.onnx inputs.npz --data trusted.npz
        recondoor audit input runs/a/model-heuristic-seed0.safetensors runs/a

    Parameters
    ----------
    network
        As for `recondoor audit model`.
    inputs
        .npz or .h5 file with z (or y, of which z is made), or the folder of a run: then its test
        inputs with and without the trigger, of which the truth is known.
    json
        Print audit.json instead of the text.
    """
    options.require(network, inputs)
    named = split_names(detectors, "InputDetector")
    from recondoor.audit import require_folder
    from recondoor.doors import audit_inputs

    out = out or Path("audits") / f"{_stem(network)}-{bare_name(inputs.resolve())}"
    require_folder(out, force)
    with own_output():
        found = audit_inputs(
            network,
            inputs,
            clean=options.data,
            operator=options.measured(),
            alarm=alarm,
            detectors=named,
            attack=attack,
            **options.common(),
        )
        found.prepare()
    finish(found, out, force, json)


def clean(
    network: str,
    /,
    *,
    out: Annotated[Path, Parameter(help="file of the new weights, NAME.safetensors")],
    options: SubjectOptions = DEFAULT,
    method: Annotated[
        str | None,
        Parameter(
            help="defence of kind repair, tried in any case; default: those that apply, if a "
            "trigger is confirmed"
        ),
    ] = None,
    fraction: Annotated[
        float | None,
        Parameter(help="share of the clean pairs to repair with; default: 0.05, or 40 pairs"),
    ] = None,
    worst: Annotated[
        float, Parameter(help="growth of the benign error up to which a repair is kept")
    ] = 0.02,
    references: References = (),
    epochs: Epochs = 40,
    fresh: Fresh = None,
    alarm: Annotated[
        float, Parameter(help="probability with which a clean network may be repaired")
    ] = 0.05,
    force: Annotated[bool, Parameter(help="write over files that are there")] = False,
    json: bool = False,
) -> None:
    """Repair a network with a few trusted clean pairs, if a trigger is confirmed in it.

    Writes the new weights, and beside them a JSON file and a page with benign error and artefact
    recovery before and after. Of the repairs kept is the one that leaves least of the artefact.
    Exit code 0: repaired, 4: nothing changed or written, 2: bad input.

    For example:

        recondoor clean net.safetensors --data trusted.npz --references clean/* --out b.safetensors
        recondoor clean net.safetensors --data trusted.npz --method fine-tuning --out b.safetensors
        recondoor clean net:trained --data trusted.npz --method side-by-side --out b.safetensors
        recondoor audit model net:trained@b.safetensors --data trusted.npz

    Parameters
    ----------
    network
        As for `recondoor audit model`, but no .onnx file.
    json
        Print the JSON file instead of the table.
    """
    options.require(network)
    if method is not None:
        registry.check("defences", method, "--method", ("Repair",))
    from recondoor.audit import require_new
    from recondoor.doors import clean as repair

    require_new(out, force)
    with own_output():
        found = repair(
            network,
            options.data,
            method=method,
            fraction=fraction,
            worst=worst,
            references=references,
            epochs=epochs,
            fresh=fresh,
            kept=out.with_name(f"{out.stem}-references"),
            alarm=alarm,
            operator=options.measured(),
            **options.common(),
        )
        if found.changed:
            found.save(out, force)
    if not found.changed:
        print(dumps(found.record, indent=1) if json else plain(str(found)))
        raise SystemExit(UNDECIDED)
    beside = out.with_suffix(".json")
    print(beside.read_text("utf-8").rstrip() if json else plain(str(found)))
    print(f"\nweights: {plain(str(out))}", file=sys.stderr if json else sys.stdout)


def _stem(network: str) -> str:
    """What an audit's folder is called."""
    made, at, file = network.partition("@")
    path = Path(file if at and ":" in made else network)
    own = bare_name(path.resolve()) if path.exists() else network.rpartition(":")[2]
    in_run = path.exists() and (path.resolve().parent / "config.toml").exists()
    return f"{path.resolve().parent.name}-{own}" if in_run else own
