"""The settings that lie in a run folder, and the paths that they name."""

from glob import escape
from pathlib import Path

from recondoor import config, records
from recondoor.config import Config
from recondoor.core.errors import ConfigError, DataError, RunError
from recondoor.io import gate
from recondoor.io.tables import parse_toml
from recondoor.rundir._files import RESTORE, read_json, read_text
from recondoor.rundir._place import bare_name

SETTINGS_FILE = "config.toml"


def settings(folder: Path, *, trusted_paths: bool, data_dir: Path | None = None) -> Config:
    """The settings of the run in `folder`, which may be a stranger's.

    `trusted_paths`: whether the user says that the paths which they name may be opened here.
    `data_dir`, which the user gave, takes the place of the folder's own.

    Raises:
        DataError: no folder of a run.
        RunError: a config.toml that cannot be read, or was changed since it was written.
        ConfigError: settings that are not valid, or a path that nobody here vouches for.
    """
    path = folder / SETTINGS_FILE
    if not (path.exists() or path.is_symlink()):
        raise DataError(
            f"'{folder}' is no folder of a run (it has no config.toml); give one, or an .npz or "
            ".h5 file of pairs"
        )
    found = read_settings(folder)
    made = folder / "provenance.json"
    if made.exists():
        record = read_json(made, inside=folder)
        records.require(records.OwnProvenance, record, str(made))
        # One without a digest may be of a version whose settings had another hash.
        if record.get("digest") is not None:
            require_unchanged(path, found, record["identity"])
    if data_dir is not None:
        data = found.data.model_copy(update={"dir": data_dir})
        found = found.model_copy(update={"data": data})
    named = config.named_paths(found)
    if data_dir is not None:
        named.pop("data.dir", None)
    code = config.own_code(found)
    if code and not trusted_paths:
        key, value = next(iter(code.items()))
        raise ConfigError(
            f"{path}: names code of somebody's own, {key}='{value}', which is not run because a "
            "folder says so; give --trust-paths if you know it"
        )
    if named and not trusted_paths:
        key, value = next(iter(named.items()))
        raise ConfigError(
            f"{path}: names the path {key}='{value}', which is not opened because a folder says "
            "so; give --trust-paths if you know it"
        )
    return found


def default_folder(wanted: Config) -> Path:
    """Where a run of these settings lies: runs/DATA-HASH, or an older name where it is there."""
    path = Path(wanted.data.name)
    folder = Path("runs") / f"{bare_name(path)}-{config.identity(wanted)}"
    return folder if folder.exists() else _older(wanted, path.stem) or folder


def _older(wanted: Config, stem: str) -> Path | None:
    """The folder of a run of these settings under a name that earlier versions gave it.

    They cut names at any dot, and took two spellings of a setting for two settings.
    """
    for folder in sorted(Path("runs").glob(f"{escape(stem)}-*")):
        spelled = as_spelled(folder, wanted)
        if folder.name == f"{stem}-{config.identity(spelled)}":
            return folder
    return None


def as_spelled(folder: Path, wanted: Config) -> Config:
    """`wanted` as the run in `folder` spells it, if that is a run of the same settings.

    Runs are found again that were begun when '3, 4' and '3,4' were two settings. What is not part
    of the identity stays as wanted.
    """
    if not (folder / SETTINGS_FILE).is_file():
        return wanted
    try:
        found = read_settings(folder)
    except (RunError, ConfigError):
        return wanted  # who opens the folder says what is wrong with it
    if config.identity(found) == config.identity(wanted):
        return wanted
    if config.identity(config.canonical(found)) != config.identity(wanted):
        return wanted
    return config.with_identity_of(wanted, found)


def require_unchanged(path: Path, found: Config, identity: str) -> None:
    """Refuse settings that are not those of the run `identity`; raises RunError."""
    own = config.identity(found)
    if own != identity:
        raise RunError(
            f"{path}: was changed since it was written: its settings are those of run {own}, and "
            f"provenance.json says {identity}; {RESTORE}"
        )


def read_settings(folder: Path) -> Config:
    """What config.toml in `folder` says, whatever paths it names; nothing is opened."""
    path = folder / SETTINGS_FILE
    text = read_text(path, inside=folder, most=gate.SETTINGS)
    try:
        tree = parse_toml(text)
    except (ValueError, RecursionError) as error:
        raise RunError(f"{path} cannot be read: {error}; {RESTORE}") from None
    try:
        return config.from_dict(tree, trusted=False)
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from None
