"""From the words of a command line to a job, and what is wrong with them in one line."""

import collections
import contextlib
import dataclasses
import difflib
import itertools
import pathlib
import re
import sys
import types
from argparse import ArgumentError
from collections.abc import Sequence
from typing import Literal, TypeVar, Union, get_args, get_origin

import yaml

from mindvit.choices import Choice, nearest
from mindvit.files import one_line

Job = TypeVar("Job")
RECIPES = pathlib.Path(__file__).with_name("recipes")
LONGEST_SETTINGS, DEEPEST_SETTINGS = 100_000, 20  # bytes and levels of a configuration


def from_flags(job: Job, words: Sequence[str] | None = None) -> Job:
    """A job with what a script's flags change in it: those of the command, in full or in short.

    `--train.epochs 3` of `mindvit train` is `--epochs 3` too, as no other flag ends so, `--data-root DIR` is
    `--data.root DIR`, and the name of a part stands for its first field: `--model vit_s_16` for `--model.name`.
    `--config FILE.yaml` and `--help` are there as well.

    Args:
        job (TrainJob, EvalJob or PredictJob): the defaults.
        words (list of str, optional): the command line; the script's own by default.

    Raises:
        SystemExit: with status 2, after a line that says which flag is wrong; or with 0 after --help.

    Example:
        >>> from_flags(TrainJob(out="runs/a"), ["--epochs", "3", "--data-root", "photos"]).train.epochs
        3
    """
    from jsonargparse import ArgumentParser  # takes long to import, which `import mindvit` need not

    parser = ArgumentParser(exit_on_error=False, allow_abbrev=False, description=description(type(job)))
    add_job(parser, type(job))
    parser.set_defaults({name: value for name, value in flat(job) if value is not None})
    names = [name for name, _ in flat(job)]
    words = [in_full(word, names, type(job)) for word in (sys.argv[1:] if words is None else words)]
    words = configs_first(normal_words(words, type(job)))
    try:
        check_words(words)
        for path in configs(words):
            read_settings(path)
        return filled(type(job), parser.parse_args(words))
    except ArgumentError as error:
        message = explain(error.message, words, parser)
    except ValueError as error:
        message = error
    print(one_line(f"{pathlib.Path(sys.argv[0]).name}: {message}"), file=sys.stderr)
    raise SystemExit(2)


def flat(job, prefix=""):
    """(name of its flag without dashes, value) of each field of a job and of its parts."""
    for field in dataclasses.fields(job):
        value = getattr(job, field.name)
        if dataclasses.is_dataclass(value):
            yield from flat(value, f"{prefix}{field.name}.")
        else:
            yield prefix + field.name, value


def in_full(word, names, job):
    """A word with a flag's short name replaced by the name; others as they are."""
    found = re.match("--([^=]+)(=.*)?$", word, re.DOTALL)
    if not found:
        return word
    short = found[1].replace("-", "_")
    parts = {field.name: field.type for field in dataclasses.fields(job) if dataclasses.is_dataclass(field.type)}
    if short in parts:
        return f"--{short}.{next(field.name for field in dataclasses.fields(parts[short]) if not field.kw_only)}" \
               f"{found[2] or ''}"
    near = [name for name in names if short in (name, name.replace(".", "_"))] or \
        [name for name in names if last_part(name) == short]
    return f"--{near[0]}{found[2] or ''}" if len(near) == 1 else word


def description(thing):
    """The first line of a docstring."""
    return thing.__doc__.splitlines()[0]


def add_job(parser, job, *skip):
    """Adds `--config` and a flag for each field of a job and of its parts, but for those to skip."""
    parser.add_argument("--config", action="config", help="YAML file with the same names as the flags")
    # A field whose type is a class, and a group, would take {class_path: ...} and import what that names: the fields
    # of its class are added one by one.
    parts = [field for field in dataclasses.fields(job) if dataclasses.is_dataclass(field.type)]
    positional = [field.name for field in dataclasses.fields(job) if field.metadata.get("positional")]
    for name in positional:
        parser.add_argument(name, nargs="*", default=[], help=argument_help(job, name))
    parser.add_class_arguments(job, skip={*positional, *(part.name for part in parts), *skip}, as_group=False)
    for part in parts:
        parser.add_class_arguments(part.type, part.name, as_group=False)
    for prefix, fields in (("", job), *((f"{part.name}.", part.type) for part in parts)):
        for field in dataclasses.fields(fields):
            if table := field.metadata.get("table"):
                action = next(action for action in parser._actions if action.dest == prefix + field.name)
                action.help += f" There are {', '.join(table)}."


def argument_help(thing, name):
    """What a docstring, of a function or of a class or one above it, says about an argument."""
    import docstring_parser

    docs = [each.__doc__ or "" for each in getattr(thing, "__mro__", [thing])]
    return next(part.description for doc in docs for part in docstring_parser.parse(doc).params
                if part.arg_name == name)


def flag_types(job, prefix="--"):
    """(name, type) of the flags of a dataclass and of those in it."""
    for field in dataclasses.fields(job):
        if dataclasses.is_dataclass(field.type):
            yield from flag_types(field.type, f"{prefix}{field.name}.")
        else:
            yield prefix + field.name, field.type


def normal_words(words, *jobs):
    """The words with underscores in the names of flags, as in --device-target, true behind each bare switch, and
    brackets around numbers or names with commas between them."""
    hints = {name: hint for job in jobs for name, hint in flag_types(job)}
    switches = {name for name, hint in hints.items() if bool in (hint, *get_args(hint))}
    tuples, lists = ({name for name, hint in hints.items() if fits(hint)} for fits in (
        lambda hint: "tuple" in str(hint), lambda hint: hint == list[Choice]))
    words = [re.sub("^--[^=]+", lambda flag: "--" + flag[0][2:].replace("-", "_"), word) for word in words]
    words = [re.sub("^--resume[.]override", "--resume_override", word) for word in words]
    words = [f"{word}=true" if word in switches and following.lower() not in ("true", "false", "null") else word
             for word, following in zip(words, [*words[1:], ""])]
    for named, form in ((tuples, r"[^-\[{(].*,.*"), (lists, r"[^-\[].*")):
        words = [re.sub(rf"^(--[^=]+=)?({form})$", r"\1[\2]", word) if {word.split("=")[0], before} & named else word
                 for before, word in zip(["", *words], words)]
    return words


def recipe_names():
    """The recipes that come with the package."""
    return sorted(path.stem for path in RECIPES.glob("*.yaml"))


def with_recipes(words):
    """The words with the file of each `--recipe NAME` as a configuration before all flags.

    Raises:
        ValueError: there is no such recipe.
    """
    words, files = list(words), []
    while found := next((i for i, word in enumerate(words) if re.match("--recipe(=|$)", word)), None):
        flag, _, name = words.pop(found).partition("=")
        name = name or (words.pop(found) if found < len(words) else "")
        if name not in recipe_names():
            raise ValueError(f"{flag} is {name!r}; {nearest(name, recipe_names())}")
        files.append(f"--config={RECIPES / name}.yaml")
    return [*words[:1], *files, *words[1:]]


def configs_first(words):
    """The words with each --config before the flags, which go over it wherever they stand."""
    first, flags, words = [], [], iter(words)
    for word in words:
        if re.match("--config(=|$)", word):
            first += [word, *(itertools.islice(words, 1) if word == "--config" else ())]
        else:
            flags.append(word)
    return first + flags


def configs(words):
    """The paths after --config that are files."""
    for before, word in zip(["", *words], words):
        path = pathlib.Path(word.removeprefix("--config="))
        if (word.startswith("--config=") or before == "--config") and (path.is_file() or path.is_fifo()):
            yield path


def filled(cls, options, name=""):
    """A dataclass, and those in it, with the values of a parsed namespace."""
    if not hasattr(options, "__dict__"):  # no namespace
        raise ValueError(f"the configuration's {name} is {options!r}; write names and values below it")
    types = {field.name: field.type for field in dataclasses.fields(cls)}
    return cls(**{key: filled(hint, options[key], key) if dataclasses.is_dataclass(hint) else options[key]
                  for key, hint in types.items()})


def where(error):
    """The line and the fault of a YAMLError, in words."""
    mark = getattr(error, "problem_mark", None)
    return f", line {mark.line + 1}: {error.problem}" if mark else ""


class SettingsLoader(yaml.SafeLoader):
    """YAML's safe reader, to which it is a fault that a name stands twice in one place."""

    def construct_mapping(self, node, deep=False):
        for name, count in collections.Counter(str(key.value) for key, _ in node.value).items():
            if count > 1:
                raise ValueError(f"has {name} twice in one place, and only one would count; put them together")
        return super().construct_mapping(node, deep)


def check_settings(text):
    """ValueError unless a text is short enough to be read as YAML, not nested deeply, and nothing in it stands for
    another part or has a tag: a few bytes of nested lists end Python's reader, of aliases fill the memory, and tags
    before what is not of their kind end in any error."""
    if len(text) > LONGEST_SETTINGS:
        raise ValueError(f"is longer than {LONGEST_SETTINGS:,} characters, the most that a configuration has")
    depth = 0
    for event in yaml.parse(text, yaml.SafeLoader):
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if depth > DEEPEST_SETTINGS:
            raise ValueError(f"is nested more than {DEEPEST_SETTINGS} levels deep")
        if getattr(event, "anchor", None) and not isinstance(event, yaml.AliasEvent):
            raise ValueError(f"has the anchor &{event.anchor}, which is not read here; write out what it stands for")
        if tag := getattr(event, "tag", None):
            raise ValueError(f"has the tag {tag.replace('tag:yaml.org,2002:', '!!')}, which is not read here; leave it "
                             "out")


def check_words(words):
    """ValueError where a flag's value must not be read as YAML; see `check_settings`."""
    for before, word in zip(["", *words], words):
        flag, _, value = word.partition("=") if word.startswith("--") else (before, "=", word)
        if not re.search(r"[\[{&\n]|[-?] |!!", value):  # all that nests, stands for something, or has a tag
            continue
        with contextlib.suppress(yaml.YAMLError):  # then it is plain text
            try:
                check_settings(value)
            except ValueError as error:
                raise ValueError(f"{flag} {error}") from None


def read_settings(path):
    """The names and values in a YAML file.

    Raises:
        ValueError: it holds something else; the message names the file.
    """
    if path.is_fifo():
        raise ValueError(f"--config {path} is a pipe, which can be read only once; write it to a file")
    try:
        with open(path, encoding="utf-8-sig") as file:
            text = file.read(LONGEST_SETTINGS + 1)
        check_settings(text)
        settings = SettingsLoader(text).get_single_data()
    except OSError as error:
        raise ValueError(f"--config {path} cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise ValueError(f"--config {path} is not UTF-8 text; save it as UTF-8") from None
    except yaml.YAMLError as error:
        raise ValueError(f"--config {path} is no YAML{where(error)}") from None
    except ValueError as error:
        raise ValueError(f"--config {path} {error}") from None
    if settings is None:
        raise ValueError(f"--config {path} is empty; --print_config prints what it may hold")
    parts = {"": settings}
    if isinstance(settings, dict):
        parts |= {f" as {name}": settings[name] for name in ("data", "model", "train") if name in settings}
    for place, part in parts.items():
        if not isinstance(part, dict):
            raise ValueError(f"--config {path} holds {part!r:.60}{place}; write names and values there, as "
                             "--print_config does")
    for flag in ("config", "recipe", "debug"):
        if flag in settings:
            raise ValueError(f"--config {path} holds {flag}, which is read on the command line only; give it there as "
                             f"--{flag}")
    return settings


def expected(hint):
    """What a flag of this type takes, in words."""
    if get_origin(hint) in (Union, types.UnionType):
        return " or ".join(expected(part) for part in get_args(hint) if part is not types.NoneType)
    if get_origin(hint) is Literal:
        return f"{', '.join(get_args(hint)[:-1])} or {get_args(hint)[-1]}"
    if get_origin(hint) is tuple:
        return f"{len(get_args(hint))} numbers with commas between them"
    if Choice in (hint, *get_args(hint)):
        return ("names in brackets, " if get_origin(hint) is list else "a name, ") + "or '{name: {option: value}}'"
    if get_origin(hint) is dict:
        return "names and plain values, as in '{\"num_heads\": 4}'"
    return {int: "a whole number", float: "a number", bool: "true or false",
            list[int]: "whole numbers in brackets, as in '[0, -1]'"}.get(hint, "text")


def last_part(name):
    return name.rpartition(".")[2]


def did_you_mean(given, known):
    """A question that names what a wrong name may stand for: names with its last part, else the most similar ones."""
    def likeness(name):
        pairs = ((given, name), (last_part(given), last_part(name)))
        return max(difflib.SequenceMatcher(None, *pair).ratio() for pair in pairs)

    near = [name for name in known if last_part(name) == last_part(given)]
    if not near:
        best = max(map(likeness, known))
        near = [name for name in known if likeness(name) >= max(best - 0.05, 0.7)][:2]
    return f"; did you mean {' or '.join(near)}?" if near else ""


def explain(message, words, parser):
    """One line for what jsonargparse says about a command line.

    Args:
        message (str): what it says.
        words (list[str]): the command line.
        parser (ArgumentParser): the parser of its flags.
    """
    actions = {flag[2:]: action for action in parser._actions for flag in action.option_strings}
    see = f"({parser.prog} --help lists the flags)"

    def takes(key):
        return expected(getattr(actions.get(key), "_typehint", str))

    if found := re.match("unrecognized arguments: (.*)", message, re.DOTALL):
        flag = next((word.split("=")[0] for word in found[1].split() if word.startswith("--")), None)
        before = next((word for word, following in zip(words, words[1:]) if following == found[1]), "")
        if flag:
            what = f"there is no flag {flag}{did_you_mean(flag, [f'--{key}' for key in actions])}"
        elif before.endswith("=true"):  # a switch, which may stand alone
            what = f"{before.removesuffix('=true')} is {found[1]}; it takes true or false"
        else:
            what = f"{found[1]} is not expected"
        return f"{what} {see}"
    elif found := re.match("Subcommand '.*' does not accept option '(.*)'", message):
        what = f"the configuration has {found[1]}, which is not known here{did_you_mean(found[1], actions)}"
    elif found := re.match('Parser key "([^"]+)":.*(?:Got|Given) value: (.*)', message, re.DOTALL):
        what = f"--{found[1]} is {found[2] or repr('')}; it takes {takes(found[1])}"
    elif found := re.match("argument --(.*): expected one argument", message):
        what = f"--{found[1]} needs a value: {takes(found[1])}"
    elif found := re.match("the following arguments are required: (.*)", message):
        missing = [last_part(key) for key in found[1].split(", ")]
        what = f"missing: {', '.join(f'--{key}' if key in actions else key for key in missing)}"
        what += f" {see}"
    else:
        what = " ".join(message.split()).replace('Parser key "config"', "--config")
    return what
