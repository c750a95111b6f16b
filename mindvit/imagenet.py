"""The names of the 1,000 ImageNet classes, packaged or read from the ILSVRC2012 development kit."""
import functools
import io
import tarfile
from pathlib import Path

from mindvit.files import StrPath

DEVKIT = "ILSVRC2012_devkit_t12"


@functools.cache
def imagenet_classes() -> tuple[tuple[str, str], ...]:
    """Return the 1,000 classes as a tuple of (wnid, names) pairs; the position is the label, names are comma-separated.

    Source: imagenet1k_classes.tsv beside this file.

    Example:
        >>> imagenet_classes()[236]
        ('n02107142', 'Doberman, Doberman pinscher')
    """
    lines = Path(__file__).with_name("imagenet1k_classes.tsv").read_text(encoding="utf-8").splitlines()[1:]
    return tuple((wnid, names) for _, wnid, names in (line.split("\t") for line in lines))


def index2label(root: StrPath | None = None) -> dict[int, str]:
    """Map each of the 1,000 labels to its first name, as in {236: "Doberman"}.

    Args:
        root: data set folder. The names are read from data/meta.mat of the folder ILSVRC2012_devkit_t12 or of
            ILSVRC2012_devkit_t12.tar.gz in it, where one of them is there; otherwise the packaged names are used.

    Returns:
        dict from int to str.

    Raises:
        ValueError: the development kit is damaged or not the one of ILSVRC2012; the message names the file.

    Example:
        >>> index2label()[236]
        'Doberman'
    """
    classes = (devkit_classes(Path(root)) if root is not None else None) or imagenet_classes()
    return {index: names.split(",")[0].strip() for index, (_, names) in enumerate(classes)}


def devkit_classes(root):
    """Return (wnid, names) pairs from the development kit in `root`, or None where there is none."""
    archive = root / f"{DEVKIT}.tar.gz"
    for file in (root / DEVKIT / "data" / "meta.mat", root / "data" / "meta.mat", archive):
        if file.is_file():
            break
    else:
        return None
    try:
        classes = parse_meta(meta_from_archive(file) if file == archive else file.read_bytes())
    except Exception as error:  # scipy and tarfile raise many types for a damaged file
        raise ValueError(f"cannot read class names from {file}: {error}; replace it, or remove it to use the packaged "
                         "names") from error
    if [wnid for wnid, _ in classes] != [wnid for wnid, _ in imagenet_classes()]:
        raise ValueError(f"{file} holds {len(classes)} classes that are not the 1,000 of ILSVRC2012; replace it, or "
                         "remove it to use the packaged names")
    return classes


def meta_from_archive(archive):
    with tarfile.open(archive) as tar:
        for member in tar:
            if member.isfile() and member.name.endswith("data/meta.mat"):
                return tar.extractfile(member).read()
    raise ValueError("no data/meta.mat in it")


def parse_meta(content):
    from scipy.io import loadmat

    synsets = loadmat(io.BytesIO(content), squeeze_me=True)["synsets"]
    leaves = synsets[synsets["num_children"] == 0]
    return sorted((str(wnid), str(names)) for wnid, names in zip(leaves["WNID"], leaves["words"]))
