"""What a run can be told, with every default in one place; the command line and YAML files are made from these."""

import dataclasses
import math
import numbers
import os
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

from mindvit.attention.methods import METHODS
from mindvit.choices import Choice, Plain, choose
from mindvit.data.augment import AUGMENTATIONS
from mindvit.data.mixing import MIXING
from mindvit.optim.distillation import DISTILLATIONS
from mindvit.optim.groups import TRAINABLE
from mindvit.optim.optimizers import OPTIMIZERS
from mindvit.optim.schedule import SCHEDULES

Overrides = dict[str, Plain]  # arguments of ViT
# Those of mindspore.device_context.ascend.op_precision.precision_mode
PrecisionMode = Literal["force_fp16", "allow_fp32_to_fp16", "allow_mix_precision", "must_keep_origin_dtype",
                        "force_fp32", "allow_fp32_to_bf16", "allow_mix_precision_fp16", "allow_mix_precision_bf16"]


def one_of(table, default):
    """A field that names a function of the table, with options; see `choose`."""
    return field(default=default, metadata={"table": table})


def list_of(table, *default):
    """A field that names several of them."""
    return field(default_factory=lambda: list(default), metadata={"table": table})


def number(default, low, high=math.inf):
    """A field that is a finite number from low to high, or several, or None where that is the default."""
    return field(default=default, metadata={"range": (low, high)})


def check(config, prefix=""):
    """ValueError unless the fields that name functions name functions that there are, numbers are in range, and texts
    are not empty; the message names the flag, which begins with the prefix."""
    for part in dataclasses.fields(config):
        name, value, kinds = prefix + part.name, getattr(config, part.name), {part.type, *get_args(part.type)}
        if value is None:
            continue
        several = value if isinstance(value, (list, tuple)) else [value]
        for choice in several if "table" in part.metadata else ():
            choose(choice, part.metadata["table"], name)
        words = {word for kind in kinds for word in get_args(kind)}  # of a Literal
        if "range" in part.metadata and not (isinstance(value, str) and value in words):
            low, high = part.metadata["range"]
            number, kind = (numbers.Integral, "a whole number") if int in kinds else (numbers.Real, "a number")
            if not all(isinstance(each, number) and not isinstance(each, bool) and low <= each <= high
                       and math.isfinite(each) for each in several):
                given = repr(value) if isinstance(value, str) else value
                limits = f"of at least {low}" if high == math.inf else f"from {low} to {high}"
                raise ValueError(f"{name} is {given}; {'it' if several == [value] else 'each'} is {kind} {limits}")
        for text in several:
            if text == "":
                raise ValueError(f"{name} is empty; name something, or leave it out")
            if isinstance(text, str) and "\0" in text:
                raise ValueError(f"{name} is {text!r}; no path holds a zero byte")


@dataclass(kw_only=True)
class PrepareConfig:
    """How images are prepared in evaluation and prediction, where it shall not be as the checkpoint's library does.

    Args:
        crop_fraction: the centre crop's share of the resized side.
        mean: of red, green and blue, for values from 0 to 1.
        std: likewise.
        interpolation: how images are resized.
        resize_mode: resize the short side (crop), both sides (squash) or the long side (border) before the crop.

    Example:
        >>> PrepareConfig(crop_fraction=1.0, resize_mode="squash").crop_fraction
        1.0
    """

    crop_fraction: float | None = number(None, 0.1, 1)
    mean: tuple[float, float, float] | None = number(None, 0, 1)
    std: tuple[float, float, float] | None = number(None, 0.001, 255)
    interpolation: Literal["nearest", "bilinear", "bicubic", "box", "hamming", "lanczos"] | None = None
    resize_mode: Literal["crop", "squash", "border"] | None = None

    def __post_init__(self) -> None:
        check(self, "data.")


@dataclass
class DataConfig(PrepareConfig):
    """Where the images are and how they are prepared.

    Args:
        root: folder with train/ and val/ (folders of classes), a folder of class folders, or CIFAR or MNIST.
        test: folder of class folders, all of whose images are evaluated: once at the end of training, with the best
            weights, or by eval; in training test/ in root by default.
        augment: what is done to the images of training, in this order, names or {name: {option: value}}.
        repeats: how often an image stands in an epoch, each time augmented anew, while the epoch stays as long as it
            is: repeated augmentation (Hoffer et al., 2020), usually 3 with DeiT's recipes.
        val_fraction: share of each class held out for validation when root has no val/ folder; the same images each
            time.
        workers: threads that transform images, as many as there are cores at most; the same seed and number give the
            same run.
        max_skipped: share of the images that may be unreadable before a run ends; they are left out and named, in
            training in skipped.csv.
        strict: end at the first unreadable image.

    Example:
        >>> DataConfig("photos", augment=["random_crop", {"flip": 0.3}, {"rand_augment": {"magnitude": 5}}]).root
        'photos'
    """

    root: str = "dataset"
    test: str | None = None
    augment: list[Choice] = list_of(AUGMENTATIONS | MIXING, "random_crop", "flip")
    repeats: int = number(1, 1)
    val_fraction: float = number(0.2, 0.001, 0.999)
    workers: int = number(1, 1)
    max_skipped: float = number(0.01, 0, 1)
    strict: bool = False

    @property
    def readable(self) -> dict[str, float]:
        """The data sets' argument that says how many images may be unreadable."""
        return {"max_skipped": 0.0 if self.strict else self.max_skipped}


@dataclass
class ModelConfig:
    """Which network.

    Args:
        name: a name that `mindvit models` prints, or timm's name for it; by default the checkpoint's sizes,
            else vit_b_16.
        num_classes: width of the head; by default the data's number of classes in training, else the checkpoint's.
        image_size: image size in pixels; by default the checkpoint's, else 224.
        pretrained: start from the Vision suite's public checkpoint, downloaded once.
        overrides: other arguments of ViT, for example '{"drop_path_keep_prob": 0.9}'.

    Example:
        >>> ModelConfig("vit_s_16", overrides={"keep_prob": 0.9}).pretrained
        False
    """

    name: str | None = None
    num_classes: int | None = number(None, 1)
    image_size: int | None = number(None, 1)
    pretrained: bool = False
    overrides: Overrides = field(default_factory=dict)

    def __post_init__(self) -> None:
        check(self, "model.")


@dataclass
class TrainConfig:
    """How to train; the defaults are the published fine-tuning of the ImageNet subset.

    Args:
        epochs: passes over the training images.
        batch_size: images a step.
        lr: highest learning rate, reached after the warm-up.
        warmup_epochs: epochs in which the learning rate rises linearly from zero.
        schedule: how it falls after the warm-up, step by step, a name or {name: {option: value}}.
        optimizer: a name or {name: {option: value}}.
        weight_decay: usually 0.05 with adamw; biases, norms, tokens and the position embedding do not decay.
        layer_decay: share of the rate that each block has of the one behind it; usually 0.65 to 0.9 to fine-tune.
        trainable: which weights are trained, a name or {name: {option: value}}.
        clip_norm: gradients of a longer global norm are shortened to it; 0 leaves them as they are.
        accumulate: batches whose gradients are averaged before the weights move; a step is then one of these moves.
        ema: share of the running average of the weights that stays at each step, for example 0.999; it is validated
            and saved in the weights' place. 0 keeps none.
        loss_scale: of float16, dynamic, a number or none; by default dynamic on Ascend and GPU at O2 and O3, else none.
        on_nan: what a loss or gradients that are NaN or infinite do: stop ends the run, skip leaves the batch out and
            counts it, rewind goes back to the last saved state with half the learning rate, three times at most.
        recompute: compute the blocks' activations again in the backward pass, which saves memory and takes time; on
            Ascend and GPU in graph mode.
        select: what is best, a column of metrics.csv; losses are better when lower.
        patience: epochs without a better one after which training ends; by default all are run.
        loss: cross_entropy, or binary_cross_entropy, which asks of each class on its own whether it is there.
        smooth_factor: label smoothing, the share of the target spread over the other classes.
        distillation: what is learned from a teacher's checkpoint, {hard: {teacher: FILE}} or {soft: {teacher: FILE}}.
        save_every: how often state.safetensors is saved, from which --resume auto goes on: a number of steps, or of
            minutes as in '10 minutes'; and at the end of each epoch.
        seed: seed of weights, order and augmentation.
        log_every: steps between two printed lines when the output is not a terminal.

    Example:
        >>> TrainConfig(epochs=3, optimizer="adamw", weight_decay=0.05).lr
        5e-05
    """

    epochs: int = number(10, 1)
    batch_size: int = number(16, 1)
    lr: float = number(5e-5, 0)
    warmup_epochs: float = number(0.0, 0)
    schedule: Choice = one_of(SCHEDULES, "cosine")
    optimizer: Choice = one_of(OPTIMIZERS, "adam")
    weight_decay: float = number(0.0, 0)
    layer_decay: float = number(1.0, 0.01, 1)
    trainable: Choice = one_of(TRAINABLE, "all")
    clip_norm: float = number(0.0, 0)
    accumulate: int = number(1, 1)
    ema: float = number(0.0, 0, 0.999999)
    loss_scale: Literal["dynamic", "none"] | float | None = number(None, 1, 1e9)  # float16 ends at 65504
    on_nan: Literal["stop", "skip", "rewind"] = "stop"
    recompute: bool = False
    select: str = "Top_1_Accuracy"
    patience: int | None = number(None, 1)
    loss: Literal["cross_entropy", "binary_cross_entropy"] = "cross_entropy"
    smooth_factor: float = number(0.1, 0, 0.999)
    distillation: Choice | None = one_of(DISTILLATIONS, None)
    save_every: int | str = "10 minutes"
    seed: int = number(42, 0, 2**32 - 1)
    log_every: int = number(25, 1)

    def __post_init__(self) -> None:
        check(self, "train.")


@dataclass(kw_only=True)
class RunConfig:
    """What to run on, and where public checkpoints lie.

    Args:
        device_target: auto takes Ascend, then GPU, then CPU.
        amp_level: mixed precision of MindSpore; by default O2 on Ascend and O0 elsewhere.
        data_sink: feed the data through the device's queue; by default on Ascend only.
        mode: one compiled graph, or operator by operator (pynative); by default graph, but pynative to predict up to 4
            images on a CPU, which are done before a graph is compiled.
        jit_level: on Ascend, how a graph is compiled: O0 operator by operator, O1 with operators fused, O2 as a whole
            by CANN's graph engine; by default MindSpore chooses. See docs/ascend.md for this and the three below.
        precision_mode: on Ascend, CANN's rule for the precision of operators; by default MindSpore's own, which from
            the A2 on is must_keep_origin_dtype.
        conv_hf32: on Ascend, whether the patch embedding's convolution in float32 may be computed in HF32; CANN's
            default is that it may.
        overflow_mode: on Ascend A2 and later, infnan (their default) gives infinity where a number is too large,
            saturation the largest number.
        flash_attention: on Ascend at O2, compute attention by the fused operator flash_attention_score.
        ckpt_dir: folder of the checkpoints that model.pretrained downloads; MINDVIT_CKPT_DIR or ckpt by default.
    """

    device_target: Literal["auto", "Ascend", "GPU", "CPU"] = "auto"
    amp_level: Literal["O0", "O1", "O2", "O3"] | None = None
    data_sink: bool | None = None
    mode: Literal["graph", "pynative"] | None = None
    jit_level: Literal["O0", "O1", "O2"] | None = None
    precision_mode: PrecisionMode | None = None
    conv_hf32: bool | None = None
    overflow_mode: Literal["infnan", "saturation"] | None = None
    flash_attention: bool | None = None
    ckpt_dir: str | None = None

    def __post_init__(self) -> None:
        check(self)


@dataclass(kw_only=True)
class TrainJob(RunConfig):
    """Trains a network and validates it after every epoch.

    Args:
        data: the images
        model: the network
        train: the training
        checkpoint: weights to start from.
        out: run folder for best.ckpt, last.ckpt, state.safetensors and the state before it, classes.txt, metrics.csv,
            metrics.json and curves.png; auto takes the first free of runs/train, runs/train-2 and so on.
        resume: auto goes on with the run in out, in the middle of an epoch, or begins it where there is none; or the
            folder of another run, whose state is taken.
        resume_override: go on although settings differ, with the new ones; --resume.override true.
        distributed: on several devices, one process each, which msrun starts; see docs/scaling.md.

    Example:
        >>> TrainJob(data=DataConfig("photos"), checkpoint="vit.ckpt", out="runs/a").train.epochs
        10
    """

    data: DataConfig = field(default_factory=DataConfig)
    model: ModelConfig = field(default_factory=ModelConfig)
    train: TrainConfig = field(default_factory=TrainConfig)
    checkpoint: str | None = None
    out: str = "runs/train"
    resume: str | None = None
    resume_override: bool = False
    distributed: bool = False


@dataclass(kw_only=True)
class ShowBatchJob(TrainJob):
    """Draws what the network sees in training: the first batch, with labels and shares.

    Args:
        out: the picture to write; what is there stays, and the name gets a number.

    Example:
        >>> ShowBatchJob(data=DataConfig("photos", augment=["resize", "mixup"])).out
        'batch.png'
    """

    out: str = "batch.png"


@dataclass(kw_only=True)
class BackendConfig(RunConfig):
    """What computes the logits.

    Args:
        backend: mindspore, which auto takes, onnxruntime or openvino; the two run on the CPU and give the same, mostly
            faster; see docs/export.md.
        backend_precision: float32, or bfloat16 for openvino, which is faster where the processor has it and changes
            some predictions.
    """

    backend: Literal["auto", "mindspore", "onnxruntime", "openvino"] = "auto"
    backend_precision: Literal["float32", "bfloat16"] | None = None


@dataclass(kw_only=True)
class EvalJob(BackendConfig):
    """Measures top-1 and top-5 accuracy on val/, else on test/, else on the held-out images; every image counts.

    Class folders are matched by name with the checkpoint's classes (classes.txt beside it).

    Args:
        data: the images
        model: the network
        checkpoint: weights to evaluate.
        batch_size: images a step.
        json: file for the result, in place of an earlier one.
        per_class: print images, correct ones and top-1 of each class, and put them into the JSON file.
        confusion: folder for confusion.json, confusion.csv and confusion.png.
        report: folder for report.html, a page with intervals, calibration, confusion, classes and the most confident
            mistakes; see docs/report.md.
        distributed: on several devices, one process each, which msrun starts; see docs/scaling.md.

    Example:
        >>> EvalJob(data=DataConfig("photos"), checkpoint="runs/a/best.ckpt", per_class=True).batch_size
        16
    """

    data: DataConfig = field(default_factory=DataConfig)
    model: ModelConfig = field(default_factory=ModelConfig)
    checkpoint: str | None = None
    batch_size: int = number(16, 1)
    json: str | None = None
    per_class: bool = False
    confusion: str | None = None
    report: str | None = None
    distributed: bool = False


@dataclass(kw_only=True)
class WeightsJob(RunConfig):
    """A network with its weights, and how images are prepared for it.

    Args:
        data: the images
        model: the network
        checkpoint: weights to take; classes.txt beside it names the classes.
    """

    data: PrepareConfig = field(default_factory=PrepareConfig)
    model: ModelConfig = field(default_factory=ModelConfig)
    checkpoint: str | None = None


@dataclass(kw_only=True)
class ClassifyJob(WeightsJob, BackendConfig):
    """A network that names images."""


@dataclass(kw_only=True)
class ExportJob(WeightsJob):
    """Writes a network as a file for other programs, runs the file and compares.

    Args:
        format: onnx for onnxruntime, OpenVINO and many others, mindir for MindSpore and MindSpore Lite, or air for
            Ascend's own converter, which an Ascend alone can write.
        out: file to write, which is not there yet; vit.onnx, vit.mindir or vit.air by default.
        with_preprocess: the file takes the pixels of pictures and prepares them itself, which is resize, crop, mean and
            std in onnx, and mean and std in the others.
        batch_size: images of each batch the file takes; by default any number, in air 1.
        images: an image, or a folder, of which the first 8 are what is compared on; by default packaged digits.

    Example:
        >>> ExportJob(checkpoint="runs/a/best.ckpt", format="mindir", out="pets.mindir").with_preprocess
        False
    """

    format: Literal["onnx", "mindir", "air"] = "onnx"
    out: str | None = None
    with_preprocess: bool = False
    batch_size: int | None = number(None, 1)
    images: str | None = None


@dataclass(kw_only=True)
class ImagesJob(ClassifyJob):
    """What is asked about images.

    Args:
        paths: images, or folders that are searched for images; in Python one of them may stand without a list.
    """

    paths: list[str] = field(default_factory=list, metadata={"positional": True})

    def __post_init__(self) -> None:
        given: Any = self.paths
        self.paths = [os.fspath(path) for path in ([given] if isinstance(given, (str, os.PathLike)) else given)]
        super().__post_init__()


@dataclass(kw_only=True)
class PredictJob(ImagesJob):
    """Names what is in images and writes annotated copies.

    Args:
        top_k: predictions an image.
        batch_size: images a step.
        out: folder for the annotated copies.
        json: file for one record an image, in place of an earlier one.

    Example:
        >>> PredictJob(paths="cat.jpg", checkpoint="runs/a/best.ckpt").paths
        ['cat.jpg']
    """

    top_k: int = number(5, 1)
    batch_size: int = number(8, 1)
    out: str = "predicted"
    json: str | None = None


@dataclass(kw_only=True)
class AttentionJob(ImagesJob):
    """Shows what in images made the network decide, by several methods, and measures how far each can be believed.

    Args:
        methods: how, names or {name: {option: value}}.
        layers: whose heads are drawn, and whose weights are written; 0 is the first, -1 the last.
        target: the class that is asked about, its name or index; by default the likeliest of each image.
        steps: in which patches are taken away and brought back to measure a map; 0 measures none.
        out: folder for a page, overlays and arrays of each image.
        json: file for one record an image, in place of an earlier one.

    Example:
        >>> AttentionJob(paths="cat.jpg", checkpoint="runs/a/best.ckpt", methods=["rollout"]).steps
        14
    """

    methods: list[Choice] = list_of(METHODS, "attention", "rollout", "relevance", "grad_cam")
    layers: list[int] = field(default_factory=lambda: [-1])
    target: str | None = None
    steps: int = number(14, 0)
    out: str = "attention"
    json: str | None = None


@dataclass(kw_only=True)
class ServeJob(ClassifyJob):
    """Names images over HTTP.

    Args:
        host: address to listen on; 127.0.0.1 is reached from this machine alone, 0.0.0.0 from all of its networks.
        port: port to listen on; 0 takes a free one.
        batch_size: images that the network takes at a time, where so many wait.
        max_images: images of a request.
        max_bytes: bytes of a request, all its images together.
        max_waiting: images of all requests that are not answered yet; a request beyond is told to come back.

    Example:
        >>> ServeJob(checkpoint="runs/a/best.ckpt").port
        8000
    """

    host: str = "127.0.0.1"
    port: int = number(8000, 0, 65535)
    batch_size: int = number(8, 1)
    max_images: int = number(32, 1)
    max_bytes: int = number(32 * 2**20, 1)
    max_waiting: int = number(128, 1)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.max_images > self.max_waiting:
            raise ValueError(f"max_images is {self.max_images}, more than the {self.max_waiting} of max_waiting; raise "
                             "that too")


@dataclass(kw_only=True)
class DemoJob(ImagesJob):
    """Shows a page on which a person drops an image and sees what it is named, and where the network looked.

    Args:
        paths: images that stand on the page to be clicked, or folders that are searched for them.
        host: address to listen on; 127.0.0.1 is reached from this machine alone, 0.0.0.0 from all of its networks.
        port: port to listen on; 0 takes a free one.

    Example:
        >>> DemoJob(checkpoint="runs/a/best.ckpt", paths="cat.jpg").port
        7860
    """

    host: str = "127.0.0.1"
    port: int = number(7860, 0, 65535)


def check_job(job, cls, function):
    """TypeError that shows the right form, unless a function was given its job."""
    if not isinstance(job, cls):
        raise TypeError(f"{function} takes a job, not {type(job).__name__}: {function}({cls.__name__}(...))")
