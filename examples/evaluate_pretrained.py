"""Evaluates the public ViT-B/16 on the validation images of the published subset of ImageNet.

python examples/evaluate_pretrained.py --data-root dataset --checkpoint ckpt/vit_b_16_224.ckpt

Published by the Vision suite, which left out the last, partial batch: top-1 0.75, top-5 0.928. The data set (513 MB)
and the checkpoint (346 MB) are downloaded when they are not there.
"""

import argparse
import os

from mindvit import (
    DataConfig,
    DownloadError,
    EvalJob,
    ModelConfig,
    download_imagenet_subset,
    evaluate,
    fetch_public_weights,
)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data-root", default="dataset", help="folder with val/")
    parser.add_argument("--checkpoint", default="ckpt/vit_b_16_224.ckpt")
    parser.add_argument("--model", default="vit_b_16", help="a name that `mindvit models` prints")
    parser.add_argument("--batch-size", type=int, default=EvalJob.batch_size)
    parser.add_argument("--device-target", default="auto", choices=["auto", "Ascend", "GPU", "CPU"])
    args = parser.parse_args()

    if not os.path.exists(args.data_root):
        download_imagenet_subset(args.data_root)
    if args.checkpoint == parser.get_default("checkpoint") and not os.path.exists(args.checkpoint):
        args.checkpoint = fetch_public_weights(args.model, 224)
    evaluate(EvalJob(data=DataConfig(args.data_root), model=ModelConfig(args.model), checkpoint=args.checkpoint,
                     batch_size=args.batch_size, device_target=args.device_target))


if __name__ == "__main__":
    try:
        main()
    except DownloadError as error:
        raise SystemExit(f"{error}") from None
