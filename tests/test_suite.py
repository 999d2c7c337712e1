"""The suite itself: what it is told reaches the processes that share it."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

TEST = f"{Path(__file__).with_name('test_data_sets.py')}::test_full_mnist"


@pytest.mark.parametrize("processes", ["0", "1"])
def test_the_folder_of_the_full_data_reaches_every_process(processes: str, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-n", processes, TEST]
    environment = {**os.environ, "RECONDOOR_DATA": str(tmp_path / "nowhere")}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert "skipped" not in done.stdout and f"{tmp_path}/nowhere" in done.stdout
    assert done.returncode == 1
