"""Trains a small ViT on CIFAR-10 from random weights, at 32 pixels with patches of 4.

python examples/train_cifar10.py cifar-10-batches-bin --epochs 50

The folder is the unpacked archive of https://www.cs.toronto.edu/~kriz/cifar.html, binary or Python version; with
--download the binary version (162 MB) is fetched when the folder is not there. A folder of CIFAR-100 will do too.
The other flags are those of `mindvit train`, in short too.
"""

import argparse
import os

from mindvit import DataConfig, DownLoad, ModelConfig, TrainConfig, TrainJob, from_flags, train

URL = "https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz"

if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter,
                                     allow_abbrev=False)
    parser.add_argument("root", nargs="?", default="cifar-10-batches-bin", help="folder of the unpacked archive")
    parser.add_argument("--download", action="store_true", help="fetch the archive when the folder is not there")
    own, flags = parser.parse_known_args()

    if own.download and not os.path.exists(own.root):
        DownLoad().download_and_extract_archive(URL, os.path.dirname(os.path.abspath(own.root)))
    train(from_flags(TrainJob(
        data=DataConfig(own.root, augment=[{"random_crop": [0.5, 1.0]}, "flip"], crop_fraction=1.0, workers=2),
        model=ModelConfig("vit_t_16", image_size=32, overrides={
            "patch_size": 4, "num_layers": 6, "pos_embedding": "sincos2d", "pool": "mean"}),
        train=TrainConfig(epochs=50, batch_size=128, lr=1e-3, warmup_epochs=0.5), out="runs/cifar10"), flags))
