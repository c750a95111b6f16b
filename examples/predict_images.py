"""Predicts the pictures in dataset/infer with the public ViT-B/16 and writes annotated copies.

python examples/predict_images.py dataset/infer --checkpoint ckpt/vit_b_16_224.ckpt --out predicted

For the published picture the Vision suite prints {236: 'Doberman'}. The data set (513 MB) and the checkpoint (346 MB)
are downloaded when they are not there.
"""

import argparse
import os

from mindvit import DownloadError, ModelConfig, PredictJob, download_imagenet_subset, fetch_public_weights, predict


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("paths", nargs="*", default=["dataset/infer"], help="pictures, or folders of pictures")
    parser.add_argument("--checkpoint", default="ckpt/vit_b_16_224.ckpt")
    parser.add_argument("--model", default="vit_b_16", help="a name that `mindvit models` prints")
    parser.add_argument("--top-k", type=int, default=PredictJob.top_k)
    parser.add_argument("--out", default=PredictJob.out, help="folder for the annotated copies")
    parser.add_argument("--device-target", default="auto", choices=["auto", "Ascend", "GPU", "CPU"])
    args = parser.parse_args()

    if args.paths == ["dataset/infer"] and not os.path.exists("dataset"):
        download_imagenet_subset("dataset")
    if args.checkpoint == parser.get_default("checkpoint") and not os.path.exists(args.checkpoint):
        args.checkpoint = fetch_public_weights(args.model, 224)
    predict(PredictJob(paths=args.paths, model=ModelConfig(args.model), checkpoint=args.checkpoint, top_k=args.top_k,
                       out=args.out, device_target=args.device_target))


if __name__ == "__main__":
    try:
        main()
    except DownloadError as error:
        raise SystemExit(f"{error}") from None
