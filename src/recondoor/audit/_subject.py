"""What audits of a network share: the network, trusted clean pairs, and the operator."""

from dataclasses import KW_ONLY, dataclass, replace
from pathlib import Path
from typing import Literal

from torch import nn

from recondoor.audit._networks._network_file import Network, lies_in_run, open_network
from recondoor.audit._pairs._apart import copies_note, distinct
from recondoor.audit._pairs._data import of_source
from recondoor.audit._pairs._run import open_run
from recondoor.audit._pairs._source import Given, Measured, Source
from recondoor.core.errors import ConfigError
from recondoor.core.progress import Progress

Part = Literal["train", "validation", "test"]


@dataclass(frozen=True)
class Subject:
    """A network, and what is trusted.

    Args:
        network: file, MODULE:FUNCTION or the network itself, as `read_network` takes it.
        data: file of trusted clean pairs, the same arrays, or the folder of a run; None for the
            run that the network lies in.
        measured: how pairs were measured that are of no run, which has its own; None if that is
            not known.
        files: TOML files with the settings of a registered network.
        overrides: such settings as ``model.key=value``.
        seed: a run's seed; None for the network's, or the run's first.
        data_dir: folder with the files of a run's registered data set.
        trust_paths: whether files that a run's own settings name may be opened.
    """

    network: str | nn.Module
    data: Source | None = None
    measured: Measured | None = None
    _: KW_ONLY
    files: tuple[Path, ...] = ()
    overrides: tuple[str, ...] = ()
    seed: int | None = None
    data_dir: Path | None = None
    trust_paths: bool = False


def read_subject(
    subject: Subject, progress: Progress, part: Part = "validation"
) -> tuple[Network, Given]:
    """The network and trusted clean pairs.

    Raises:
        ConfigError: no data given, or an operator for a run, which has its own.
        DataError: as `read_pairs` and `read_network`.
    """
    given = read_trusted(subject, progress, part)
    _, channels, height, width = given.pairs.x.shape
    shape = (channels, height, width)
    network = open_network(
        subject.network,
        shape,
        subject.files,
        subject.overrides,
        subject.trust_paths,
        given.operator,
    )
    return network, given


def read_trusted(subject: Subject, progress: Progress, part: Part) -> Given:
    """Trusted clean pairs of a file, or those of a run that are for `part`; errors as above."""
    run = lies_in_run(subject.network)
    data = subject.data or (run and run[0])
    if data is None:
        raise ConfigError("--data: none given; give trusted clean pairs, or the folder of a run")
    if not (isinstance(data, Path) and data.is_dir()):
        given = of_source(data, subject.measured)
        pairs = distinct(given.pairs)
        notes = tuple(copies_note(len(given.pairs), len(pairs)))
        return replace(given, pairs=pairs, notes=notes)
    if subject.measured is not None:
        raise ConfigError("--operator: the folder of a run has its own; leave it out")
    seed = subject.seed
    if seed is None and run is not None and run[0].resolve() == data.resolve():
        seed = run[2]
    opened = open_run(data, "original", seed, subject.data_dir, progress, subject.trust_paths)
    parts = {"train": opened.scene.train, "validation": opened.scene.validation}
    pairs = (parts | {"test": opened.scene.test})[part]
    return Given(
        name=data.resolve().name,
        pairs=pairs,
        operator=opened.scene.world.range_of,
        noise_known=True,
        seed=opened.scene.seed,
    )
