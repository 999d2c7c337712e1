"""Files of pairs, and the audits that are made of them: what writes and what reads them."""

import shutil
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from fuzzing.drawn import images


@cache
def _pairs() -> dict[str, Any]:
    import torch

    from recondoor import config, operators

    x = torch.from_numpy(images(40) / np.float32(255))[:, None]
    operator = operators.build((1, 8, 8), config.Operator(name="pixel-mask"), 0)
    z = operator.A_adjoint(operator.forward(x, torch.Generator().manual_seed(0)))
    return {"x": x.numpy(), "z": z.float().numpy()}


def write_pairs(folder: Path) -> None:
    np.savez_compressed(folder / "pairs.npz", **_pairs())


def write_h5(folder: Path) -> None:
    import h5py

    with h5py.File(folder / "pairs.h5", "w") as file:
        for name, values in _pairs().items():
            file[name] = values


def auditor_of(name: str) -> Callable[[Path], object]:
    def read(folder: Path) -> None:
        from recondoor import config
        from recondoor.audit import Measured, Request, audit_data

        settings = config.from_dict({"operator": {"name": "pixel-mask"}})
        detectors = ("range-test", "measurement-residual")
        audit_data(Request(folder / name, Measured.by(settings), detectors=detectors))

    return read


def write_audit(folder: Path) -> None:
    from recondoor import config
    from recondoor.audit import Measured, Request, as_record, audit_data, files, fill
    from recondoor.report import build_audit

    write_pairs(folder)
    settings = config.from_dict({"operator": {"name": "pixel-mask"}})
    detectors = ("range-test", "measurement-residual")
    audit = audit_data(Request(folder / "pairs.npz", Measured.by(settings), detectors=detectors))
    record = as_record(audit, "recondoor audit data pairs.npz")
    fill(folder / "made", record, files(audit), build_audit)
    (folder / "pairs.npz").unlink()
    for path in sorted((folder / "made").iterdir()):
        if path.name != "report.html":
            path.rename(folder / path.name)
    shutil.rmtree(folder / "made")


def read_audit(folder: Path) -> None:
    from recondoor import report

    report.audit_text(report.read_audit(folder))


def build_audit(folder: Path) -> None:
    from recondoor import report

    report.build_audit(folder)
