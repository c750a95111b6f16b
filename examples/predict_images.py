"""Predicts the pictures in dataset/infer with the public ViT-B/16 and writes annotated copies.

python examples/predict_images.py dataset/infer --checkpoint ckpt/vit_b_16_224.ckpt --out predicted

For the published picture the Vision suite prints {236: 'Doberman'}. The flags are those of `mindvit predict`. The data
set (513 MB) and the checkpoint (346 MB) are downloaded when they are not there.
"""

import os

from mindvit import (
    DownloadError,
    ModelConfig,
    PredictJob,
    download_imagenet_subset,
    fetch_public_weights,
    from_flags,
    predict,
)

PUBLIC = "ckpt/vit_b_16_224.ckpt"

if __name__ == "__main__":
    job = from_flags(PredictJob(paths=["dataset/infer"], model=ModelConfig("vit_b_16"), checkpoint=PUBLIC))
    try:
        if job.paths == ["dataset/infer"] and not os.path.exists("dataset"):
            download_imagenet_subset("dataset")
        if job.checkpoint == PUBLIC:
            job.checkpoint = fetch_public_weights(job.model.name, 224)
    except DownloadError as error:
        raise SystemExit(f"{error}") from None
    predict(job)
