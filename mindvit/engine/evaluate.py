"""Evaluation: from an EvalJob to top-1 and top-5 accuracy."""

from mindvit.data import open_dataset
from mindvit.engine.device import build_model, use_device
from mindvit.engine.loss import CrossEntropySmooth
from mindvit.engine.metrics import validation_metrics
from mindvit.engine.network import build_network, image_size, use_preprocessing
from mindvit.files import write_json


def evaluate(job):
    """Evaluates a checkpoint on the validation images; the last, shorter batch counts too.

    Args:
        job (EvalJob): the run.

    Returns:
        dict: `Top_1_Accuracy`, `Top_5_Accuracy`, `val_loss` (mean cross entropy) and `images`.

    Raises:
        FileNotFoundError: there are no data, or no checkpoint.
        ValueError: no weights are given, or data, network, checkpoint or device do not fit.
    """
    if not (job.checkpoint or job.model.pretrained):
        raise ValueError("there are no weights to evaluate; give --checkpoint FILE or --model.pretrained true")
    device = use_device(job.device_target, job.amp_level, job.data_sink, job.mode)
    network = build_network(job.model, job.checkpoint, ckpt_dir=job.ckpt_dir)
    use_preprocessing(network, job.data)
    print(network.preprocessing.describe(image_size(network)), flush=True)
    val_set = open_dataset(job.data.root, "val", batch_size=job.batch_size, num_classes=network.num_classes,
                           val_fraction=job.data.val_fraction, num_parallel_workers=job.data.workers,
                           resize=image_size(network), preprocessing=network.preprocessing)
    metrics = validation_metrics()
    model = build_model(network.set_train(False), device, CrossEntropySmooth(num_classes=network.num_classes),
                        metrics=metrics)
    accuracies = model.eval(val_set.run(), dataset_sink_mode=device.data_sink)
    results = {name: float(value) for name, value in accuracies.items()}
    print({name: results[name] for name in ("Top_1_Accuracy", "Top_5_Accuracy")})
    results["images"] = metrics["val_loss"].images
    print(f"{results['images']} images, mean cross entropy {results['val_loss']:.4f}", flush=True)
    if job.json:
        write_json(results, job.json)
    return results
