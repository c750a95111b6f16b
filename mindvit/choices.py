"""Names with options, as a configuration writes them: `flip`, `{flip: 0.3}` or `{random_crop: {scale: [0.5, 1.0]}}`."""

import difflib
import functools
import inspect
from collections.abc import Callable, Iterable
from typing import Any

Scalar = bool | int | float | str | None  # what a YAML file or a flag can say without naming anything to import
Plain = Scalar | list[Scalar]
Table = dict[str, Callable]  # name: function, whose keyword-only arguments are its options
Choice = str | dict[str, Plain | dict[str, Plain]]


def entry(table: Table, name: str | None = None) -> Callable:
    """A decorator that puts a function into a table, under its own name unless another is given."""
    def put(function: Callable) -> Callable:
        return table.setdefault(name or function.__name__, function)

    return put


def nearest(name: str, known: Iterable[str]) -> str:
    """What a wrong name may stand for, in words: the nearest of the known ones, or all of them."""
    known = list(known)
    near = difflib.get_close_matches(str(name), known, 1)
    return f"did you mean {near[0]}?" if near else f"choose one of {', '.join(known)}"


def name_of(choice: Choice) -> str:
    """The name in a choice, with or without options."""
    return next(iter(choice), "") if isinstance(choice, dict) else choice


def choose(choice: Choice, table: Table, where: str) -> functools.partial:
    """The function that a choice names, with the options it gives.

    Args:
        choice: a name of the table; {name: {option: value}}; or {name: value} for the first option alone.
        table: the functions.
        where: the configuration's field, for messages.

    Raises:
        ValueError: there is no such name or option, or a value is of another kind than the option's default, where a
            whole number may stand for one with a point.
    """
    if isinstance(choice, dict) and len(choice) != 1:
        raise ValueError(f"{where} has {choice}; write one name and its options: {{flip: {{probability: 0.3}}}}")
    name, given = name_of(choice), choice[name_of(choice)] if isinstance(choice, dict) else {}
    if name not in table:
        hint = "write a space behind the colon" if ":" in str(name) else nearest(name, table)
        raise ValueError(f"{where} is {name!r}; {hint}")
    options = {option.name: option.default for option in inspect.signature(table[name]).parameters.values()
               if option.kind is option.KEYWORD_ONLY}
    if given is None:  # `flip:` in YAML
        given = {}
    if not isinstance(given, dict):
        given = {next(iter(options), "value"): given}
    for option, value in given.items():
        if option not in options:
            raise ValueError(f"{where}: {name} has no option {option!r}; "
                             f"{nearest(option, options) if options else 'it has none'}")
        if not fits(value, options[option]):
            raise ValueError(f"{where}: {option} of {name} is {value!r}; it takes {kind(options[option])}, for example "
                             f"{options[option]}")
    chosen: dict[str, Any] = {option: type(options[option])(value) for option, value in given.items()}
    return functools.partial(table[name], **chosen)


def fits(value: Any, default: Any) -> bool:
    """Whether a plain value may stand in the place of an option's default."""
    if isinstance(default, tuple):
        return isinstance(value, (list, tuple)) and len(value) == len(default) and all(map(fits, value, default))
    if isinstance(default, float):
        return type(value) in (int, float) and abs(value) < 1e300  # NaN is not
    return type(value) is type(default)


def kind(default: object) -> str:
    """What an option takes, in words."""
    if isinstance(default, tuple):
        return f"{len(default)} numbers in brackets"
    return {bool: "true or false", int: "a whole number", float: "a number"}.get(type(default), "a word")
