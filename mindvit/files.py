"""Writing files so that nobody ever sees half of one."""

import contextlib
import json
import os
import pathlib

StrPath = str | os.PathLike[str]  # what `open` takes for a file or folder


@contextlib.contextmanager
def replacing(path):
    """Yields a temporary path beside `path`, with its suffix, and renames it to `path` when the block succeeds."""
    path = pathlib.Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.stem}.{os.getpid()}{path.suffix}")
    try:
        yield temporary
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def write_json(value, path):
    """Writes a value as a JSON file, complete or not at all."""
    with replacing(path) as temporary:
        # the bytes of a file's name that are no UTF-8 become JSON's \udc80 to \udcff, as in Python
        temporary.write_text(json.dumps(value, indent=1, ensure_ascii=False) + "\n", encoding="utf-8",
                             errors="backslashreplace")
