"""MNIST: 60,000 training and 10,000 test images of handwritten digits, 28x28, greyscale.

LeCun, Cortes and Burges, "The MNIST database of handwritten digits". Labels are not needed.
"""

from pathlib import Path

from recondoor.core.progress import Progress
from recondoor.data._base import DataSet
from recondoor.data._download import PublishedFile
from recondoor.data._images import Images
from recondoor.data._published import PublishedSet, cached, load_published, locate

SOURCE = PublishedSet(
    name="mnist",
    train=PublishedFile(
        "train-images-idx3-ubyte",
        "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
        47_040_016,
    ),
    test=PublishedFile(
        "t10k-images-idx3-ubyte",
        "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
        7_840_016,
    ),
    folders=("mnist", "MNIST/raw"),
    mirrors=(
        "https://ossci-datasets.s3.amazonaws.com/mnist/",
        "https://storage.googleapis.com/cvdf-datasets/mnist/",
    ),
)


class Mnist(DataSet):
    """MNIST."""

    def load(self, data_dir: Path | None, progress: Progress) -> Images:
        """Load from `data_dir`, the other places of `_published`, or the network, once."""
        return load_published(SOURCE, data_dir, progress)

    def find(self, data_dir: Path | None) -> Path | None:
        """Folder from which `load` would read; None if it would download."""
        found = locate(SOURCE, data_dir)
        return found[0].parent if found else cached(SOURCE)
