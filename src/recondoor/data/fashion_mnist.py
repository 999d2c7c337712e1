"""Fashion-MNIST: 60,000 training and 10,000 test images of clothing, 28x28, greyscale.

Xiao, Rasul and Vollgraf, arXiv:1708.07747. Debian's package dataset-fashion-mnist has the same
images. Labels are not needed.
"""

from pathlib import Path

from recondoor.core.progress import Progress
from recondoor.data._base import DataSet
from recondoor.data._download import PublishedFile
from recondoor.data._images import Images
from recondoor.data._published import PublishedSet, cached, load_published, locate

SOURCE = PublishedSet(
    name="fashion-mnist",
    train=PublishedFile(
        "train-images-idx3-ubyte",
        "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
        47_040_016,
    ),
    test=PublishedFile(
        "t10k-images-idx3-ubyte",
        "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
        7_840_016,
    ),
    folders=("fashion-mnist", "FashionMNIST/raw"),
    mirrors=(
        "https://storage.googleapis.com/tensorflow/tf-keras-datasets/",
        "https://raw.githubusercontent.com/zalandoresearch/fashion-mnist/master/data/fashion/",
        "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",
    ),
)


class FashionMnist(DataSet):
    """Fashion-MNIST."""

    def load(self, data_dir: Path | None, progress: Progress) -> Images:
        """Load from `data_dir`, the other places of `_published`, or the network, once."""
        return load_published(SOURCE, data_dir, progress)

    def find(self, data_dir: Path | None) -> Path | None:
        """Folder from which `load` would read; None if it would download."""
        found = locate(SOURCE, data_dir)
        return found[0].parent if found else cached(SOURCE)
