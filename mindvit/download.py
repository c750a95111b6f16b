"""Fetching files and unpacking archives so that what is there is complete, and nothing of the user's is touched."""
import bz2
import contextlib
import errno
import filecmp
import functools
import gzip
import itertools
import lzma
import os
import re
import shutil
import stat
import sys
import tarfile
import threading
import time
import unicodedata
import urllib.request
import zipfile
from collections.abc import Callable
from http.client import HTTPException, InvalidURL
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import IO, NamedTuple
from urllib.error import HTTPError, URLError
from urllib.parse import unquote, urlsplit

from mindvit import files
from mindvit.files import StrPath, in_use, put, temporary_folder

IMAGENET_SUBSET_URL = ("https://mindspore-website.obs.cn-north-4.myhuaweicloud.com/notebook/datasets/"
                       "vit_imagenet_dataset.zip")
OLDER_SUBSET_URL = ("https://mindspore-website.obs.cn-north-4.myhuaweicloud.com/notebook/datasets/"
                    "vit_dataset.zip")  # the same pictures
WAITS = (1, 2, 4, 8)  # seconds before the second to the fifth try
SILENCE = 30  # seconds without a byte after which a transfer is given up
LONGEST = 2 << 30  # bytes of a file whose length neither the caller nor the server tells
DISK_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
RATIO, HARMLESS = 200, 100 << 20  # an archive may unpack to as many times its size, or to as many bytes
MEMBERS = 1_500_000  # all of ImageNet has 1.4 million
LONGEST_HEADER = 1 << 20  # bytes of a tar archive that are held in memory at once
# how a compressed tar archive begins
COMPRESSED: dict[bytes, Callable] = {b"\x1f\x8b": gzip.open, b"BZh": bz2.open, b"\xfd7zXZ\0": lzma.open}


class DownloadError(OSError):
    """A file could not be fetched; the message names the URL, the reason and where to put the file by hand.

    Example:
        >>> try:
        ...     download_file("http://127.0.0.1:9/vit.ckpt", "vit.ckpt")
        ... except DownloadError as error:
        ...     print(str(error)[:46])
        cannot fetch http://127.0.0.1:9/vit.ckpt: <url
    """


def download_file(url: str, path: StrPath, size: int | None = None, sha256: str | None = None) -> Path:
    """Fetch `url` to `path` with the `download` package, unless the file is there.

    The transfer goes to a temporary folder beside `path`, is checked and then renamed, so that `path` is complete or
    absent. What breaks off is gone on with, in at most five tries. Who asks for a file that another process fetches
    waits for it.

    Args:
        url: http or https.
        path: the file to write; its folder is made if need be.
        size: bytes it must have, where known.
        sha256: hexadecimal digest it must have, where known.

    Returns:
        `path` as Path.

    Raises:
        DownloadError: the transfer failed, the disk is too small, or the file (fetched, or found at `path`) is empty,
            a web page or not the expected one.

    Example:
        >>> str(download_file("https://example.org/pictures.zip", "downloads/pictures.zip"))  # is there
        'downloads/pictures.zip'
    """
    path = Path(path)
    if path.exists():
        wrong = mismatch(path, size, sha256)
        if wrong:
            raise DownloadError(f"{path} is there, but {wrong}; remove it to fetch it again from {url}")
        return path

    if reason := fetch(url, path, size, sha256):
        raise DownloadError(by_hand(f"{url}: {reason}", path))
    return path


def extract_archive(archive: StrPath, target: StrPath) -> Path:
    """Unpack a zip or tar archive (plain, gz, bz2 or xz) into the folder `target`.

    All names and sizes are checked before anything is written. Unpacking goes to a temporary folder in `target`; then
    what is new is renamed into place, whole folders at a time. A file that is there with the same content stays. The
    folder __MACOSX is left out, and so are permissions.

    Args:
        archive: the file.
        target: folder to unpack into; made if need be.

    Returns:
        `target` as Path.

    Raises:
        ValueError: the archive is damaged, cut short or unpacks to more than 200 times its size; a member is encrypted,
            a link or a device, would lie outside `target`, or is called like another but for upper and lower case.
        FileExistsError: `target` holds other content under the name of a member; nothing was changed.
        OSError: the disk is too small.

    Example:
        >>> extract_archive("downloads/pictures.zip", "unpacked").joinpath("cat.jpg").exists()
        True
    """
    archive, target = Path(archive), Path(target)
    with temporary_folder(target, "extract") as temporary:
        try:
            unpack(archive, temporary)
        except Exception as error:  # zipfile, tarfile, gzip, bz2 and lzma have no error in common
            # a full disk or such, not the archive; EINVAL is raised for places before its beginning, which it may name
            if isinstance(error, OSError) and error.errno not in (None, errno.EINVAL):
                raise OSError(error.errno, f"cannot unpack {archive} into {target}: {error.strerror}") from error
            raise ValueError(f"cannot unpack {archive}: {error}; if it is damaged, remove it and fetch it "
                             "again") from error
        check_conflicts(temporary, target)
        for entry in sorted(temporary.iterdir()):
            move(entry, target / entry.name)
    return target


class DownLoad:
    """The Vision suite's name for fetching and unpacking in one call.

    Example:
        >>> DownLoad().download_and_extract_archive("https://example.org/pictures.zip", "downloads")
    """

    def download_and_extract_archive(self, url: str, download_path: StrPath, extract_path: StrPath | None = None,
                                     filename: str | None = None) -> None:
        """Fetch an archive, unless it is there, and unpack it.

        Args:
            url: http or https.
            download_path: folder for the archive, which is kept.
            extract_path: folder to unpack into; default `download_path`.
            filename: name of the archive in `download_path`; default the last part of the URL.

        Raises:
            DownloadError: as from `download_file`.
            ValueError, FileExistsError: as from `extract_archive`.
        """
        archive = Path(download_path, filename or file_name(url))
        extract_archive(download_file(url, archive), download_path if extract_path is None else extract_path)


def download_imagenet_subset(root: StrPath = "dataset") -> Path:
    """Fetch the subset of ImageNet that the tutorial uses (about 513 MB), unless `root` is there.

    The archive is kept beside `root`; one that is there, under the name of either of its two addresses, is used. Where
    the first address fails, the older one is tried.

    Args:
        root: data set folder to make; it will hold train, val, infer and the development kit.

    Returns:
        `root` as Path.

    Raises:
        DownloadError: both transfers failed.
        FileExistsError: `root` is there but has no folder train.
        ValueError: the archive is damaged or holds no such data set.

    Example:
        >>> str(download_imagenet_subset("dataset"))  # is there
        'dataset'
    """
    root = Path(root)
    if not root.exists():
        root.parent.mkdir(parents=True, exist_ok=True)
        with in_use(lock_of(root), f"another process is fetching {root}; waiting for it", wait=True):
            if not root.exists():
                unpack_subset(subset_archive(root.parent), root)
    if not (root / "train").is_dir():
        raise FileExistsError(f"{root} is there but has no folder train; name another folder or remove it")
    return root


def unpack_subset(archive, root):
    with temporary_folder(root.parent, "dataset") as temporary:
        unpacked = extract_archive(archive, Path(temporary, "unpacked"))
        folders = [unpacked, *sorted(path for path in unpacked.rglob("*") if path.is_dir())]
        found = [folder for folder in folders if (folder / "train").is_dir() and (folder / "val").is_dir()]
        if not found:
            raise ValueError(f"no folder with train and val in {archive}; remove it and fetch it again")
        os.replace(min(found, key=lambda folder: len(folder.parts)), root)


def subset_archive(folder):
    """Return the archive of the subset in `folder`, fetched from the first address that has it unless it is there."""
    archives = {url: folder / file_name(url) for url in (IMAGENET_SUBSET_URL, OLDER_SUBSET_URL)}
    for archive in archives.values():
        if archive.exists():
            return archive
    reasons = []
    for url, archive in archives.items():
        reason = fetch(url, archive)
        if not reason:
            return archive
        reasons.append(f"{url}: {reason}")
    raise DownloadError(by_hand("; nor ".join(reasons), archives[IMAGENET_SUBSET_URL]))


def by_hand(failed, path):
    return (f"cannot fetch {failed}; fetch it by other means and put it at {path}. "
            "`mindvit quickstart` needs neither data set, checkpoint nor network")


def lock_of(path):
    return path.with_name(f".{path.name}.lock")


def fetch(url, path, size=None, sha256=None):
    """Fetch `url` to `path`, whole or not at all; return the reason where it failed, else None."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with in_use(lock_of(path), f"another process is fetching {path}; waiting for it", wait=True):
        if path.exists():
            return mismatch(path, size, sha256)
        with temporary_folder(path.parent, "download") as temporary:
            fetched = temporary / path.name
            reason = transfer(url, fetched, size) or mismatch(fetched, size, sha256)
            if not reason:
                put(fetched, path)
            return reason


def transfer(url, path, size):
    """Fetch `url` to `path` in as many tries as it takes and are allowed; return the reason where it failed."""
    if urlsplit(url).scheme not in ("http", "https"):
        return "it begins with neither http:// nor https://"
    print(f"fetching {url}", file=sys.stderr, flush=True)
    answers = Answers(path.with_name(f"{path.name}.part"), size)
    for next_try, wait in enumerate((*WAITS, None), 2):
        error = one_transfer(url, path, answers)
        if error is None:
            return None
        if getattr(error, "errno", None) in DISK_FULL:
            raise DownloadError(f"cannot fetch {url}: {error.strerror}; free space on the disk of "
                                f"{path.parent.parent} or choose a folder on another")
        reason = " ".join(str(error).split()) or type(error).__name__
        if wait is None or not passing(error, answers.part.exists()):
            return reason
        print(f"try {next_try} of {len(WAITS) + 1} in {wait} s: {reason}", file=sys.stderr, flush=True)
        time.sleep(wait)


def passing(error, begun):
    """Whether another try may go better; a user without a network shall not wait for it."""
    if isinstance(error, HTTPError):
        return error.code in (408, 429) or error.code >= 500
    if isinstance(error, URLError):  # there is no connection
        return begun or isinstance(error.reason, ConnectionResetError)
    # RuntimeError: the package found another length than a moment before
    return isinstance(error, (OSError, HTTPException, RuntimeError)) and not isinstance(error, InvalidURL)


one_at_a_time = threading.Lock()  # as a transfer changes what belongs to the whole process


def one_transfer(url, path, answers):
    """Fetch with the `download` package, from where an earlier transfer broke off; return the error if it fails."""
    from download import download

    url = url.replace("dropbox.com", "Dropbox.com")  # which the package else fetches in a way of its own, without end
    with one_at_a_time, contextlib.redirect_stdout(sys.stderr), answers:
        try:
            download(url, str(path), progressbar=sys.stderr.isatty(), verbose=False)
        except RuntimeError as error:  # what the package raises for everything
            cause = error.__context__
            return cause.__context__ if isinstance(cause, KeyError) else cause  # it drops a Range that it has not set


class Refused(Exception):
    """An answer is not the file, and another try would not better that."""


class Answers:
    """Stands between the `download` package and `urllib`: each answer is checked before the package takes it, and has
    an end.

    Args:
        part: where the package writes, and from where it goes on.
        size: bytes the file must have, where known.
    """

    def __init__(self, part, size):
        self.part, self.size, self.version = part, size, None

    def __enter__(self):
        self.thread, self.before = threading.get_ident(), urllib.request._opener
        urllib.request.install_opener(self)

    def __exit__(self, *error):
        urllib.request.install_opener(self.before)

    def open(self, request, data, timeout):
        opener = self.before or urllib.request.build_opener()
        if threading.get_ident() != self.thread:
            return opener.open(request, data, timeout)
        # the package limits the time in which the server must begin, not the silence afterwards
        answer = opener.open(request, data, timeout if isinstance(timeout, float) else SILENCE)
        try:
            self.check(answer, request.get_header("Range"))
        except BaseException:
            answer.close()
            raise
        return answer

    def check(self, answer, asked):
        length, headers = getattr(answer, "length", None), answer.headers  # none where it leads to ftp
        start = int(asked.removeprefix("bytes=").removesuffix("-")) if asked and answer.status == 206 else 0
        total = None if length is None else start + length
        version = headers["ETag"], headers["Last-Modified"], total
        if start:
            if version != self.version or not headers.get("Content-Range", "").startswith(f"bytes {start}-"):
                raise Refused("the server sends another part than asked for")  # the package then asks for the whole
        elif answer.status != 200:
            raise Refused(f"the server answers {answer.status} in place of the file")
        elif length is None and headers["Content-Length"]:
            raise Refused(f"the server says that it has {headers['Content-Length']} bytes")
        elif (encoding := headers.get("Content-Encoding", "identity").lower()) != "identity":
            raise Refused(f"the server sends it encoded, as {encoding}, unasked")
        elif version != self.version or length is None:
            self.part.unlink(missing_ok=True)  # of another file, or nobody knows
            self.version = version
        if total == 0:
            raise Refused("it is empty")
        if self.size is not None and total not in (None, self.size):
            raise Refused(f"it has {total} bytes instead of {self.size}")
        free = shutil.disk_usage(self.part.parent).free
        if length is not None and length > free:
            raise no_room(length, free)
        limit(answer, start, total, min(self.size or LONGEST, free // 2))


def limit(answer, taken, total, most):
    """Make an answer end with an error where it is shorter than it says, or where nobody says how long it is."""
    def read(amount):
        nonlocal taken
        block = answer.read1(min(amount, 1 << 20))  # does not wait for more than there is, so that nothing gets lost
        taken += len(block)
        if total is None and taken > most:
            raise Refused(f"the server does not say how long it is, and it goes on after {megabytes(most)}")
        if total is not None and not block and taken < total:
            raise ConnectionError(f"it broke off after {taken} of {total} bytes")
        return block

    answer.read = read


def no_room(needed, free):
    return OSError(errno.ENOSPC, f"it needs {megabytes(needed)}, and the disk has {megabytes(free)} free")


def megabytes(size):
    return f"{size / 1e6:,.1f} MB"


def file_name(url):
    return PurePosixPath(unquote(urlsplit(url).path)).name


def mismatch(path, size, sha256):
    """Return how the file differs from what is expected, or None."""
    if size is not None and path.stat().st_size != size:
        return f"it has {path.stat().st_size} bytes instead of {size}"
    with open(path, "rb") as stream:
        begin = stream.read(1000)
    if not begin and size is None:
        return "it is empty"
    if begin.lstrip().lower().startswith((b"<!doctype html", b"<html")) and path.suffix not in (".html", ".htm"):
        return "it is a web page"
    if sha256 is not None and (digest := files.sha256(path)) != sha256.lower():
        return f"its SHA-256 is {digest} instead of {sha256}"
    return None


class Member(NamedTuple):
    """One of an archive; kind is "file", "folder", or what else it is, which is not unpacked."""

    name: str
    kind: str
    size: int
    open: Callable[[], IO[bytes]]


def unpack(archive, folder):
    most = max(HARMLESS, RATIO * archive.stat().st_size)
    with open_archive(archive, most) as members:
        if len(members) > MEMBERS:
            raise ValueError(f"it has more than {MEMBERS:,} members")
        check_names(members)
        total, free = sum(member.size for member in members), shutil.disk_usage(folder).free
        if total > most:
            raise too_large(total, most)
        if total > free:
            raise no_room(total, free)
        for member in members:
            path = folder / member.name
            if PurePosixPath(member.name).parts[:1] == ("__MACOSX",):
                continue
            if member.kind == "folder":
                path.mkdir(parents=True, exist_ok=True)
                continue
            path.parent.mkdir(parents=True, exist_ok=True)
            with member.open() as content, open(path, "xb") as stream:
                shutil.copyfileobj(content, stream)
                if stream.tell() != member.size:
                    raise ValueError(f"its member {member.name!r} has {stream.tell()} bytes instead of {member.size}")


def check_names(members):
    """Refuse what no archive of data has: members elsewhere, of other kinds or with names that are not one file's."""
    taken = {}  # name as a disk sees it that knows no case: (as it is written, whether it is a file)
    for name, kind, *_ in members:
        path = PurePosixPath(name)
        if name.startswith("/") or PureWindowsPath(name).drive or ".." in path.parts:
            raise ValueError(f"its member {name!r} lies outside the folder to unpack into")
        if kind not in ("file", "folder"):
            raise ValueError(f"its member {name!r} is {kind}, which is not unpacked")
        if kind == "file" and not path.parts:
            raise ValueError(f"its member {name!r} has no name")
        if re.search(r"[\0-\x1f\x7f]", name):
            raise ValueError(f"its member {name!r} has a control character in its name")
        if len(os.fsencode(name)) > 1000 or any(len(os.fsencode(part)) > 255 for part in path.parts):
            raise ValueError(f"its member {name[:50]!r}... has a name of more than 255 bytes, or 1000 with folders")
        for count in range(len(path.parts), 0, -1):  # itself, then the folders that it is in
            place, is_file = "/".join(path.parts[:count]), kind == "file" and count == len(path.parts)
            key = unicodedata.normalize("NFC", place).casefold()
            if not is_file and taken.get(key) == (place, False):
                break
            if key in taken:
                raise ValueError(f"its members {taken[key][0]!r} and {name!r} have one name on a disk without case")
            taken[key] = place, is_file


class Bounded:
    """The content of a tar archive, of which no more than `most` bytes are unpacked and few at once."""

    def __init__(self, stream, most):
        self.stream, self.most, self.tell = stream, most, stream.tell

    def check(self, position):
        if position > self.most:
            raise too_large(position, self.most)

    def seek(self, position):
        self.check(position)
        self.stream.seek(position)

    def read(self, size):
        self.check(self.tell())
        if not 0 <= size <= LONGEST_HEADER:
            raise ValueError(f"it has a header of {size} bytes; {LONGEST_HEADER} are the most")
        return self.stream.read(size)


def too_large(size, most):
    return ValueError(f"it would unpack to {megabytes(size)}; of an archive of its size at most {megabytes(most)} are "
                      "unpacked")


def tar_members(tar):
    """The members as a list, after a look at the archive's end, without which it may be cut between two of them."""
    members = []
    for info in itertools.islice(tar, MEMBERS + 1):
        if info.size < 0:  # would lead back to where it was read
            raise ValueError(f"its member {info.name!r} has {info.size} bytes")
        kind = "file" if info.isfile() else "folder" if info.isdir() else "a link or a device"
        members.append(Member(with_slashes(info.name), kind, info.size, functools.partial(tar.extractfile, info)))
    if len(members) <= MEMBERS:
        tar.fileobj.seek(tar.offset)
        if tar.fileobj.read(tarfile.BLOCKSIZE) != bytes(tarfile.BLOCKSIZE):
            raise ValueError("its end is missing")
        while tar.fileobj.read(LONGEST_HEADER):  # up to the checksum behind a compressed one
            pass
    return members


@contextlib.contextmanager
def open_archive(archive, most):
    """Give the members as a list."""
    with open(archive, "rb") as file:
        begin = file.read(6)
    opener = next((opener for magic, opener in COMPRESSED.items() if begin.startswith(magic)), open)
    with opener(archive, "rb") as stream:
        try:
            tar = tarfile.TarFile(fileobj=Bounded(stream, most))
        except tarfile.ReadError:
            tar = None
        if tar:
            yield tar_members(tar)
            return
    if zipfile.is_zipfile(archive):
        with zipfile.ZipFile(archive) as zipped:
            yield [Member(with_slashes(info.filename), zip_kind(info), info.file_size,
                          functools.partial(zipped.open, info)) for info in zipped.infolist()]
    else:
        raise ValueError("it is neither a whole zip nor a tar archive")


def with_slashes(name):
    return name.replace("\\", "/")  # some zip programs on Windows write backslashes


def zip_kind(info):
    file_type = stat.S_IFMT(info.external_attr >> 16)  # 0 where the archive was not made on Unix
    if file_type not in (0, stat.S_IFREG, stat.S_IFDIR):
        return "a link or a device"
    if info.flag_bits & 1:
        return "encrypted"
    return "folder" if with_slashes(info.filename).endswith("/") else "file"


def check_conflicts(source, target):
    for entry in source.rglob("*"):
        there = target / entry.relative_to(source)
        if not there.resolve().is_relative_to(target.resolve()):
            raise FileExistsError(f"{there} leads outside {target} by a link; unpack into another folder")
        if not there.exists():
            continue
        same = there.is_dir() if entry.is_dir() else there.is_file() and filecmp.cmp(entry, there, shallow=False)
        if not same:
            raise FileExistsError(f"{there} is there with other content than in the archive; move it away or unpack "
                                  "into another folder")


def move(source, target):
    if not target.exists():
        os.replace(source, target)
    elif source.is_dir():
        for child in sorted(source.iterdir()):
            move(child, target / child.name)
