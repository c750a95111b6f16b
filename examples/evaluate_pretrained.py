"""Evaluates the public ViT-B/16 on the validation images of the published subset of ImageNet.

python examples/evaluate_pretrained.py --data-root dataset --checkpoint ckpt/vit_b_16_224.ckpt

Published by the Vision suite, which left out the last, partial batch: top-1 0.75, top-5 0.928. The flags are those of
`mindvit eval`, in short too. The data set (513 MB) and the checkpoint (346 MB) are downloaded when they are not there.
"""

import os

from mindvit import (
    DataConfig,
    DownloadError,
    EvalJob,
    ModelConfig,
    download_imagenet_subset,
    evaluate,
    fetch_public_weights,
    from_flags,
)

PUBLIC = "ckpt/vit_b_16_224.ckpt"

if __name__ == "__main__":
    job = from_flags(EvalJob(data=DataConfig("dataset"), model=ModelConfig("vit_b_16"), checkpoint=PUBLIC))
    try:
        if not os.path.exists(job.data.root):
            download_imagenet_subset(job.data.root)
        if job.checkpoint == PUBLIC:
            job.checkpoint = fetch_public_weights(job.model.name, 224)
    except DownloadError as error:
        raise SystemExit(f"{error}") from None
    evaluate(job)
