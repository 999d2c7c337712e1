"""CPU time until the lab bench of `recondoor explore` answers, and for each answer after that."""

import json
import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

from _bench import Report, parser
from recondoor import studies
from recondoor.config import load_config

START, ANSWER = 6.0, 150.0
"""Bars: seconds until the first answer, and milliseconds of each one after it."""
SHORT = ("attack.names=none,heuristic", "train.max_epochs=1", "train.epoch_pairs=16")
RUNS = {
    "digits, cae of 28x28": ("quick", ("operator.name=fourier", "trigger.amplitude=4")),
    "heads, 16-channel unet of 128x128": ("mri", ("data.size=128", "model.unet.channels=16")),
}
TINY = {"digits": ("smoke", ("operator.name=fourier",))}


class Explored:
    """A folder's page in a process of its own, asked as the page itself asks."""

    def __init__(self, folder: Path, threads: int) -> None:
        command = [
            "-m",
            "recondoor",
            "explore",
            str(folder),
            "--no-browser",
            f"--threads={threads}",
        ]
        self._process = subprocess.Popen(
            [sys.executable, *command], stdout=subprocess.PIPE, text=True
        )
        assert self._process.stdout is not None
        self._address = self._process.stdout.readline().strip()
        self.bench = self._told("bench")

    def look(self, defences: bool) -> None:
        """The first image with the run's own trigger, the defences that are on asked or none."""
        own, seed = self.bench["touch"]["own"], self.bench["seeds"][0]
        touch = {key: own[key] for key in ("enters", "row", "column")}
        on = [each["key"] for each in self.bench["detectors"] if each["on"]] if defences else []
        asked = {"seed": seed["seed"], "model": "heuristic", "image": 0, "touch": touch}
        self._told("look", json.dumps(asked | {"detectors": on}).encode())

    @property
    def seconds(self) -> float:
        """CPU time so far."""
        fields = Path(f"/proc/{self._process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def close(self) -> None:
        """End it as Ctrl-C does."""
        self._process.send_signal(signal.SIGINT)
        self._process.communicate()

    def _told(self, name: str, body: bytes | None = None) -> dict[str, Any]:
        kind = {} if body is None else {"content-type": "application/json"}
        with urlopen(Request(f"{self._address}api/{name}", body, kind)) as answer:
            found: dict[str, Any] = json.load(answer)
        return found


def main() -> None:
    """Start and answers of each run, against their bars."""
    arguments = parser(__doc__, rounds=5).parse_args()
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    report, looks = Report("explore", arguments), 2 if arguments.tiny else 40
    with tempfile.TemporaryDirectory() as place:
        for name, (preset, settings) in (TINY if arguments.tiny else RUNS).items():
            made = load_config(preset, overrides=[*settings, *SHORT])
            folder = studies.run(made, Path(place) / name.partition(",")[0])
            starts: list[float] = []
            answers: dict[bool, list[float]] = {False: [], True: []}
            for _ in range(arguments.rounds):
                explored = Explored(folder, arguments.threads)
                explored.look(defences=True)
                starts.append(explored.seconds)
                for defences, taken in answers.items():
                    before = explored.seconds
                    for _ in range(looks):
                        explored.look(defences)
                    taken.append(1000 * (explored.seconds - before) / looks)
                explored.close()
            report.add(f"{name}: start", starts, "CPU s", at_most=START)
            report.add(f"{name}: an answer", answers[False], "CPU ms", at_most=ANSWER)
            report.add(f"{name}: with defences", answers[True], "CPU ms", at_most=ANSWER)
    report.close()


if __name__ == "__main__":
    main()
