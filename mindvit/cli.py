"""The `mindvit` command: one table of subcommands; a function's signature and docstring are its flags and help."""

import dataclasses
import inspect
import os
import re
import signal
import sys
import warnings
from argparse import SUPPRESS, ArgumentError
from typing import Literal, get_origin

import yaml
from jsonargparse import ArgumentParser, Namespace

from mindvit import __version__, checkpoints, models, zoo
from mindvit.check.report import check_data
from mindvit.checkpoints.libraries import written_formats
from mindvit.choices import entry
from mindvit.config import (
    AttentionJob,
    DemoJob,
    EvalJob,
    ExportJob,
    Overrides,
    PredictJob,
    RunConfig,
    ServeJob,
    ShowBatchJob,
    TrainJob,
    WeightsJob,
)
from mindvit.doctor import doctor
from mindvit.download import download_imagenet_subset
from mindvit.exporting import export as exporting
from mindvit.extras import needed
from mindvit.files import one_line
from mindvit.flags import (
    add_job,
    argument_help,
    check_words,
    configs,
    configs_first,
    description,
    did_you_mean,
    explain,
    filled,
    normal_words,
    read_settings,
    recipe_names,
    with_recipes,
)
from mindvit.inference import evaluation, overlays, prediction
from mindvit.runtime.signals import asked, stoppable
from mindvit.summary import summarize
from mindvit.tour import quickstart
from mindvit.training import loop
from mindvit.training.loop import CONFIG_HEADER
from mindvit.visualize import plot_curves

# A function that takes one job has the job's fields as flags; another has its arguments, those before `/` as words.
COMMANDS = {}
entry(COMMANDS)(quickstart)
entry(COMMANDS)(doctor)
entry(COMMANDS, "check-data")(check_data)
entry(COMMANDS, "summary")(summarize)


@entry(COMMANDS)
def train(job: TrainJob):
    """Train a network and validate it after every epoch."""
    loop.train(job)


@entry(COMMANDS, "show-batch")
def show_batch(job: ShowBatchJob):
    """Draw what the network sees in training: show-batch CONFIG.yaml --out batch.png."""
    loop.show_batch(job)


@entry(COMMANDS, "eval")
def evaluate(job: EvalJob):
    """Measure the top-1 and top-5 accuracy of a checkpoint."""
    evaluation.evaluate(job)


@entry(COMMANDS)
def predict(job: PredictJob):
    """Name what is in images and write annotated copies."""
    return int(any("error" in record for record in prediction.predict(job)))  # 1 when an image is unreadable


@entry(COMMANDS)
def attention(job: AttentionJob):
    """Show what in images made the network decide, by several methods, and how far each can be believed."""
    return int(any("error" in record for record in overlays.draw_attention(job)))


@entry(COMMANDS, "plot-curves")
def draw_curves(runs: list[str], /, out: str):
    """Draw the curves of several runs on one picture: plot-curves runs/a runs/b --out curves.png.

    Args:
        runs: run folders, or metrics.csv files.
        out: the picture to write, .png, .jpg, .webp, .svg or .pdf; what is there stays, and the name gets a number.
    """
    print(f"{plot_curves(runs, out)}: loss and accuracy of {', '.join(runs)}")


@entry(COMMANDS)
def serve(job: ServeJob):
    """Name images over HTTP, for other programs."""
    for library in ("fastapi", "python_multipart", "uvicorn"):
        needed(library, "serve")
    from mindvit.serving import server  # which imports them

    server.serve(job)


@entry(COMMANDS)
def demo(job: DemoJob):
    """Show a page to drop images on: what they are named, and where the network looked."""
    needed("gradio", "demo")
    from mindvit.serving import demo  # which imports it

    demo.serve_demo(job)


@entry(COMMANDS)
def export(job: ExportJob):
    """Write a network as a file for onnxruntime, OpenVINO, MindSpore Lite and others, and check it."""
    exporting.export(job)


@entry(COMMANDS, "models")
def list_models(pattern: str = "*", /):
    """List the variants.

    Args:
        pattern: what names, or timm's, look like: 'vit_b*'.
    """
    names = models.list_models(pattern)
    row = "{:20} {:>5} {:>5} {:>6} {:>5} {:>5} {:>11}  {:32} {}"
    print(row.format("name", "patch", "width", "layers", "heads", "mlp", "parameters", "timm's name", "public weights"))
    for name in names:
        variant = models.VARIANTS[name]
        print(row.format(name, variant.patch_size, variant.embed_dim, variant.num_layers, variant.num_heads,
                         variant.mlp_dim, f"{variant.parameters:,}",
                         "".join(variant.called()[1:]),
                         ", ".join(map(str, variant.public_files))).rstrip())


@entry(COMMANDS)
def download(what: list[str], /, data_root: str = "dataset", ckpt_dir: str | None = None):
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
            print(zoo.fetch_public_weights(variant, image_size, ckpt_dir))


@entry(COMMANDS)
def convert(source: str, target: str, /, format: Literal[written_formats()], overrides: Overrides | None = None):
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


def job_of(command):
    """The class of a command's job, or None."""
    function = COMMANDS.get(command, list_models)
    hints = [parameter.annotation for parameter in inspect.signature(function).parameters.values()]
    return hints[0] if len(hints) == 1 and dataclasses.is_dataclass(hints[0]) else None


def words_of(function):
    """The parameters that stand on the command line without a flag's name."""
    return [parameter for parameter in inspect.signature(function).parameters.values()
            if parameter.kind is parameter.POSITIONAL_ONLY]


def build_parser():
    """(the parser of the command line, those of the commands by name)."""
    parser = ArgumentParser(prog="mindvit", description="Vision Transformers for MindSpore",
                            version=__version__, allow_abbrev=False, exit_on_error=False)
    subcommands, commands = parser.add_subcommands(required=True), {}
    for name, function in COMMANDS.items():
        command = commands[name] = ArgumentParser(description=description(function), allow_abbrev=False)
        subcommands.add_subcommand(name, command, help=description(function))
        command.prog = f"mindvit {name}"
        command.add_argument("--debug", action="store_true", default=SUPPRESS,
                             help="show where in the code an error came up")
        if job := job_of(name):
            if issubclass(job, TrainJob):
                command.add_argument("--recipe", default=SUPPRESS, help="settings to begin with, over which --config "
                                     f"and flags go: {', '.join(recipe_names())}")
            add_job(command, job)
            continue
        words = words_of(function)
        for word in words:
            many = {"nargs": "+"} if get_origin(word.annotation) is list else {}
            optional = {} if word.default is word.empty else {"nargs": "?", "default": word.default}
            command.add_argument(word.name, help=argument_help(function, word.name), **many, **optional)
        command.add_function_arguments(function, skip={word.name for word in words}, as_group=False)
    return parser, commands


def take_from_runs(words):
    """(words, remarks): where weights are asked, what is taken of a run's config.yaml stands in place of its path.

    Raises:
        ValueError: a configuration is no YAML file with names and values.
    """
    words, remarks = list(words), []
    for path in configs(words):
        run = read_settings(path)
        header = path.read_text(encoding="utf-8-sig").startswith(CONFIG_HEADER)
        if words[0] == "show-batch":  # which writes a picture, no run
            taken, remark = {key: value for key, value in run.items() if key not in ("out", "resume")}, None
        elif issubclass(job_of(words[0]) or object, (EvalJob, WeightsJob)) and header:
            job = job_of(words[0])()
            taken = {key: value for key, value in run.items() if hasattr(RunConfig, key)}
            taken["data"] = {key: value for key, value in run.get("data", {}).items() if hasattr(job.data, key)}
            remark = (f"{path}: the run's data and device settings are taken; its train, model, checkpoint and out are "
                      "left out")
            if not any(other.split("=")[0] == "--checkpoint" for other in words):
                taken["checkpoint"] = str(path.with_name("best.ckpt"))
                remark += f"; the weights are {taken['checkpoint']}"
        else:
            continue
        words = [word if word.removeprefix("--config=") != str(path) else
                 "--config=" * word.startswith("--config=") + yaml.safe_dump(taken) for word in words]
        remarks += [remark] if remark else []
    return words, remarks


def main(args: list[str] | None = None) -> int:
    """Runs the command line; returns the exit status: 1 if an image could not be read, 2 for a user's error, 130 for
    Ctrl-C, 143 for SIGTERM, 141 when nobody reads the output any more."""
    for stream, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, stream) is None:  # it is closed, and the next file that is opened would take its number
            setattr(sys, stream, open(os.devnull, mode))
    if hasattr(sys.stdout, "reconfigure"):
        sys.stdout.reconfigure(errors="backslashreplace")  # names of files and classes may hold anything
    warnings.filterwarnings("ignore", module=r"PIL\.")  # of damaged EXIF, or large images, which are read all the same
    parser, commands = build_parser()
    words = list(sys.argv[1:] if args is None else args)
    name = words[0] if words else ""
    if not name.startswith("-") and name not in commands:
        wrong = f"there is no command {name}{did_you_mean(name, commands)}" if name else "no command is given"
        print(one_line(f"mindvit: {wrong} ({', '.join(commands)}; mindvit COMMAND --help tells more)"), file=sys.stderr)
        return 2
    if name == "show-batch" and words[1:] and not words[1].startswith("-"):
        words[1] = f"--config={words[1]}"
    if debug := "--debug" in words:
        words.remove("--debug")
    words = normal_words(words, *filter(None, [job_of(name)]))
    words = [*words[:1], *configs_first(words[1:])]
    try:
        check_words(words)
        words, remarks = take_from_runs(with_recipes(words) if issubclass(job_of(name) or object, TrainJob) else words)
        options = parser.parse_args(words).get(name) or Namespace()
    except ArgumentError as error:
        print(one_line(f"mindvit {name}: {explain(error.message, words, commands.get(name, parser))}"), file=sys.stderr)
        return 2
    except ValueError as error:
        print(one_line(f"mindvit {name}: {error}"), file=sys.stderr)
        return 2
    for remark in remarks:
        print(remark, flush=True)
    try:
        with stoppable():
            status = run(name, options) or 0
            sys.stdout.flush()
            return status
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # for what is still to be flushed
        return 128 + signal.SIGPIPE
    except KeyboardInterrupt as error:
        kept = str(error) or {"train": "nothing is saved", "eval": "no result is written",
                              "predict": "the annotated copies of the images printed stay",
                              "attention": "what is written of the images printed stays",
                              "check-data": "no report is written", "export": "no file is written"}.get(name)
        line = "\n" * sys.stderr.isatty() + f"mindvit {name}: stopped"  # behind a bar, on a new line
        print(f"{line}; {kept}" if kept else line, file=sys.stderr)
        return 128 + (asked.number or signal.SIGINT)
    except Exception as error:
        if debug:
            raise
        print(one_line(f"mindvit {name}: {in_one_line(error)}"), file=sys.stderr)
    return 2


def in_one_line(error):
    """What an exception says to a user: its message, if it was raised for one, else its kind and first line too."""
    if isinstance(error, (OSError, ValueError)):
        return error
    # MindSpore wraps what goes wrong in reading an image in a RuntimeError, call stack and all
    kinds = "ValueError|OSError|FileNotFoundError|PermissionError|IsADirectoryError"
    if cause := re.search(rf"^(?:{kinds}): (?!Traceback)(.*)$", str(error), re.MULTILINE):
        return cause[1]
    said = next((f": {line.strip()}" for line in str(error).splitlines() if line.strip()), "")
    if isinstance(error, MemoryError):
        return f"there is not enough memory{said}"
    return f"{type(error).__name__}{said} (--debug shows where)"


def run(name, options):
    """Calls a command's function with what the command line says; returns the exit status, if the function has one."""
    function = COMMANDS[name]
    if job := job_of(name):
        return function(filled(job, options))
    given = vars(options)
    for flag, value in given.items():
        if value == "":
            raise ValueError(f"{flag} is empty; name something, or leave it out")
    words = [given.pop(word.name) for word in words_of(function)]
    result = function(*words, **given)
    return result if isinstance(result, int) else 0
