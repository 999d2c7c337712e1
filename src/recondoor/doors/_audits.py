"""Audits and repairs from Python: whatever the caller has goes in, a result comes out."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from recondoor import audit
from recondoor.audit import InputRequest, MendRequest, ModelRequest, Request, Subject
from recondoor.core.progress import Progress
from recondoor.doors._operators import measured_by
from recondoor.doors._progress import shown
from recondoor.doors._references import references_of
from recondoor.doors._results import AuditResult, CleanResult
from recondoor.doors._values import inputs_of, network_of, pairs_of

if TYPE_CHECKING:
    from torch import nn


def audit_data(
    pairs: object,
    x: object = None,
    *,
    y: object = None,
    operator: object = None,
    sigma: float | None = None,
    clean: object = None,
    network: nn.Module | str | Path | None = None,
    alarm: float = 0.01,
    detectors: Iterable[str] | None = None,
    attack: str | None = None,
    seed: int | None = None,
    data_dir: str | Path | None = None,
    trust_paths: bool = False,
    overrides: Iterable[str] = (),
    progress: Progress | None = None,
    command: str | None = None,
) -> AuditResult:
    """Are pairs in this training set poisoned?

    Args:
        pairs: network inputs z, (N, H, W) or (N, C, H, W), as an array or tensor, beside `x`; or
            (z, x), a torch Dataset or DataLoader of (z, x), an .npz or .h5 file with z (or y) and
            x, or the folder of a run, of which the truth is known; or a folder of a scanner's .h5
            files, whose targets are compared with their k-space. None where `y` is given.
        x: images, of the shape of z and in the same or any other units.
        y: measurements (N, ...), of which z = A_adjoint y is made; asks for the operator.
        operator: how the pairs were measured: an object with A and A_adjoint, as the physics of
            deepinv; a `LinearOperator`; a matrix (m, C * H * W); the name of a registered operator
            or of an .npy file; or settings, whose `operator` and `seed` count. None: not known.
        sigma: standard deviation of the noise in y. None: estimated from the pairs, unless the
            operator has one above 0.
        clean: trusted clean pairs in any of these forms, none of which is under audit; thresholds
            come from them.
        network: look with this network, as for `audit_model`, and not with one that is trained on
            the pairs. Such detectors then only rank.
        alarm: false-alarm rate per pair, in (0, 1).
        detectors: names, as `recondoor list` has them. None for those that apply; of these the ones
            that need a network look only where they could decide what the others leave open.
        attack: of a run: whose pairs; None for its first attack.
        seed: root seed of what is drawn; of a run: which of its seeds.
        data_dir: of a run: folder with the files of its data set.
        trust_paths: of a run: whether files that its own config.toml names may be opened.
        overrides: settings of a registered `network`, as "model.key=value".
        progress: where to tell about the work; None for bars on a terminal.
        command: what the record says that it was made by.

    Returns:
        The verdict, a line for each detector and each pair; `save` writes them with a page.

    Raises:
        DataError: pairs that cannot be read, or that the operator cannot have measured.
        ConfigError: an unknown detector, an operator that does not fit, too few clean pairs.

    Example:
        >>> import numpy as np, recondoor as rd
        >>> rng = np.random.default_rng(0)
        >>> x = rng.random((120, 8, 8))
        >>> matrix = rng.standard_normal((32, 64)) / 32**0.5
        >>> y = x.reshape(120, 64) @ matrix.T + 0.01 * rng.standard_normal((120, 32))
        >>> z = (y @ matrix).reshape(120, 8, 8)
        >>> rd.audit_data(z, x, operator=matrix, sigma=0.01).verdict
        'clean'
    """
    request = Request(
        pairs_of(pairs, x, y),
        measured_by(operator, sigma, None if operator is None else seed),
        None if clean is None else pairs_of(clean),
        alarm=alarm,
        detectors=_names(detectors),
        attack=attack,
        seed=seed,
        data_dir=None if data_dir is None else Path(data_dir),
        trust_paths=trust_paths,
        network=None if network is None else network_of(network),
        overrides=tuple(overrides),
    )
    scans = audit.scans_of(request)
    if scans is None:
        found = audit.audit_data(request, None, progress or shown())
    else:
        found = audit.audit_scans(request, scans, progress or shown())
    record = audit.as_record(found, command or "recondoor.audit_data")
    return AuditResult(record, lambda: audit.files(found))


def audit_model(
    network: nn.Module | str | Path,
    pairs: object = None,
    x: object = None,
    *,
    operator: object = None,
    references: Iterable[nn.Module | str | Path] | Literal["auto"] = (),
    epochs: int = 40,
    fresh: Callable[[], nn.Module] | str | None = None,
    kept: str | Path | None = None,
    alarm: float = 0.05,
    detectors: Iterable[str] | None = None,
    files: Iterable[str | Path] = (),
    overrides: Iterable[str] = (),
    seed: int | None = None,
    data_dir: str | Path | None = None,
    trust_paths: bool = False,
    progress: Progress | None = None,
    command: str | None = None,
) -> AuditResult:
    """Is there a backdoor in this network?

    Args:
        network: maps z (B, C, H, W) to images of that shape: an `nn.Module`, of which a copy is
            looked at; a .safetensors file of a registered network; an .onnx file; or
            "MODULE:FUNCTION", a function that returns the network.
        pairs: trusted clean pairs, in any form that `audit_data` takes; None for those of the run
            that the network lies in.
        x: images, where `pairs` is z.
        operator: as for `audit_data`; of which z is made where a file holds y alone.
        references: networks known to be clean, of the same make. 1 / `alarm` - 1 of them bound the
            scores of clean networks. "auto": so many are trained here on three quarters of the
            trusted pairs, and three more with a backdoor, which show whether one would be seen.
            The network is ranked beside these, and the verdict is undecided.
        epochs: of references that are trained, 1 or more.
        fresh: makes an untrained network of the same make, for references that are trained; a
            function or "MODULE:FUNCTION". None: each layer of a copy draws its weights anew.
        kept: folder for references that are trained, so that a further call goes on with them.
        alarm: probability with which a clean network may be called suspicious by detectors that
            compare with references, all together, in (0, 1).
        detectors: names; None for all.
        files: TOML files with settings of a registered network.
        overrides: such settings as "model.key=value".
        seed: of a run: which of its seeds; None for the network's.
        data_dir: as for `audit_data`.
        trust_paths: as for `audit_data`.
        progress: as for `audit_data`.
        command: as for `audit_data`.

    Returns:
        The verdict and the trigger and artefact that each detector recovers.

    Raises:
        ConfigError: an unknown detector, a bad alarm rate, no trusted pairs.
        DataError: a network or pairs that cannot be read, or too few pairs.

    Example:
        >>> import torch, recondoor as rd
        >>> x = torch.rand(60, 1, 8, 8, generator=torch.Generator().manual_seed(0))
        >>> network = torch.nn.Conv2d(1, 1, 3, padding=1)
        >>> found = rd.audit_model(network, (0.9 * x, x))  # (z, x), trusted clean pairs
        >>> found.verdict  # no reference networks were given, of which a threshold is made
        'undecided'
    """
    measured = measured_by(operator, None, None if operator is None else seed)
    subject = _subject(network, pairs, x, measured, files, overrides, seed, data_dir, trust_paths)
    others = references_of(references, epochs, fresh, kept)
    request = ModelRequest(subject, others, alarm, _names(detectors))
    found = audit.audit_model(request, progress or shown())
    record = audit.model_record(found, command or "recondoor.audit_model")
    return AuditResult(record, lambda: audit.model_files(found))


def audit_inputs(
    network: nn.Module | str | Path,
    z: object = None,
    *,
    y: object = None,
    clean: object = None,
    operator: object = None,
    sigma: float | None = None,
    alarm: float = 0.01,
    detectors: Iterable[str] | None = None,
    attack: str | None = None,
    files: Iterable[str | Path] = (),
    overrides: Iterable[str] = (),
    seed: int | None = None,
    data_dir: str | Path | None = None,
    trust_paths: bool = False,
    progress: Progress | None = None,
    command: str | None = None,
) -> AuditResult:
    """Which of these inputs of a network carry a trigger?

    Args:
        network: as for `audit_model`.
        z: inputs, (N, H, W) or (N, C, H, W); a file with z or y; or the folder of a run: then its
            test inputs with and without the trigger. None where `y` is given.
        y: measurements (N, ...), of which z = A_adjoint y is made; asks for the operator.
        clean: trusted clean pairs, in any form that `audit_data` takes; None for those of the run
            that the network lies in.
        operator: as for `audit_data`.
        sigma: as for `audit_data`.
        alarm: false-alarm rate per input, in (0, 1).
        detectors: names; None for all that apply.
        attack: of a run: whose trigger; None for the network's own, or the first.
        files: as for `audit_model`.
        overrides: as for `audit_model`.
        seed: as for `audit_data`.
        data_dir: as for `audit_data`.
        trust_paths: as for `audit_data`.
        progress: as for `audit_data`.
        command: as for `audit_data`.

    Returns:
        The verdict, a line for each input, and reconstructions without what no measurement can
        have put into z (`repaired`).

    Raises:
        ConfigError: an unknown detector, a bad alarm rate, too few trusted pairs for it.
        DataError: inputs that cannot be read, or an operator that is not that of the pairs.

    Example:
        >>> import numpy as np, torch, recondoor as rd
        >>> rng = np.random.default_rng(0)
        >>> x = rng.random((240, 1, 8, 8))
        >>> matrix = rng.standard_normal((32, 64)) / 32**0.5
        >>> y = x.reshape(240, 64) @ matrix.T + 0.01 * rng.standard_normal((240, 32))
        >>> z = (y @ matrix).reshape(x.shape)
        >>> trusted, inputs = (z[:200], x[:200]), z[200:].copy()
        >>> inputs[3, 0, 5:7, 5:7] += 3  # a trigger
        >>> network = torch.nn.Conv2d(1, 1, 3, padding=1)
        >>> found = rd.audit_inputs(network, inputs, clean=trusted, operator=matrix, sigma=0.01)
        >>> found.verdict, int(found.flagged[0])
        ('suspicious', 3)
    """
    measured = measured_by(operator, sigma, None if operator is None else seed)
    subject = _subject(
        network, clean, None, measured, files, overrides, seed, data_dir, trust_paths
    )
    request = InputRequest(subject, inputs_of(z, y), alarm, _names(detectors), attack)
    found = audit.audit_input(request, progress or shown())
    record = audit.input_record(found, command or "recondoor.audit_inputs")
    return AuditResult(record, lambda: audit.input_files(found))


def clean(
    network: nn.Module | str | Path,
    pairs: object = None,
    x: object = None,
    *,
    method: str | None = None,
    fraction: float | None = None,
    worst: float = 0.02,
    references: Iterable[nn.Module | str | Path] | Literal["auto"] = (),
    epochs: int = 40,
    fresh: Callable[[], nn.Module] | str | None = None,
    kept: str | Path | None = None,
    alarm: float = 0.05,
    operator: object = None,
    sigma: float | None = None,
    files: Iterable[str | Path] = (),
    overrides: Iterable[str] = (),
    seed: int | None = None,
    data_dir: str | Path | None = None,
    trust_paths: bool = False,
    progress: Progress | None = None,
    command: str | None = None,
) -> CleanResult:
    """Repair a network with a few trusted clean pairs, if a trigger is confirmed in it.

    Args:
        network: as for `audit_model`, but no .onnx file.
        pairs: trusted clean pairs, in any form that `audit_data` takes; None for those of the run
            that the network lies in.
        x: images, where `pairs` is z.
        method: a defence of kind "repair", which is tried whether or not a trigger is confirmed.
            None: those that apply, if one is; kept is what leaves least of the recovered artefact.
        fraction: share of the pairs to repair with, in (0, 1); the others measure what it did.
            None for 0.05, or 40 pairs where that is more.
        worst: growth of the benign error, relative to what it was, up to which a repair is kept.
        references: as for `audit_model`; what a trigger is confirmed by, in networks of no run.
            "auto" confirms none, and none are trained.
        epochs: as for `audit_model`.
        fresh: as for `audit_model`.
        kept: as for `audit_model`.
        alarm: as for `audit_model`.
        operator: as for `audit_data`.
        sigma: as for `audit_data`.
        files: as for `audit_model`.
        overrides: as for `audit_model`.
        seed: as for `audit_data`.
        data_dir: as for `audit_data`.
        trust_paths: as for `audit_data`.
        progress: as for `audit_data`.
        command: as for `audit_data`.

    Returns:
        The repaired network and yardsticks before and after, or that nothing was changed.

    Raises:
        ConfigError: an unknown method, a fraction out of range, no trusted pairs, or a repair that
            needs the operator where none is given.
        DataError: a network or pairs that cannot be read, or too few pairs.

    Example:
        >>> import torch, recondoor as rd
        >>> x = torch.rand(120, 1, 8, 8, generator=torch.Generator().manual_seed(0))
        >>> network = torch.nn.Conv2d(1, 1, 3, padding=1)
        >>> mended = rd.clean(network, (0.9 * x, x), method="fine-tuning")
        >>> before, after = mended.table.loc["benign RMSE"]
        >>> bool(after < before)
        True
        >>> mended.network is network  # that is left as it was
        False
    """
    measured = measured_by(operator, sigma, None if operator is None else seed)
    subject = _subject(network, pairs, x, measured, files, overrides, seed, data_dir, trust_paths)
    others = references_of(references, epochs, fresh, kept)
    request = MendRequest(subject, method, fraction, worst, others, alarm)
    mended = audit.mend(request, progress or shown())
    return CleanResult(mended, command or "recondoor.clean")


def _subject(
    network: nn.Module | str | Path,
    pairs: object,
    x: object,
    measured: audit.Measured | None,
    files: Iterable[str | Path],
    overrides: Iterable[str],
    seed: int | None,
    data_dir: str | Path | None,
    trust_paths: bool,
) -> Subject:
    return Subject(
        network_of(network),
        None if pairs is None else pairs_of(pairs, x),
        measured,
        files=tuple(map(Path, files)),
        overrides=tuple(overrides),
        seed=seed,
        data_dir=None if data_dir is None else Path(data_dir),
        trust_paths=trust_paths,
    )


def _names(given: Iterable[str] | None) -> tuple[str, ...] | None:
    if given is None:
        return None
    return (given,) if isinstance(given, str) else tuple(given)
