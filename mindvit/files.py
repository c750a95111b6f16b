"""Writing files so that nobody ever sees half of one, and no two runs write the same."""

import contextlib
import errno
import functools
import hashlib
import io
import itertools
import json
import os
import pathlib
import platform
import re
import shutil
import sys
import tempfile
from collections.abc import Iterable, Iterator
from typing import Any

from PIL import Image

StrPath = str | os.PathLike[str]  # what `open` takes for a file or folder
HOST = hashlib.sha256(platform.node().encode()).hexdigest()[:8]  # a folder may be shared with others


def one_line(text: str, kept: str = "") -> str:
    """Text with all spelled out that would not stay in its line, or would tell a terminal to do something, as a line
    break or an escape in a file's name; but for the characters in `kept`."""
    return "".join(char if char.isprintable() or char in kept else char.encode("unicode_escape").decode()
                   for char in text)


@functools.cache  # what dies while this process runs is for the next
def remove_dead(folder):
    """Removes what processes of this machine that ended in the middle of writing left in a folder."""
    for entry in folder.glob(f".*.{HOST}-*"):  # what the two functions below make
        if (found := re.search(rf"\.{HOST}-(\d+)(\.\w+)?$", entry.name)) and not alive(int(found[1])):
            shutil.rmtree(entry, ignore_errors=True) if entry.is_dir() else entry.unlink(missing_ok=True)


def alive(process):
    """Whether there is a process of this number; on Windows nobody can ask without ending it."""
    if os.name != "posix":
        return True
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # somebody else's
        pass
    return True


@contextlib.contextmanager
def explained(path: pathlib.Path, size: int = 0) -> Iterator[None]:
    """Says in one sentence why a file, or a folder, cannot be written in the block.

    Args:
        path: what is written.
        size: its bytes, where they are known.

    Raises:
        OSError: of the kind that fits, with the sentence alone.
    """
    try:
        yield
    except Exception as error:
        told = re.search(r"\(os error (\d+)\)", str(error))  # by safetensors, whose error is no OSError
        number = error.errno if isinstance(error, OSError) else told and int(told[1])
        if not number:
            raise
        room = ""
        if number in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            free = f"{shutil.disk_usage(path.parent).free / 1e6:.1f} MB are free"
            room = f" (it takes {size / 1e6:.1f} MB, {free})" if size else f" ({free})"
        before = "; what was there before stays" if os.path.isfile(path) else ""
        kind = type(OSError(number, ""))
        raise kind(f"{path} cannot be written: {os.strerror(number)}{room}{before}") from error


def check_writable(path: StrPath, folder: bool = False) -> None:
    """Asks, before the work whose result it takes, whether a file, or a folder with files, can be written there; makes
    nothing.

    Raises:
        OSError: it cannot.
        ValueError: it is a device or a pipe.
    """
    path = pathlib.Path(path)
    with explained(path):
        if path.is_dir() and not folder:
            raise IsADirectoryError(f"{path} cannot be written: it is a folder")
        check_replaceable(path)
        around = (path.absolute(), *path.absolute().parents)[not folder:]
        nearest = next(parent for parent in around if parent.exists())
        if not nearest.is_dir():
            raise NotADirectoryError(f"{path} cannot be written: {nearest} is a file, no folder")
        with tempfile.TemporaryFile(dir=nearest):
            pass


def check_replaceable(path):
    """ValueError where a new file in the place of the old one would take a device or a pipe from all who use it."""
    if path.exists() and not (path.is_file() or path.is_dir()) or path.parent.resolve() == pathlib.Path("/dev"):
        raise ValueError(f"{path} is a device or a pipe, and what is written is put in a file's place; name a file")


@contextlib.contextmanager
def replacing(path: StrPath, size: int = 0) -> Iterator[pathlib.Path]:
    """Yields a temporary path beside `path`, with its suffix, and renames it to `path` when the block succeeds and its
    content is on the disk.

    Raises:
        OSError: see `explained`.
        ValueError: it is a device or a pipe.
    """
    path = pathlib.Path(path)
    check_replaceable(path)
    with explained(path, size):
        path.parent.mkdir(parents=True, exist_ok=True)
        remove_dead(path.parent)
        temporary = path.with_name(f".{path.stem}.{HOST}-{os.getpid()}{path.suffix}")
        try:
            yield temporary
            put(temporary, path)
        finally:
            temporary.unlink(missing_ok=True)


def put(source, target):
    """Renames a file once its content is on the disk, so that no power cut leaves an empty one under the name."""
    with open(source, "rb+") as file:
        os.fsync(file.fileno())
    os.replace(source, target)
    if os.name == "posix":  # elsewhere no folder can be opened
        folder = os.open(target.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


def numbered(path: StrPath, suffix: str = "") -> Iterator[pathlib.Path]:
    """path, path-2, path-3 and so on, each with the suffix behind it."""
    yield pathlib.Path(f"{path}{suffix}")
    yield from (pathlib.Path(f"{path}-{number}{suffix}") for number in itertools.count(2))


@contextlib.contextmanager
def claimed(paths: Iterable[pathlib.Path]) -> Iterator[pathlib.Path]:
    """Yields the first of these paths that is not there, made as an empty file that no other process takes; if the
    block fails it is removed.

    Raises:
        OSError: see `explained`.
    """
    for path in paths:
        with explained(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            try:
                path.touch(exist_ok=False)
            except FileExistsError:
                continue
        try:
            yield path
        except BaseException:
            path.unlink(missing_ok=True)
            raise
        return


@contextlib.contextmanager
def temporary_folder(parent: pathlib.Path, name: str) -> Iterator[pathlib.Path]:
    """Yields a hidden folder in `parent`, made if need be, that is removed with all in it when the block ends."""
    parent.mkdir(parents=True, exist_ok=True)
    remove_dead(parent)
    folder = pathlib.Path(tempfile.mkdtemp(f".{HOST}-{os.getpid()}", f".{name}-", parent))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextlib.contextmanager
def in_use(path: StrPath, by: str, wait: bool = False) -> Iterator[None]:
    """Holds the file `path` locked while the block runs; a process that dies holds it no longer.

    Args:
        path: a file to make for it, in a folder that is there; only a killed process leaves it.
        by: what to say it is in use by, to others who want it.
        wait: the others say so and wait for their turn.

    Raises:
        FileExistsError: another process holds it.
    """
    from filelock import FileLock, Timeout

    lock = FileLock(path)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        if not wait:
            raise FileExistsError(by) from None
        print(by, file=sys.stderr, flush=True)
        lock.acquire()
    try:
        yield
    finally:
        with contextlib.suppress(PermissionError):  # Windows removes no open file
            os.unlink(path)  # while it is held; who opened it before finds that it has no name any more
        lock.release()


def sha256(path: StrPath) -> str:
    """The SHA-256 of a file, hexadecimal."""
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        for block in iter(functools.partial(file.read, 1 << 20), b""):
            digest.update(block)
    return digest.hexdigest()


def check_json(path, key):
    """Asks whether the results of a command can be written as JSON there, over earlier ones alone.

    Raises:
        FileExistsError: another file is there; that is one of which not every object has the key.
        OSError, ValueError: see `check_writable`.
    """
    check_writable(path)
    if os.path.isfile(path):
        with open(path, "rb") as file:
            begun = file.read(1)
            try:
                found = json.loads(begun + file.read()) if begun in (b"[", b"{") else None
            except (ValueError, RecursionError):
                found = None
        if not all(isinstance(each, dict) and key in each for each in (found if isinstance(found, list) else [found])):
            raise FileExistsError(f"{path} is there already, and only an earlier result of the same kind is "
                                  "replaced; name another file, or remove it")


def write_json(value, path):
    """Writes a value as a JSON file, complete or not at all."""
    with replacing(path) as temporary:
        # the bytes of a file's name that are no UTF-8 become JSON's \udc80 to \udcff, as in Python
        temporary.write_text(json.dumps(value, indent=1, ensure_ascii=False, allow_nan=False) + "\n", encoding="utf-8",
                             errors="backslashreplace")


def save_image(image: Image.Image, path: StrPath, **options: Any) -> None:
    """Writes an image in the format of the path's suffix, complete or not at all, with Pillow's options of the format.

    Pillow itself does not see that a disk is full when it writes a JPEG, and leaves half of one.

    Raises:
        OSError: see `explained`.
        ValueError: the suffix is no image format's.
    """
    buffer = io.BytesIO()
    image.save(buffer, Image.registered_extensions().get(pathlib.Path(path).suffix.lower()), **options)
    with replacing(path) as temporary:
        temporary.write_bytes(buffer.getbuffer())
