"""Fine-tunes ViT-B/16 on the published subset of ImageNet, as the Vision suite did: 10 epochs, batch 16, lr 5e-5.

python examples/train_imagenet_subset.py --data-root dataset --checkpoint ckpt/vit_b_16_224.ckpt

The flags are those of `mindvit train`, in short too: --epochs for --train.epochs. The data set (513 MB) and the
checkpoint (346 MB) are downloaded when they are not there.
"""

import os

from mindvit import (
    DataConfig,
    DownloadError,
    ModelConfig,
    TrainConfig,
    TrainJob,
    download_imagenet_subset,
    fetch_public_weights,
    from_flags,
    train,
)

PUBLIC = "ckpt/vit_b_16_224.ckpt"

if __name__ == "__main__":
    job = from_flags(TrainJob(data=DataConfig("dataset", workers=8), model=ModelConfig("vit_b_16"),
                              train=TrainConfig(epochs=10, batch_size=16, lr=5e-5), checkpoint=PUBLIC,
                              out="runs/imagenet_subset"))
    try:
        if not os.path.exists(job.data.root):
            download_imagenet_subset(job.data.root)
        if job.checkpoint == PUBLIC:
            job.checkpoint = fetch_public_weights(job.model.name, 224)
    except DownloadError as error:
        raise SystemExit(f"{error}") from None
    train(job)
