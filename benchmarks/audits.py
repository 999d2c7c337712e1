"""Time and memory of an audit of pairs, each in a process of its own.

Images are smooth noise behind a Cartesian mask: what they show does not matter for the cost.
The memory is that of the whole process.
"""

import json
import subprocess
import sys

from _bench import Report, interleaved, parser

SIZES = {
    "1,000 pairs of 320x320, physics": (1_000, 320, "physics", 180, 3.0),
    "1,000 pairs of 320x320, shared pattern": (1_000, 320, "shared", 180, 3.0),
    "10,000 of 128x128, all": (10_000, 128, "all", 600, 4.0),
    "300 of 64x64, a dense matrix": (300, 64, "matrix", 35, 3.0),
}
"""Pairs, side, what is looked with, and the bars: seconds of one core and GiB."""

PROBE = """
import json, resource, sys, time
import numpy as np, torch
from recondoor import audit_data
count, side, what = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
torch.set_num_threads(int(sys.argv[4]))
rng = torch.Generator().manual_seed(0)
mask = torch.rand(side, generator=rng) < 0.3
mask[:4] = mask[-4:] = True
x, z = torch.empty(count, side, side), torch.empty(count, side, side)
for k in range(0, count, 50):
    coarse = torch.rand(min(50, count - k), 1, 12, 12, generator=rng)
    x[k : k + 50] = torch.nn.functional.interpolate(coarse, (side, side), mode="bicubic")[:, 0]
    noise = 0.02 * torch.randn(2, *x[k : k + 50].shape, generator=rng)
    measured = torch.fft.fft2(x[k : k + 50], norm="ortho") + torch.complex(*noise)
    z[k : k + 50] = torch.fft.ifft2(measured * mask, norm="ortho").real
physics, shared = ("range-test", "measurement-residual"), ("shared-pattern",)
given = {"z": z.numpy(), "x": x.numpy()}
more = {"physics": {"operator": "mri", "detectors": physics}, "shared": {"detectors": shared}}
if what == "matrix":
    waves = np.fft.fft2(np.eye(side * side).reshape(-1, side, side), norm="ortho")
    rows = waves[:, :, mask.numpy()].reshape(side * side, -1).T
    more[what] = {"operator": np.ascontiguousarray(rows), "detectors": physics}
if what == "physics":
    given["mask"] = torch.fft.fftshift(mask).numpy()
started = time.process_time()
found = audit_data(given, **more.get(what, {}))
seconds = time.process_time() - started
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
print(json.dumps({"seconds": seconds, "peak": peak, "verdict": found.verdict}))
"""


def main() -> None:
    """Seconds of a core and peak memory, against their bars."""
    arguments = parser(__doc__, rounds=1).parse_args()
    report = Report("audits", arguments)
    tiny = {f"30 pairs of 16x16, {each[2]}": (30, 16, *each[2:]) for each in SIZES.values()}
    for name, (count, side, what, most, memory) in (tiny if arguments.tiny else SIZES).items():
        peaks = []

        def audited(
            given: tuple[int, int, str] = (count, side, what), peaks: list[float] = peaks
        ) -> float:
            command = [sys.executable, "-c", PROBE, *map(str, (*given, arguments.threads))]
            done = subprocess.run(command, capture_output=True, text=True, check=True)
            found = json.loads(done.stdout.splitlines()[-1])
            peaks.append(found["peak"])
            return float(found["seconds"])

        seconds = interleaved(arguments.rounds, {name: audited}, warm_up=False)[name]
        report.add(f"{name}, CPU time", seconds, "s", at_most=most)
        report.add(f"{name}, peak memory", peaks, "GiB", at_most=memory)
    report.close()


if __name__ == "__main__":
    main()
