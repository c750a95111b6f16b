"""The quickstart: train, evaluate and predict on the packaged digits, with neither network nor checkpoint."""

import pathlib
from typing import Any, Literal

from mindvit.config import DataConfig, EvalJob, ModelConfig, PredictJob, TrainConfig, TrainJob
from mindvit.data import write_digits
from mindvit.inference.evaluation import evaluate
from mindvit.inference.prediction import predict
from mindvit.training.loop import new_run_folder, train

OUT = "runs/quickstart"


def digits_job(root, **options):
    """The quickstart's training.

    Args:
        root (str): folder of the digits; see `write_digits`.
        **options: of TrainJob.

    Returns:
        TrainJob.
    """
    crop = {"random_crop": {"scale": [0.7, 1.0], "ratio": [0.85, 1.18]}}
    return TrainJob(
        data=DataConfig(root, augment=[crop], crop_fraction=0.875), model=ModelConfig("digits"),
        train=TrainConfig(epochs=42, batch_size=36, lr=2e-3, warmup_epochs=3, optimizer="adamw", weight_decay=0.05,
                          ema=0.99), **options)


def quickstart(out: str = OUT, seed: int = 42,
               device_target: Literal["auto", "Ascend", "GPU", "CPU"] = "auto") -> dict[str, Any]:
    """Writes the digits as folders of pictures, trains a small ViT on them, evaluates it and predicts ten of them.

    Args:
        out: run folder; auto takes the first free of runs/quickstart, runs/quickstart-2 and so on.
        seed: seed of weights, order and augmentation; the same seed gives the same result.
        device_target: auto, Ascend, GPU or CPU.

    Returns:
        dict: the results of `evaluate` on the 360 held-out digits.

    Example:
        >>> quickstart(out="runs/quickstart")["images"]
        device CPU ...
        360
    """
    folder = new_run_folder(out, OUT)
    root = str(write_digits(folder / "digits"))
    job = digits_job(root, out=str(folder), device_target=device_target)
    job.train.seed = seed
    train(job)
    best = str(folder / "best.ckpt")
    results = evaluate(EvalJob(data=job.data, checkpoint=best, batch_size=60, device_target=device_target))
    held_out = [str(min(pathlib.Path(root, "val", str(digit)).glob("*.png"))) for digit in range(10)]
    predict(PredictJob(paths=held_out, checkpoint=best, top_k=3, out=str(folder / "predicted"),
                       json=str(folder / "predictions.json"), device_target=device_target, batch_size=10))
    print(f"everything is in {folder}: best.ckpt, metrics.csv, metrics.json, curves.png, predicted/", flush=True)
    return results
