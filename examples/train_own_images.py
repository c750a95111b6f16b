"""Trains on your own pictures: a folder with one folder for each class, with or without train/ and val/ around them.

python examples/train_own_images.py my_photos --checkpoint ckpt/vit_b_16_224.ckpt --epochs 5 --predict new_photos

Without val/, a fifth of each class is held out. The checkpoint's head is replaced by one for your classes; its file
may come from timm, Hugging Face, torchvision or Google as well. Without a checkpoint the weights start at random.
All flags of `mindvit train` are understood, in short too: --epochs for --train.epochs.
"""

import argparse

from mindvit import DataConfig, PredictJob, TrainJob, from_flags, predict, train

if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter,
                                     allow_abbrev=False)
    parser.add_argument("root", help="folder of class folders")
    parser.add_argument("--predict", nargs="*", default=[], help="pictures to name with the trained network")
    own, flags = parser.parse_known_args()

    results = train(from_flags(TrainJob(data=DataConfig(own.root), out="runs/own_images"), flags))
    if own.predict:
        folder = results["folder"]  # where --out auto went
        predict(PredictJob(paths=own.predict, checkpoint=f"{folder}/best.ckpt", out=f"{folder}/predicted"))
