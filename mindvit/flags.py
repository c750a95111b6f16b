"""What is wrong with a command line, in one line: jsonargparse says it in up to thirty."""

import difflib
import re
import types
from typing import Literal, Union, get_args, get_origin


def expected(hint):
    """What a flag of this type takes, in words."""
    if get_origin(hint) in (Union, types.UnionType):
        return " or ".join(expected(part) for part in get_args(hint) if part is not types.NoneType)
    if get_origin(hint) is Literal:
        return f"{', '.join(get_args(hint)[:-1])} or {get_args(hint)[-1]}"
    if get_origin(hint) is tuple:
        return f"{len(get_args(hint))} numbers with commas between them"
    if get_origin(hint) is dict:
        return "names and plain values, as in '{\"num_heads\": 4}'"
    return {int: "a whole number", float: "a number", bool: "true or false"}.get(hint, "text")


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


def explain(message, words, commands):
    """One line for what jsonargparse says about a command line.

    Args:
        message (str): what it says.
        words (list[str]): the command line.
        commands (dict): name -> its parser.
    """
    name = words[0] if words else ""
    if name not in commands:
        wrong = f"there is no command {name}{did_you_mean(name, commands)}" if name else "no command is given"
        return f"mindvit: {wrong} ({', '.join(commands)}; mindvit COMMAND --help tells more)"
    actions = {flag[2:]: action for action in commands[name]._actions for flag in action.option_strings}

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
        what += f" (mindvit {name} --help lists the flags)"
    elif found := re.match("Subcommand '.*' does not accept option '(.*)'", message):
        what = f"the configuration has {found[1]}, which is not known here{did_you_mean(found[1], actions)}"
    elif found := re.match('Parser key "([^"]+)":.*(?:Got|Given) value: (.*)', message, re.DOTALL):
        what = f"--{found[1]} is {found[2] or repr('')}; it takes {takes(found[1])}"
    elif found := re.match("argument --(.*): expected one argument", message):
        what = f"--{found[1]} needs a value: {takes(found[1])}"
    elif found := re.match("the following arguments are required: (.*)", message):
        missing = [last_part(key) for key in found[1].split(", ")]
        what = f"missing: {', '.join(f'--{key}' if key in actions else key for key in missing)}"
        what += f" (mindvit {name} --help tells more)"
    else:
        what = " ".join(message.split()).replace('Parser key "config"', "--config")
    return f"mindvit {name}: {what}"
