"""Settings, single settings and sweep files: what writes and what reads them."""

from pathlib import Path


def write_settings(folder: Path) -> None:
    from recondoor import config

    (folder / "config.toml").write_text(config.to_toml(config.load_config("smoke")))


def read_settings(folder: Path) -> None:
    from recondoor import config, poisoning

    settings = config.load_config("quick", [folder / "config.toml"])
    _ = config.identity(settings), config.to_toml(settings), config.original_identity(settings)
    poisoning.make_trigger(settings.trigger, (1, 28, 28))
    poisoning.make_artefact(settings.artefact, (1, 28, 28))


def write_overrides(folder: Path) -> None:
    lines = [
        "poison.ratio=0.1", "attack.names=heuristic,bilevel", "trigger.place=2,3", "seeds=2",
        "data.limit=none", "train.lr=1e-3", 'data.name="a b"', "trigger.file=x.png",
    ]  # fmt: skip
    (folder / "overrides.txt").write_text("\n".join(lines))


def read_overrides(folder: Path) -> None:
    from recondoor import config

    texts = (folder / "overrides.txt").read_text(errors="replace").split("\n")
    config.identity(config.load_config("smoke", (), texts))


def write_sweep_file(folder: Path) -> None:
    (folder / "axes.toml").write_text(
        'preset = "smoke"\nseeds = [0, 1]\n\n[base]\n"poison.ratio" = 0.2\ntrain.max_epochs = 3\n\n'
        '[[block]]\nname = "corner"\nset = { "operator.ratio" = 0.4 }\n'
        'grid = { "attack.l2" = [1.5, 3.0], "trigger.place" = ["centre", "2,3"] }\n'
        'zip = { "model.width" = [4, 8], "model.code" = [4, 8] }\n\n'
        '[[point]]\nname = "alone"\nset = { attack = { names = ["none", "random"] } }\n'
    )


def read_sweep_file(folder: Path) -> None:
    from recondoor.sweeps import load_sweep

    for point in load_sweep(folder / "axes.toml").points:
        _ = point.place
