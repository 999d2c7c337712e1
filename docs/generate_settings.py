"""Write docs/settings.md from the settings themselves: python docs/generate_settings.py."""

from collections.abc import Sequence
from pathlib import Path

from recondoor import config

PAGE = Path(__file__).with_name("settings.md")
INTRODUCTION = """\
# Settings

<!-- Made by docs/generate_settings.py; edit src/recondoor/config/ instead. -->

Settings are one frozen tree. A value comes, each layer over the one before, from a preset
(`quick` where none is named), TOML files and single overrides:

```sh
recondoor study --preset paper --config mine.toml --set attack.bilevel.variant=paper
```

A TOML file holds any part of the tree, for example:

```toml
seeds = 3

[poison]
ratio = 0.1
```

- The settings of a plug-in lie in its section under its name, with `_` for `-`. Those of a class of
  your own, `MODULE:NAME`, lie under NAME ([adding a method](adding-a-method.md)).
- Keys of release 0.1.0, which knew no plug-in's own settings, are still taken: `operator.ratio`,
  `operator.file`, `model.width`, `attack.inner_steps` and the like. The command says what they are
  called now. Records of runs go on listing settings by them.
- `none` clears a setting that may be none, as in `--set data.limit=none`.
- `--set` takes one key and one value. A line break, a comment or an empty value is refused. Where
  a key is given more than once, the last value counts, and the command says so.
- `--dataset`, `--data-dir`, `--attack` and `--seeds` set `data.name`, `data.dir`, `attack.names`
  and `seeds`, over all other layers.
- `--device`, `--threads` and `--out` are no settings: they say how and where to run.
- An unknown key, a wrong type or a value out of range is refused before anything is written. From
  Python, `model_copy` checks nothing: `run_study`, `run_sweep` and the audits check what they get.
- Values beyond 4.3e9 in z, the trigger or the artefact are refused: gradients grow as input times
  error, Adam keeps their squares, and 32 bits do not hold the fourth power of more.
- The run's identity is a hash of the settings as release 0.1.0 knew them, and of what differs from
  the defaults of all others, but for `data.dir`, `attack.names`, `seeds` and the
  thresholds `evaluate.success_*`, by which reports count: asking for more attacks or seeds extends
  a run, changing anything else that is in it starts another one. `evaluate.tau_unit` is left out
  where both its values mean the same. Two spellings of a value, such as `3,4` and `3, 4` or `0.0`
  and `-0.0`, are one run. Paths count by their text. The images and the content of
  `trigger.file` and `artefact.file` are compared by their
  fingerprints beside it: a run is never carried on with other ones.
- Where a `file` is given, `shape` and `size` have no effect and `amplitude` multiplies its values.

`recondoor list settings` prints the first table, and with `--preset` the values of another preset.

## All settings

The default is what a command uses where nothing else is said: the value in the preset `quick`.
"""
PRESETS = """
## What the presets change

A dash means that the default stays, which is that of `quick`.
"""


def cell(text: str) -> str:
    """Escape a text for a table cell."""
    return text.replace("|", "\\|")


def table(header: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> list[str]:
    """Lines of a Markdown table."""
    rule = "|".join("---" for _ in header)
    return [f"| {' | '.join(header)} |", f"|{rule}|"] + [f"| {' | '.join(row)} |" for row in rows]


def defaults() -> dict[str, str]:
    """What a command uses of each setting where nothing else is said."""
    usual = config.load_config()
    lines = config.settings_table()
    return {line.key: config.value_of(usual, line.key, line.default) for line in lines}


def preset_rows(names: tuple[str, ...]) -> list[tuple[str, ...]]:
    """One row for each setting that some preset changes: key, default, value in each preset."""
    loaded = [config.load_config(name) for name in names]
    rows = []
    for key, default in defaults().items():
        values = [config.value_of(settings, key, default) for settings in loaded]
        if set(values) != {default}:
            shown = [f"`{v}`" if v != default else "-" for v in values]
            rows.append((f"`{key}`", f"`{default}`", *shown))
    return rows


ORDER = ("smoke", "paper", "paper-regime", "mri", "ct")


def page() -> str:
    """The whole page."""
    usual = defaults()
    settings = [
        (f"`{s.key}`", f"`{usual[s.key]}`", cell(s.allowed), cell(s.meaning))
        for s in config.settings_table()
    ]
    others = set(config.presets()) - {"quick"}
    names = tuple(sorted(others, key=ORDER.index))
    lines = [INTRODUCTION, *table(("key", "default", "allowed", "meaning"), settings), PRESETS]
    lines += table(("key", "default", *(f"`{name}`" for name in names)), preset_rows(names))
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
