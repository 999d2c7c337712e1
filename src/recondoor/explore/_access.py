"""What a bench may open and use besides its run."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Access:
    """What else a run's bench may open: as of the audits.

    Args:
        data_dir: folder with the files of the run's data set.
        trust_paths: whether files that the run's own settings name may be opened.
        threads: that a bench computes on; None for as many as torch takes.
    """

    data_dir: Path | None = None
    trust_paths: bool = False
    threads: int | None = None
