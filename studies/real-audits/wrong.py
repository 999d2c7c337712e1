"""What `recondoor.audit_data` says where operator, measurements or images are not of one kind.

    python wrong.py POOLS wrong.json

POOLS is the folder that pools.py wrote. 300 clean pairs behind `mri` at 4x, y or z given, each
with one thing wrong; the noise level is not told. A lesion in the targets of 5 % is judged too,
where nothing is wrong. Resumable.
"""

import json
import sys
from pathlib import Path

import numpy as np
import torch
from operators import fft, ifft, lines
from pipelines import patterns

import recondoor as rd

COUNT, SEED, SIGMA = 300, 5, 0.01
LESION = "a lesion in 5 % of the targets"


def scan(x, rng):
    """Fully sampled k-space with noise of SIGMA."""
    noise = rng.standard_normal((2, *x.shape)) * SIGMA / np.sqrt(2)
    return fft(x) + noise[0] + 1j * noise[1]


def cases(images):
    """(what is wrong, x, y of all columns, mask that is told)."""
    rng = np.random.default_rng(SEED)
    x = images[rng.choice(len(images), COUNT, replace=False)].astype(np.float32)
    mask, other = lines(4, SEED), lines(4, SEED + 1)
    y = scan(x, rng) * mask
    bad = np.arange(COUNT) < COUNT // 20
    yield "nothing", x, y, mask
    yield LESION, x + patterns("label", bad, 0.2, rng)[1], y, mask
    yield "other lines", x, scan(x, rng) * other, mask
    yield "k-space centred otherwise", x, np.roll(y, 1, -2), mask
    yield "y times 0.001", x, y / 1000, mask
    yield "x in another order than y", x, y[rng.permutation(COUNT)], mask
    noise = rng.random((8, *x.shape[1:])).astype(np.float32)
    yield "8 pairs of noise", noise, scan(rng.random(noise.shape), rng) * mask, mask
    loud = rng.standard_normal((2, *x.shape)) / np.sqrt(2)
    yield "σ = 1.02, images in [0, 1]", x, (fft(x) + 1.02 * (loud[0] + 1j * loud[1])) * mask, mask


def told(x, y, mask, given):
    """The verdict and its reason."""
    z = {"z": ifft(y).real.astype(np.float32)} if given == "z" else {"y": y.astype(np.complex64)}
    found = rd.audit_data({"x": x, **z, "mask": mask}, operator="mri")
    return {"verdict": found.verdict, "reason": found.record.get("reason")}


def table(rows):
    """A line for each case."""
    yield "| what is wrong | y given | z given |"
    yield "|---|---|---|"
    for name in dict.fromkeys(key.split("; ")[0] for key in rows):
        said = [rows[f"{name}; {given}"]["verdict"].upper() for given in ("y", "z")]
        yield f"| {name} | {' | '.join(said)} |"


def main():
    """Judge what is missing in the file."""
    torch.set_num_threads(1)
    out = Path(sys.argv[2])
    rows = json.loads(out.read_text("utf-8")) if out.exists() else {}
    images = np.load(Path(sys.argv[1]) / "score-mr.npy")
    for name, x, y, mask in cases(images):
        for given in ("y", "z"):
            key = f"{name}; {given}"
            if key in rows:
                continue
            rows[key] = told(x, y, mask, given)
            part = out.with_suffix(".part")
            part.write_text(json.dumps(rows, indent=1, ensure_ascii=False) + "\n", "utf-8")
            part.replace(out)
            print(key, rows[key]["verdict"], flush=True)


if __name__ == "__main__":
    main()
