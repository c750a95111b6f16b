"""The `mindvit` command: one thin function a subcommand."""

import contextlib
import dataclasses
import pathlib
import re
import signal
import sys
from argparse import ArgumentError
from typing import Literal

import yaml
from jsonargparse import ArgumentParser, Namespace

from mindvit import __version__, checkpoints, models, zoo
from mindvit.checkpoints.libraries import written_formats
from mindvit.config import EvalJob, Overrides, PredictJob, RunConfig, TrainJob
from mindvit.demo import quickstart
from mindvit.download import download_imagenet_subset
from mindvit.flags import explain
from mindvit.inference import evaluation, prediction
from mindvit.training import loop
from mindvit.training.loop import CONFIG_HEADER


def train(job):
    """Train a network and validate it after every epoch."""
    loop.train(job)


def evaluate(job):
    """Measure the top-1 and top-5 accuracy of a checkpoint."""
    evaluation.evaluate(job)


def predict(job):
    """Name what is in images and write annotated copies."""
    return any("error" in record for record in prediction.predict(job))  # exit status 1 when an image is unreadable


def list_models(pattern):
    """List the variants."""
    names = models.list_models(pattern)
    row = "{:20} {:>5} {:>5} {:>6} {:>5} {:>5} {:>11}  {:32} {}"
    print(row.format("name", "patch", "width", "layers", "heads", "mlp", "parameters", "timm's name", "public weights"))
    for name in names:
        variant = models.VARIANTS[name]
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
            print(download_imagenet_subset(data_root))
        else:
            variant, image_size = models.find_variant(name)
            print(zoo.fetch_public_weights(variant, image_size or 224, ckpt_dir))


def convert(source: str, target: str, format: Literal[written_formats()], overrides: Overrides | None = None):
    """Write a checkpoint of any known library in another library's format.

    Args:
        source: checkpoint to read.
        target: file to write, .ckpt for mindspore and suite, .safetensors for the others; or a folder for timm and
            huggingface.
        format: names and layout of the file to write.
        overrides: arguments of ViT that the source does not tell, for example '{"num_heads": 4}'.
    """
    report, remarks = checkpoints.convert_weights(source, target, format, **(overrides or {}))
    print(source, report, *remarks, target, sep="\n")


def build_parser():
    """(the parser of the command line, those of the commands by name); flags and `--config FILE.yaml` are the same."""
    parser = ArgumentParser(prog="mindvit", description="Vision Transformers for MindSpore", version=__version__,
                            allow_abbrev=False, exit_on_error=False)
    subcommands, commands = parser.add_subcommands(required=True), {}

    def add(name, function):
        description = function.__doc__.splitlines()[0]
        commands[name] = ArgumentParser(description=description, allow_abbrev=False)
        subcommands.add_subcommand(name, commands[name], help=description)
        return commands[name]

    add("quickstart", quickstart).add_function_arguments(quickstart, as_group=False)
    for name, (function, job) in JOBS.items():
        command = add(name, function)
        command.add_argument("--config", action="config", help="YAML file with the same names as the flags"
                             + ("" if name == "train" else "; or a run's config.yaml"))
        if name == "predict":
            command.add_argument("paths", nargs="*", default=[], help="images, or folders searched for images")
        # A field whose type is a class, and a group, would take {class_path: ...} and import what that names: the
        # fields of its class are added one by one.
        parts = [field for field in dataclasses.fields(job) if dataclasses.is_dataclass(field.type)]
        command.add_class_arguments(job, skip={"paths", *(part.name for part in parts)}, as_group=False)
        for part in parts:
            command.add_class_arguments(part.type, part.name, as_group=False)
    command = add("models", list_models)
    command.add_argument("pattern", nargs="?", default="*", help="what names, or timm's, look like: 'vit_b*'")
    command = add("download", download)
    command.add_argument("what", nargs="+", help="dataset, or names of models")
    command.add_function_arguments(download, skip={"what"}, as_group=False)
    command = add("convert", convert)
    command.add_argument("source", help="checkpoint to read")
    command.add_argument("target", help="file to write, .ckpt for mindspore and suite, .safetensors for the others; or "
                                        "a folder for timm and huggingface")
    command.add_function_arguments(convert, skip={"source", "target"}, as_group=False)
    return parser, commands


def flag_types(job, prefix="--"):
    """(name, type) of the flags of a dataclass and of those in it."""
    for field in dataclasses.fields(job):
        if dataclasses.is_dataclass(field.type):
            yield from flag_types(field.type, f"{prefix}{field.name}.")
        else:
            yield prefix + field.name, str(field.type)


def normal_words(words):
    """The words with underscores in the names of flags, as in --device-target, true behind each bare switch, and
    brackets around numbers with commas between them."""
    types = {name: hint for _, job in JOBS.values() for name, hint in flag_types(job)}
    switches = {name for name, hint in types.items() if "bool" in hint and "dict" not in hint}
    tuples = {name for name, hint in types.items() if "tuple" in hint}
    words = [re.sub("^--[^=]+", lambda flag: "--" + flag[0][2:].replace("-", "_"), word) for word in words]
    words = [f"{word}=true" if word in switches and following.lower() not in ("true", "false", "null") else word
             for word, following in zip(words, [*words[1:], ""])]
    return [re.sub(r"^(--[^=]+=)?([^-\[(].*,.*)$", r"\1[\2]", word) if {word.split("=")[0], before} & tuples else word
            for before, word in zip(["", *words], words)]


def where(error):
    """The line and the fault of a YAMLError, in words."""
    mark = getattr(error, "problem_mark", None)
    return f", line {mark.line + 1}: {error.problem}" if mark else ""


def read_settings(path):
    """The names and values in a YAML file.

    Raises:
        ValueError: it holds something else; the message names the file.
    """
    try:
        settings = yaml.safe_load(path.read_text(encoding="utf-8-sig"))
    except UnicodeDecodeError:
        raise ValueError(f"--config {path} is not UTF-8 text; save it as UTF-8") from None
    except yaml.YAMLError as error:
        raise ValueError(f"--config {path} is no YAML{where(error)}") from None
    if settings is None:
        raise ValueError(f"--config {path} is empty; --print_config prints what it may hold")
    parts = {"": settings}
    if isinstance(settings, dict):
        parts |= {f" as {name}": settings[name] for name in ("data", "model", "train") if name in settings}
    for place, part in parts.items():
        if not isinstance(part, dict):
            raise ValueError(f"--config {path} holds {part!r:.60}{place}; write names and values there, as "
                             "--print_config does")
    return settings


def take_from_runs(words):
    """(words, remarks): for eval and predict, what they take of a run's config.yaml stands in place of its path.

    Raises:
        ValueError: a configuration is no YAML file with names and values.
    """
    words, remarks = list(words), []
    for at, word in enumerate(words):
        path = pathlib.Path(word.removeprefix("--config="))
        if not (word.startswith("--config=") or words[at - 1] == "--config") or not path.is_file():
            continue
        run = read_settings(path)
        header = path.read_text(encoding="utf-8-sig").startswith(CONFIG_HEADER)
        if words[0] not in ("eval", "predict") or not header:
            continue
        job = JOBS[words[0]][1]()
        taken = {key: value for key, value in run.items() if hasattr(RunConfig, key)}
        taken["data"] = {key: value for key, value in run.get("data", {}).items() if hasattr(job.data, key)}
        remark = (f"{path}: the run's data and device settings are taken; its train, model, checkpoint and out are "
                  "left out")
        if not any(other.split("=")[0] == "--checkpoint" for other in words):
            taken["checkpoint"] = str(path.with_name("best.ckpt"))
            remark += f"; the weights are {taken['checkpoint']}"
        words[at] = "--config=" * word.startswith("--config=") + yaml.safe_dump(taken)
        remarks.append(remark)
    return words, remarks


JOBS = {"train": (train, TrainJob), "eval": (evaluate, EvalJob), "predict": (predict, PredictJob)}
FUNCTIONS = {"quickstart": quickstart, "models": list_models, "download": download, "convert": convert}


def filled(cls, options, name=""):
    """A dataclass, and those in it, with the values of a parsed namespace."""
    if not isinstance(options, Namespace):
        raise ValueError(f"the configuration's {name} is {options!r}; write names and values below it")
    types = {field.name: field.type for field in dataclasses.fields(cls)}
    return cls(**{key: filled(hint, options[key], key) if dataclasses.is_dataclass(hint) else options[key]
                  for key, hint in types.items()})


def stop(number, frame):
    """Raises KeyboardInterrupt; while a graph is compiled or a checkpoint saved, afterwards, for MindSpore would call
    the network faulty, or the disk full."""
    while frame:
        if frame.f_code.co_name in ("compile", "save_checkpoint") and "mindspore" in frame.f_code.co_filename:
            signal.setitimer(signal.ITIMER_REAL, 0.1)  # SIGALRM comes here again
            return
        frame = frame.f_back
    raise KeyboardInterrupt


@contextlib.contextmanager
def stoppable():
    """Ctrl-C ends the block with KeyboardInterrupt.

    While a graph is compiled or runs, MindSpore takes SIGINT from Python and sends its own process SIGTERM instead;
    nothing tells that from another's SIGTERM, which therefore does the same.
    """
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGALRM)}
    for number, handler in before.items():
        if handler is not signal.SIG_IGN:  # as SIGINT is in a shell's background
            signal.signal(number, stop)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def main(args=None):
    """Runs the command line; returns the exit status: 1 if an image could not be read, 2 for a user's error, 130 for
    Ctrl-C."""
    parser, commands = build_parser()
    words = normal_words(sys.argv[1:] if args is None else args)
    try:
        words, remarks = take_from_runs(words)
        namespace = parser.instantiate(parser.parse_args(words))
    except ArgumentError as error:
        print(explain(error.message, words, commands), file=sys.stderr)
        return 2
    except ValueError as error:
        print(f"mindvit {words[0]}: {error}", file=sys.stderr)
        return 2
    for remark in remarks:
        print(remark, flush=True)
    name = namespace.subcommand
    options = namespace.get(name) or Namespace()
    try:
        with stoppable():
            if name in FUNCTIONS:
                FUNCTIONS[name](**vars(options))
                return 0
            function, job = JOBS[name]
            return int(bool(function(filled(job, options))))
    except KeyboardInterrupt as error:
        kept = str(error) or {"train": "nothing is saved", "eval": "no result is written",
                              "predict": "the annotated copies of the images printed stay"}.get(name)
        line = "\n" * sys.stderr.isatty() + f"mindvit {name}: stopped"  # behind a bar, on a new line
        print(f"{line}; {kept}" if kept else line, file=sys.stderr)
        return 130
    except (OSError, ValueError) as error:
        print(f"mindvit {name}: {error}", file=sys.stderr)
    except RuntimeError as error:  # MindSpore wraps what goes wrong in reading an image in one, call stack and all
        if not (cause := re.search(r"^(?:ValueError|FileNotFoundError): (?!Traceback)(.*)$", str(error), re.MULTILINE)):
            raise
        print(f"mindvit {name}: {cause[1]}", file=sys.stderr)
    return 2
