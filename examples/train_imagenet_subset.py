"""Fine-tunes ViT-B/16 on the published subset of ImageNet, as the Vision suite did: 10 epochs, batch 16, lr 5e-5.

python examples/train_imagenet_subset.py --data-root dataset --checkpoint ckpt/vit_b_16_224.ckpt

The data set (513 MB) and the checkpoint (346 MB) are downloaded when they are not there.
"""

import argparse
import os

from mindvit import (
    DataConfig,
    DownloadError,
    ModelConfig,
    TrainConfig,
    TrainJob,
    download_imagenet_subset,
    fetch_public_weights,
    train,
)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data-root", default="dataset", help="folder with train/ and val/")
    parser.add_argument("--checkpoint", default="ckpt/vit_b_16_224.ckpt", help="weights to start from")
    parser.add_argument("--model", default="vit_b_16", help="a name that `mindvit models` prints")
    parser.add_argument("--num-classes", type=int, help="width of the head; by default 1000 for ImageNet folders")
    parser.add_argument("--epochs", type=int, default=TrainConfig.epochs)
    parser.add_argument("--batch-size", type=int, default=TrainConfig.batch_size)
    parser.add_argument("--lr", type=float, default=TrainConfig.lr)
    parser.add_argument("--workers", type=int, default=8, help="threads that read and transform images")
    parser.add_argument("--device-target", default="auto", choices=["auto", "Ascend", "GPU", "CPU"])
    parser.add_argument("--amp-level", choices=["O0", "O1", "O2", "O3"], help="O2 on Ascend, O0 elsewhere by default")
    parser.add_argument("--out", default="runs/imagenet_subset", help="run folder")
    args = parser.parse_args()

    if not os.path.exists(args.data_root):
        download_imagenet_subset(args.data_root)
    if args.checkpoint == parser.get_default("checkpoint") and not os.path.exists(args.checkpoint):
        args.checkpoint = fetch_public_weights(args.model, 224)
    train(TrainJob(
        data=DataConfig(args.data_root, workers=args.workers),
        model=ModelConfig(args.model, num_classes=args.num_classes),
        train=TrainConfig(epochs=args.epochs, batch_size=args.batch_size, lr=args.lr),
        checkpoint=args.checkpoint, out=args.out, device_target=args.device_target, amp_level=args.amp_level))


if __name__ == "__main__":
    try:
        main()
    except DownloadError as error:
        raise SystemExit(f"{error}") from None
