"""Trains a small ViT on CIFAR-10 from random weights, at 32 pixels with patches of 4.

python examples/train_cifar10.py cifar-10-batches-bin

The folder is the unpacked archive of https://www.cs.toronto.edu/~kriz/cifar.html, binary or Python version; with
--download the binary version (162 MB) is fetched when the folder is not there. A folder of CIFAR-100 will do too.
"""

import argparse
import os

from mindvit import DataConfig, DownLoad, ModelConfig, TrainConfig, TrainJob, train

URL = "https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("root", nargs="?", default="cifar-10-batches-bin", help="folder of the unpacked archive")
    parser.add_argument("--download", action="store_true", help="fetch the archive when the folder is not there")
    parser.add_argument("--epochs", type=int, default=50)
    parser.add_argument("--batch-size", type=int, default=128)
    parser.add_argument("--lr", type=float, default=1e-3)
    parser.add_argument("--out", default="runs/cifar10", help="run folder")
    args = parser.parse_args()

    if args.download and not os.path.exists(args.root):
        DownLoad().download_and_extract_archive(URL, os.path.dirname(os.path.abspath(args.root)))
    sizes = {"patch_size": 4, "num_layers": 6, "pos_embedding": "sincos2d", "pool": "mean"}
    train(TrainJob(
        data=DataConfig(args.root, crop_scale=(0.5, 1.0), crop_fraction=1.0, workers=2),
        model=ModelConfig("vit_t_16", image_size=32, overrides=sizes),
        train=TrainConfig(epochs=args.epochs, batch_size=args.batch_size, lr=args.lr, warmup_epochs=args.epochs / 10),
        out=args.out))


if __name__ == "__main__":
    main()
