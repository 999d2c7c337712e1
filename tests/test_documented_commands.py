"""Every command that a page or a help text shows is one that the command line takes."""

import re
import shlex
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest
from cyclopts import CycloptsError

from recondoor import cli, config
from recondoor.cli import _audit, _explore, _network, _pairs, _show, _study, _sweep
from recondoor.core import registry
from recondoor.core.errors import ConfigError
from recondoor.sweeps import load_sweep

REPOSITORY = Path(__file__).parents[1]
PAGES = sorted([*REPOSITORY.glob("*.md"), *(REPOSITORY / "docs").rglob("*.md")])
BLOCKS = re.compile(r"^```sh\n(.*?)^```$", re.DOTALL | re.MULTILINE)
HELPS = [cli.HELP] + [
    function.__doc__ or ""
    for module in (_audit, _explore, _pairs, _show, _network, _study, _sweep)
    for function in vars(module).values()
    if callable(function) and getattr(function, "__module__", "") == module.__name__
]
# Where a shell would take over, and what stands for a value.
ENDS = {"|", ">", "&&", "&", ";", "2>"}


def lines(text: str) -> Iterator[str]:
    for line in text.replace("\\\n", " ").splitlines():
        words = line.removeprefix("For example: ").strip()
        if re.match(r"(srun )?(\.venv/bin/)?recondoor ", words):
            yield words[words.index("recondoor") :]


def commands() -> Iterator[tuple[str, str]]:
    for page in PAGES:
        for block in BLOCKS.findall(page.read_text(encoding="utf-8")):
            yield from ((page.name, line) for line in lines(block))
    for text in HELPS:
        # In the overview, words that explain a command stand behind it, at a distance.
        yield from (("help", re.split(r"\s{3,}", line)[0]) for line in lines(text))


def words(line: str) -> list[str]:
    found = shlex.split(line, comments=True)[1:]
    end = next((index for index, word in enumerate(found) if word in ENDS), len(found))
    return found[:end]


@pytest.mark.parametrize(("place", "line"), list(dict.fromkeys(commands())))
def test_a_documented_command_is_taken(place: str, line: str) -> None:
    _, bound, unknown = cli.app.parse_known_args(words(line))[:3]
    assert unknown == []
    require_names(bound.arguments)


def require_names(arguments: dict[str, Any]) -> None:
    """Refuse settings, presets, attacks, operators, detectors and methods that there are not."""
    options = arguments.get("options")
    if hasattr(options, "resolve"):
        config.load_config(options.preset, (), options.overrides, trusted=False)
        attacks = (getattr(options, "attack", None) or "none").split(",")
        assert not_ours(attacks) <= set(registry.names("attacks"))
    operator = getattr(options, "operator", None)
    if operator is not None:
        assert operator.endswith(".npy") or operator in registry.names("operators")
        config.load_config("quick", (), options.overrides)
    detectors = arguments.get("detectors") or getattr(options, "detectors", None)
    names = [*(_audit.split_names(detectors) or ()), *filter(None, [arguments.get("method")])]
    assert not_ours(names) <= set(registry.names("defences"))
    spec = arguments.get("spec")
    if spec is not None and spec.parts[0] == "studies":
        load_sweep(REPOSITORY / spec)


def not_ours(names: Iterable[str]) -> set[str]:
    """Names but those of a reader's own classes, which are not here."""
    return {name for name in names if not registry.is_own_code(name)}


def test_the_pages_show_commands() -> None:
    found = [line for _, line in commands()]
    assert len(found) > 40
    shown = {words(line)[0] for line in found}
    # The stages of a study are told of in its help, one line each.
    assert {"study", "doctor", "list", "report", "predict", "sweep", "audit", "clean"} <= shown


@pytest.mark.parametrize(
    "line",
    [
        "recondoor study --sed 3",
        "recondoor study --set poisson.ratio=0.1",
        "recondoor study --preset smok",
        "recondoor study --attack bilevl",
        "recondoor audit data a.npz --operator fourir",
        "recondoor audit data a.npz --detectors stripp",
        "recondoor list operator",
        "recondoor clean a.safetensors",
    ],
)
def test_a_wrong_command_is_not_taken(line: str) -> None:
    with pytest.raises((AssertionError, CycloptsError, ConfigError)):
        test_a_documented_command_is_taken("", line)
