"""The `mindvit` command: one thin function a subcommand."""

import dataclasses
import re
import sys
from typing import Literal

from jsonargparse import ArgumentParser

from mindvit import __version__, data, engine, models, weights
from mindvit.engine.config import Overrides


def train(job):
    """Train a network and validate it after every epoch."""
    engine.train(job)


def evaluate(job):
    """Measure the top-1 and top-5 accuracy of a checkpoint."""
    engine.evaluate(job)


def predict(job):
    """Name what is in images and write annotated copies."""
    return any("error" in record for record in engine.predict(job))  # exit status 1 when an image is unreadable


def list_models():
    """List the variants."""
    row = "{:20} {:>5} {:>5} {:>6} {:>5} {:>5} {:>11}  {:32} {}"
    print(row.format("name", "patch", "width", "layers", "heads", "mlp", "parameters", "timm's name", "public weights"))
    for name, variant in models.VARIANTS.items():
        print(row.format(name, variant.patch_size, variant.embed_dim, variant.num_layers, variant.num_heads,
                         variant.mlp_dim, f"{variant.parameters:,}", f"{variant.timm_name}_224",
                         ", ".join(map(str, variant.public_files))).rstrip())


def download(what: list[str], data_root: str = "dataset", ckpt_dir: str | None = None):
    """Fetch the ImageNet subset (`dataset`) or public checkpoints (`vit_b_16`, `vit_base_patch16_384`, ...).

    Args:
        what: dataset, or names of models.
        data_root: folder for the data set.
        ckpt_dir: folder for checkpoints; MINDVIT_CKPT_DIR or ckpt by default.
    """
    for name in what:
        if name == "dataset":
            print(data.download_imagenet_subset(data_root))
        else:
            variant, image_size = models.find_variant(name)
            print(weights.fetch_public_weights(variant, image_size or 224, ckpt_dir))


def convert(source: str, target: str, format: Literal["mindspore", "suite", "timm", "huggingface", "torchvision"],
            overrides: Overrides | None = None):
    """Write a checkpoint of any known library in another library's format.

    Args:
        source: checkpoint to read.
        target: file to write, .ckpt for mindspore and suite, .safetensors for the others; or a folder for timm and
            huggingface.
        format: names and layout of the file to write.
        overrides: arguments of ViT that the source does not tell, for example '{"num_heads": 4}'.
    """
    report, remarks = weights.convert_weights(source, target, format, **(overrides or {}))
    print(source, report, *remarks, target, sep="\n")


def build_parser():
    """The parser of the command line; flags and `--config FILE.yaml` are the same thing."""
    parser = ArgumentParser(prog="mindvit", description="Vision Transformers for MindSpore", version=__version__,
                            allow_abbrev=False)
    commands = parser.add_subcommands(required=True)

    def add(name, function):
        description = function.__doc__.splitlines()[0]
        command = ArgumentParser(description=description, allow_abbrev=False)
        commands.add_subcommand(name, command, help=description)
        return command

    add("quickstart", engine.quickstart).add_function_arguments(engine.quickstart, as_group=False)
    for name, (function, job) in JOBS.items():
        command = add(name, function)
        command.add_argument("--config", action="config", help="YAML file with the same names as the flags")
        if name == "predict":
            command.add_argument("paths", nargs="*", default=[], help="images, or folders searched for images")
        # A field whose type is a class, and a group, would take {class_path: ...} and import what that names: the
        # fields of its class are added one by one.
        parts = [field for field in dataclasses.fields(job) if dataclasses.is_dataclass(field.type)]
        command.add_class_arguments(job, skip={"paths", *(part.name for part in parts)}, as_group=False)
        for part in parts:
            command.add_class_arguments(part.type, part.name, as_group=False)
    add("models", list_models)
    command = add("download", download)
    command.add_argument("what", nargs="+", help="dataset, or names of models")
    command.add_function_arguments(download, skip={"what"}, as_group=False)
    command = add("convert", convert)
    command.add_argument("source", help="checkpoint to read")
    command.add_argument("target", help="file to write, .ckpt for mindspore and suite, .safetensors for the others; or "
                                        "a folder for timm and huggingface")
    command.add_function_arguments(convert, skip={"source", "target"}, as_group=False)
    return parser


def switches(job, prefix="--"):
    """The flags of a dataclass, and of those in it, that may stand without a value, for true."""
    for field in dataclasses.fields(job):
        if dataclasses.is_dataclass(field.type):
            yield from switches(field.type, f"{prefix}{field.name}.")
        elif field.type in (bool, bool | None):
            yield prefix + field.name


def normal_words(words):
    """The words with underscores in the names of flags, as in --device-target, and true behind each bare switch."""
    names = {name for _, job in JOBS.values() for name in switches(job)}
    words = [re.sub("^--[^=]+", lambda flag: "--" + flag[0][2:].replace("-", "_"), word) for word in words]
    return [f"{word}=true" if word in names and following.lower() not in ("true", "false", "null") else word
            for word, following in zip(words, [*words[1:], ""])]


JOBS = {"train": (train, engine.TrainJob), "eval": (evaluate, engine.EvalJob), "predict": (predict, engine.PredictJob)}
FUNCTIONS = {"quickstart": engine.quickstart, "models": list_models, "download": download, "convert": convert}


def filled(cls, options):
    """A dataclass, and those in it, with the values of a parsed namespace."""
    return cls(**{field.name: filled(field.type, vars(options[field.name])) if dataclasses.is_dataclass(field.type)
                  else options[field.name] for field in dataclasses.fields(cls)})


def main(args=None):
    """Runs the command line; returns the exit status: 1 if an image could not be read, 2 for a user's error."""
    parser = build_parser()
    namespace = parser.instantiate(parser.parse_args(normal_words(sys.argv[1:] if args is None else args)))
    name = namespace.subcommand
    options = vars(namespace[name]) if namespace.get(name) else {}
    try:
        if name in FUNCTIONS:
            FUNCTIONS[name](**options)
            return 0
        function, job = JOBS[name]
        return int(bool(function(filled(job, options))))
    except (OSError, ValueError) as error:
        print(f"mindvit {name}: {error}", file=sys.stderr)
    except RuntimeError as error:  # MindSpore wraps what goes wrong in reading an image in one, call stack and all
        if not (cause := re.search(r"^(?:ValueError|FileNotFoundError): (?!Traceback)(.*)$", str(error), re.MULTILINE)):
            raise
        print(f"mindvit {name}: {cause[1]}", file=sys.stderr)
    return 2
