"""CPU time until the command line answers what needs no computing, and that it imports no torch."""

import os
import resource
import subprocess
import sys

from _bench import Report, interleaved, parser

BAR = 0.4
COMMANDS = {
    "--help": ["--help"],
    "study --help": ["study", "--help"],
    "list": ["list"],
    "list settings": ["list", "settings"],
    "value out of range": ["study", "--set", "poison.ratio=1.5"],
    "unknown setting": ["study", "--set", "poisson.ratio=0.1"],
    "unknown option": ["study", "--sed", "3"],
}
FLOORS = {"an empty program": "pass", "import cyclopts, pydantic": "import cyclopts, pydantic.main"}
PROBE = """
import sys
from recondoor.cli import main
try:
    main(sys.argv[1:])
except SystemExit:
    pass
sys.stderr.write("torch is imported" if "torch" in sys.modules else "")
"""


def main() -> None:
    arguments = parser(__doc__, rounds=7).parse_args()
    commands = dict(list(COMMANDS.items())[:2]) if arguments.tiny else COMMANDS
    # Without bytecode files every start would compile its modules again.
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    report = Report("startup", arguments)
    programs = {name: ["-c", text] for name, text in FLOORS.items()}
    programs |= {name: ["-m", "recondoor", *words] for name, words in commands.items()}
    contestants = {
        name: (lambda words=words: cpu_seconds(words)) for name, words in programs.items()
    }
    measured = interleaved(arguments.rounds, contestants)
    for name, values in measured.items():
        report.add(name, values, "CPU s", at_most=BAR if name in COMMANDS else None)
    guilty = [name for name, words in commands.items() if imports_torch(words)]
    print(f"  torch is imported by: {', '.join(guilty) or 'none of these'}")
    report.add("commands that import torch", [float(len(guilty))], at_most=0)
    report.close()


def cpu_seconds(words: list[str]) -> float:
    """User and system time of one start of Python."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, *words], capture_output=True, check=False)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def imports_torch(words: list[str]) -> bool:
    done = subprocess.run(
        [sys.executable, "-c", PROBE, *words], capture_output=True, text=True, check=True
    )
    return done.stderr.endswith("torch is imported")


if __name__ == "__main__":
    main()
