"""What each backend and precision costs in accuracy, on the packaged digits and MNIST, and gains in speed.

python -m benchmarks.quantisation --mnist FOLDER
"""

import pathlib
import tempfile

import numpy as np

from benchmarks import measure
from benchmarks.networks import batch_of

CALIBRATED_ON = 256  # training images
IN_INT8 = ["MatMul", "Gemm"]  # the products; onnxruntime's default, all that it can, is in the record too


def int8_dynamic(source, target, calibration):
    """Weights in int8, activations in ranges found anew for each batch."""
    from onnxruntime.quantization import quantize_dynamic

    quantize_dynamic(source, target, op_types_to_quantize=IN_INT8)


def int8_static(source, target, calibration, kinds=IN_INT8):
    """Activations in ranges that calibration images had, as QuantizeLinear and DequantizeLinear around the products."""
    from onnxruntime.quantization import CalibrationDataReader, QuantFormat, quantize_static

    class Images(CalibrationDataReader):
        batches = iter(np.split(calibration, len(calibration) // 4))

        def get_next(self):
            batch = next(self.batches, None)
            return None if batch is None else {"images": batch}

    quantize_static(source, target, Images(), quant_format=QuantFormat.QDQ, per_channel=True,
                    op_types_to_quantize=kinds)


def int8_static_all(source, target, calibration):
    int8_static(source, target, calibration, None)


# name: (backend, its precision, what quantises the file first)
WAYS = {"mindspore": ("mindvit", None, None), "onnxruntime": ("onnxruntime", None, None),
        "onnxruntime, int8 dynamic": ("onnxruntime", None, int8_dynamic),
        "onnxruntime, int8 static": ("onnxruntime", None, int8_static),
        "onnxruntime, int8 static, all operators": ("onnxruntime", None, int8_static_all),
        "openvino": ("openvino", "f32", None), "openvino, bfloat16": ("openvino", "bf16", None),
        "openvino, int8 static": ("openvino", "f32", int8_static)}


def files(network, folder, calibration):
    """{what quantises: path of the ONNX file} of a network in evaluation mode."""
    from onnxruntime.quantization import quant_pre_process

    from mindvit.exporting.onnx_file import network_graph

    paths = {None: folder / "vit.onnx"}
    network_graph(network).write(paths[None])
    ready = folder / "ready.onnx"
    quant_pre_process(paths[None], ready, skip_symbolic_shape=True)
    for quantise in (int8_dynamic, int8_static, int8_static_all):
        paths[quantise] = folder / f"{quantise.__name__}.onnx"
        quantise(ready, paths[quantise], calibration)
    return paths


def logits_of(network, paths, way):
    """What computes the logits in one of the WAYS."""
    import mindspore as ms

    from mindvit.exporting.onnx_file import onnxruntime_session

    backend, precision, quantise = WAYS[way]
    if backend == "mindvit":
        return lambda images: network(ms.Tensor(images)).asnumpy()
    if backend == "onnxruntime":
        return onnxruntime_session(str(paths[quantise]))
    import openvino

    model = openvino.Core().compile_model(paths[quantise], "CPU", {"INFERENCE_PRECISION_HINT": precision})
    return lambda images: model(images)[0]


def held_out(dataset, preprocessing, number=None):
    """(images, labels) of a data set as the network takes them."""
    import mindvit

    chosen = range(len(dataset))[::len(dataset) // number if number else 1]
    return (np.stack([mindvit.prepare_image(dataset.image(i), 28, preprocessing) for i in chosen]),
            np.array([dataset.labels[i] for i in chosen]))


def accuracies(arguments, folder):
    """{data: {way: top-1, images whose top-1 is another than MindSpore's}} of the packaged weights."""
    import mindvit

    network = mindvit.create_model("digits", pretrained=True).set_train(False)
    digits = mindvit.write_digits(folder / "digits")
    preprocessing = network.preprocessing
    calibration, _ = held_out(mindvit.ImageFolder(digits, "train"), preprocessing, CALIBRATED_ON)
    paths = files(network, folder, calibration[:CALIBRATED_ON])
    sets = {"digits": mindvit.ImageFolder(digits, "val")}
    if arguments.mnist:
        sets["MNIST"] = mindvit.Mnist(arguments.mnist, "val")
    results = {}
    for name, dataset in sets.items():
        images, labels = held_out(dataset, preprocessing, 100 if arguments.smoke else None)
        parts = np.array_split(images, len(images) // 50)
        found = {way: np.concatenate(list(map(logits_of(network, paths, way), parts))).argmax(1) for way in WAYS}
        results[name] = {way: {"top_1": float((classes == labels).mean()),
                               "changed": int((classes != found["mindspore"]).sum())}
                         for way, classes in found.items()}
    return results


def speeds(arguments, folder):
    """{way: what `measure_in_turn` gives} of a network with random weights."""
    import mindvit

    sizes = measure.model_sizes(arguments)
    paths = files(mindvit.ViT(**sizes).set_train(False), folder, batch_of(sizes, 4)[0])
    jobs = {}
    for way, (backend, precision, quantise) in WAYS.items():
        told = {"train": False} if backend == "mindvit" else {"path": str(paths[quantise])}
        jobs[way] = {"task": f"benchmarks.networks:{backend}", "threads": arguments.threads, "sizes": sizes,
                     "batch": arguments.batch, **told, **({"precision": precision} if precision else {})}
    return measure.measure_in_turn(jobs, arguments.repeats)


def main(words=None):
    parser = measure.parser(__doc__)
    parser.add_argument("--mnist", type=pathlib.Path, metavar="FOLDER", help="MNIST's files, where they are to be had")
    parser.add_argument("--batch", type=int, default=8, help="images of the batches timed (%(default)s)")
    arguments = measure.parse(parser, words)
    measure.limit_threads(arguments.threads)
    import mindvit

    mindvit.use_device("CPU")
    with tempfile.TemporaryDirectory() as first, tempfile.TemporaryDirectory() as second:
        results = {"accuracy": accuracies(arguments, pathlib.Path(first)),
                   "speed": speeds(arguments, pathlib.Path(second))}
    base = results["speed"]["mindspore"]["seconds"]
    rows = []
    for way in WAYS:
        cells = [f"{data[way]['top_1']:.2%} ({data[way]['changed']})" for data in results["accuracy"].values()]
        seconds = results["speed"][way]["seconds"]
        rows.append((way, *cells, arguments.batch / seconds, base / seconds))
    headers = (f"{name}, top-1 (changed)" for name in results["accuracy"])
    measure.print_table(("", *headers, "images/s", "x of mindspore"), rows)
    measure.write_record(arguments, results)


if __name__ == "__main__":
    main()
