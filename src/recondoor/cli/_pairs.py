"""The pairs of a study in a file, as a team has them."""

import os
from pathlib import Path

from recondoor.cli._options import SCENE, SceneOptions
from recondoor.core.errors import RunError, plain
from recondoor.core.words import plural
from recondoor.rundir import explain, require_place

ELSEWHERE = "choose another place"


def pairs(out: Path, /, *, options: SceneOptions = SCENE) -> None:
    """Write the clean training pairs that a study would measure: z, x and, of MRI, the masks.

    Something to try `recondoor audit data` on, or your own loader. Nothing is trained.

    For example: recondoor pairs mri.npz --preset mri --set input.normalise=none

    Parameters
    ----------
    out
        .npz file that is made.
    """
    if os.path.lexists(out):
        raise RunError(f"{out}: there is something already; choose another name")
    if out.suffix != ".npz":
        raise RunError(f"{out}: given; expected the name of an .npz file")
    require_place(out.parent, ELSEWHERE)
    settings = options.resolve()
    import torch

    from recondoor import audit, data, studies
    from recondoor.core import seeding
    from recondoor.core.terminal import TerminalProgress
    from recondoor.io import gate

    images = data.read(settings.data, TerminalProgress())
    scene = studies.build_scene(settings, images, settings.seed, torch.device("cpu"))
    arrays = {"z": scene.train.z.numpy(), "x": scene.train.x.numpy()}
    drawn = seeding.torch_generator(settings.seed, "sampling", "train")
    mask = getattr(scene.operator.per_sample(len(scene.train), drawn), "mask", None)
    if mask is not None:
        arrays["mask"] = mask.numpy()
    try:
        gate.write_bytes(out, audit.npz(arrays))
    except OSError as error:
        raise explain(error, out, ELSEWHERE, "the pairs are measured again") from None
    print(f"{plain(str(out))}: {plural(len(scene.train), 'pair')} of {tuple(scene.shape)}")
