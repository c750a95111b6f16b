"""Libraries that only some commands need, which setup.py's extras install."""

import importlib
from types import ModuleType


def needed(module: str, extra: str) -> ModuleType:
    """Imports a module of a library that comes with an extra.

    Args:
        module: what to import.
        extra: the extra of setup.py that installs it.

    Returns:
        the module.

    Raises:
        ValueError: the library is not installed; the message says how to install it.

    Example:
        >>> needed("json", "export").__name__
        'json'
    """
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        raise ValueError(f"this needs {error.name}, which is not installed; in the folder of mindvit's setup.py: "
                         f"pip install '.[{extra}]'") from error
