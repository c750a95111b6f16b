"""Fetching files and unpacking archives so that what is there is complete, and nothing of the user's is touched."""
import contextlib
import filecmp
import functools
import hashlib
import os
import shutil
import socket
import stat
import tarfile
import zipfile
from pathlib import Path, PurePosixPath, PureWindowsPath
from urllib.parse import unquote, urlsplit

from mindvit.files import StrPath, put, temporary_folder

IMAGENET_SUBSET_URL = ("https://mindspore-website.obs.cn-north-4.myhuaweicloud.com/notebook/datasets/"
                       "vit_imagenet_dataset.zip")
OLDER_SUBSET_URL = ("https://mindspore-website.obs.cn-north-4.myhuaweicloud.com/notebook/datasets/"
                    "vit_dataset.zip")  # the same pictures
STALLED = 60  # seconds without a byte after which a transfer is given up


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
    absent.

    Args:
        url: http or https.
        path: the file to write; its folder is made if need be.
        size: bytes it must have, where known.
        sha256: hexadecimal digest it must have, where known.

    Returns:
        `path` as Path.

    Raises:
        DownloadError: the transfer failed, or the file (fetched, or found at `path`) is not the expected one.

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

    All names are checked before anything is written. Unpacking goes to a temporary folder in `target`; then what is new
    is renamed into place, whole folders at a time. A file that is there with the same content stays. The folder
    __MACOSX is left out.

    Args:
        archive: the file.
        target: folder to unpack into; made if need be.

    Returns:
        `target` as Path.

    Raises:
        ValueError: the archive is damaged, or a member is a link or a device or would lie outside `target`.
        FileExistsError: `target` holds other content under the name of a member; nothing was changed.

    Example:
        >>> extract_archive("downloads/pictures.zip", "unpacked").joinpath("cat.jpg").exists()
        True
    """
    archive, target = Path(archive), Path(target)
    with temporary_folder(target, "extract") as temporary:
        try:
            unpack(archive, temporary)
        except Exception as error:  # zipfile, tarfile, gzip, bz2 and lzma have no error in common
            if isinstance(error, OSError) and error.errno:  # a full disk or such; the archive is not to blame
                raise
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
    if root.exists():
        if not (root / "train").is_dir():
            raise FileExistsError(f"{root} is there but has no folder train; name another folder or remove it")
        return root
    archive = subset_archive(root.parent)
    with temporary_folder(root.parent, "dataset") as temporary:
        unpacked = extract_archive(archive, Path(temporary, "unpacked"))
        folders = [unpacked, *sorted(path for path in unpacked.rglob("*") if path.is_dir())]
        found = [folder for folder in folders if (folder / "train").is_dir() and (folder / "val").is_dir()]
        if not found:
            raise ValueError(f"no folder with train and val in {archive}; remove it and fetch it again")
        os.replace(min(found, key=lambda folder: len(folder.parts)), root)
    return root


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


def fetch(url, path, size=None, sha256=None):
    """Fetch `url` to `path`, whole or not at all; return the reason where it failed, else None."""
    from download import download

    time_limit = socket.getdefaulttimeout()
    with temporary_folder(path.parent, "download") as temporary:
        fetched = Path(temporary, path.name)
        try:
            socket.setdefaulttimeout(STALLED)  # the package itself sets none for the transfer
            download(url, str(fetched), verbose=False)
            reason = mismatch(fetched, size, sha256)
        except RuntimeError as error:  # what the package raises for everything; the cause is the context
            reason = error.__context__ or error
        finally:
            socket.setdefaulttimeout(time_limit)
        if not reason:
            put(fetched, path)
        return reason


def file_name(url):
    return PurePosixPath(unquote(urlsplit(url).path)).name


def mismatch(path, size, sha256):
    """Return how the file differs from what is expected, or None."""
    if size is not None and path.stat().st_size != size:
        return f"it has {path.stat().st_size} bytes instead of {size}"
    if sha256 is not None:
        digest = hashlib.sha256()
        with open(path, "rb") as stream:
            for block in iter(functools.partial(stream.read, 1 << 20), b""):
                digest.update(block)
        if digest.hexdigest() != sha256.lower():
            return f"its SHA-256 is {digest.hexdigest()} instead of {sha256}"
    return None


def unpack(archive, folder):
    with open_archive(archive) as members:
        for name, kind, _ in members:
            if name.startswith("/") or PureWindowsPath(name).drive or ".." in PurePosixPath(name).parts:
                raise ValueError(f"its member {name!r} lies outside the folder to unpack into")
            if kind == "other":
                raise ValueError(f"its member {name!r} is a link or a device, which are not unpacked")
        for name, kind, open_content in members:
            if PurePosixPath(name).parts[:1] == ("__MACOSX",):
                continue
            path = folder / name
            if kind == "folder":
                path.mkdir(parents=True, exist_ok=True)
                continue
            path.parent.mkdir(parents=True, exist_ok=True)
            with open_content() as content, open(path, "wb") as stream:
                shutil.copyfileobj(content, stream)


@contextlib.contextmanager
def open_archive(archive):
    """Give a list of (name, kind, function that opens the content); kind is "file", "folder" or "other"."""
    if tarfile.is_tarfile(archive):
        with tarfile.open(archive) as tar:
            yield [(with_slashes(member.name), "file" if member.isfile() else "folder" if member.isdir() else "other",
                    functools.partial(tar.extractfile, member)) for member in tar]
    elif zipfile.is_zipfile(archive):
        with zipfile.ZipFile(archive) as zipped:
            yield [(with_slashes(info.filename), zip_kind(info), functools.partial(zipped.open, info))
                   for info in zipped.infolist()]
    else:
        raise ValueError("it is neither a whole zip nor a tar archive")


def with_slashes(name):
    return name.replace("\\", "/")  # some zip programs on Windows write backslashes


def zip_kind(info):
    file_type = stat.S_IFMT(info.external_attr >> 16)  # 0 where the archive was not made on Unix
    if file_type not in (0, stat.S_IFREG, stat.S_IFDIR):
        return "other"
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
