"""Trains on your own pictures: a folder with one folder for each class, with or without train/ and val/ around them.

python examples/train_own_images.py my_photos --checkpoint ckpt/vit_b_16_224.ckpt --epochs 5

Without val/, a fifth of each class is held out. The checkpoint's head is replaced by one for your classes; its file
may come from timm, Hugging Face, torchvision or Google as well. Without a checkpoint the weights start at random.
"""

import argparse

from mindvit import DataConfig, ModelConfig, PredictJob, TrainConfig, TrainJob, predict, train


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("root", help="folder of class folders")
    parser.add_argument("--checkpoint", help="weights to start from")
    parser.add_argument("--model", help="a name that `mindvit models` prints; the checkpoint's or vit_b_16 by default")
    parser.add_argument("--image-size", type=int, help="image size in pixels; the checkpoint's or 224 by default")
    parser.add_argument("--epochs", type=int, default=TrainConfig.epochs)
    parser.add_argument("--batch-size", type=int, default=TrainConfig.batch_size)
    parser.add_argument("--lr", type=float, default=TrainConfig.lr)
    parser.add_argument("--out", default="runs/own_images", help="run folder; auto takes a free name")
    parser.add_argument("--predict", nargs="*", default=[], help="pictures to name with the trained network")
    args = parser.parse_args()

    results = train(TrainJob(data=DataConfig(args.root), model=ModelConfig(args.model, image_size=args.image_size),
                             train=TrainConfig(epochs=args.epochs, batch_size=args.batch_size, lr=args.lr),
                             checkpoint=args.checkpoint, out=args.out))
    if args.predict:
        folder = results["folder"]  # where --out auto went
        predict(PredictJob(paths=args.predict, checkpoint=f"{folder}/best.ckpt", out=f"{folder}/predicted"))


if __name__ == "__main__":
    main()
