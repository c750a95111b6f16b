"""The names of the 1,000 ImageNet classes, packaged or read from the ILSVRC2012 development kit."""
import difflib
import functools
import io
import tarfile
from pathlib import Path

DEVKIT = "ILSVRC2012_devkit_t12"


@functools.cache
def imagenet_classes():
    """Return the 1,000 classes as a tuple of (wnid, names) pairs; the position is the label, names are comma-separated.

    Source: imagenet1k_classes.tsv beside this file.

    Example:
        >>> imagenet_classes()[236]
        ('n02107142', 'Doberman, Doberman pinscher')
    """
    lines = Path(__file__).with_name("imagenet1k_classes.tsv").read_text(encoding="utf-8").splitlines()[1:]
    return tuple(tuple(line.split("\t")[1:]) for line in lines)


def index2label(root=None):
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
    classes = (_devkit_classes(Path(root)) if root is not None else None) or imagenet_classes()
    return {index: names.split(",")[0].strip() for index, (_, names) in enumerate(classes)}


def labels_by_name(folders, classes, root, called=None):
    """Find the folders' classes among those of a head.

    Args:
        folders: names of class folders, sorted.
        classes: names of the head's classes, in its order.
        root: where the folders are, for the message.
        called: dict from folder to the class's other name, as from wnid to "Doberman".

    Returns:
        (dict from folder to position in `classes`, names of the classes that have no folder).

    Raises:
        ValueError: a folder is none of the classes, or its name is that of several.
    """
    called = called or {}
    names = [called.get(folder, folder) for folder in folders]
    if names == list(classes):  # also where two classes have one name, as ImageNet's cranes
        return {folder: label for label, folder in enumerate(folders)}, []
    positions = {}
    for label, name in enumerate(classes):
        positions.setdefault(name, []).append(label)
    labels = {}
    for folder, name in zip(folders, names):
        found = positions.get(folder) or positions.get(name)
        shown = folder if folder == name else f"{folder} ({name})"
        if not found:
            near = difflib.get_close_matches(name, positions, 1)
            raise ValueError(f"the class folder {shown} in {root} is none of the {len(classes)} classes"
                             f"{f'; did you mean {near[0]!r}?' if near else ''}: rename the folder, or take it out")
        if len(found) > 1:
            raise ValueError(f"the class folder {shown} in {root} may be any of the classes "
                             f"{', '.join(map(str, found))}, which have one name; give them different names in "
                             "classes.txt")
        if found[0] in labels.values():
            raise ValueError(f"the class folder {shown} in {root} is class {found[0]}, as another folder there is")
        labels[folder] = found[0]
    without = sorted(set(range(len(classes))) - set(labels.values()))
    return labels, [classes[label] for label in without]


def _devkit_classes(root):
    """Return (wnid, names) pairs from the development kit in `root`, or None where there is none."""
    archive = root / f"{DEVKIT}.tar.gz"
    for file in (root / DEVKIT / "data" / "meta.mat", root / "data" / "meta.mat", archive):
        if file.is_file():
            break
    else:
        return None
    try:
        classes = _parse_meta(_meta_from_archive(file) if file == archive else file.read_bytes())
    except Exception as error:  # scipy and tarfile raise many types for a damaged file
        raise ValueError(f"cannot read class names from {file}: {error}; replace it, or remove it to use the packaged "
                         "names") from error
    if [wnid for wnid, _ in classes] != [wnid for wnid, _ in imagenet_classes()]:
        raise ValueError(f"{file} holds {len(classes)} classes that are not the 1,000 of ILSVRC2012; replace it, or "
                         "remove it to use the packaged names")
    return classes


def _meta_from_archive(archive):
    with tarfile.open(archive) as tar:
        for member in tar:
            if member.isfile() and member.name.endswith("data/meta.mat"):
                return tar.extractfile(member).read()
    raise ValueError("no data/meta.mat in it")


def _parse_meta(content):
    from scipy.io import loadmat

    synsets = loadmat(io.BytesIO(content), squeeze_me=True)["synsets"]
    leaves = synsets[synsets["num_children"] == 0]
    return sorted((str(wnid), str(names)) for wnid, names in zip(leaves["WNID"], leaves["words"]))
