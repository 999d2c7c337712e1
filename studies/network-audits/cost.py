"""Seconds and memory of `erased-trigger` by the size of the image: `python cost.py`; one thread.

The network is fastMRI's U-Net of 16 channels with random weights: what it costs does not depend on
them. Each size in a process of its own, of which the largest memory is told.
"""

import resource
import subprocess
import sys
import time

import torch

from recondoor import defences
from recondoor.defences import Defender
from recondoor.models._unet import UNet
from recondoor.poisoning import Pairs


def measure(side: int) -> None:
    """Print a line of a table."""
    torch.set_num_threads(1)
    generator = torch.Generator().manual_seed(0)
    x = torch.rand(40, 1, side, side, generator=generator)
    model = UNet(1, 1, 16, 4, 0.0).eval()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    started = time.process_time()
    defences.network_detector("erased-trigger").inspect(Defender(Pairs(x, x), model=model))
    seconds = time.process_time() - started
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"| {side} | {seconds:.0f} | {most - before:.0f} |", flush=True)


if __name__ == "__main__":
    if len(sys.argv) > 1:
        measure(int(sys.argv[1]))
    else:
        for side in (64, 128, 320):
            subprocess.run([sys.executable, __file__, str(side)], check=True)
