"""What a checkpoint calls the classes of its head."""

import pathlib

from mindvit.imagenet import index2label

LONGEST = 2**22  # bytes of classes.txt, for 20,000 names of 200 bytes; Python needs thirty times as many for short ones


def class_names(path, network, told=None):
    """Names of the classes of a network that was loaded from a checkpoint: a list in the order of the head, or None.

    They stand in classes.txt beside the checkpoint, a line each, in the checkpoint itself, or in the library's
    config.json; without all three, 1,000 classes are ImageNet's. A head that the file did not fill has no names.

    Args:
        path (str): the checkpoint.
        network (ViT): with its `load_report`.
        told (list of str, optional): the names in the checkpoint or in the library's config.json.

    Raises:
        ValueError: classes.txt is no text in UTF-8, or too long.
    """
    if network.load_report.replaced or not network.num_classes:
        return None
    file = pathlib.Path(path).parent / "classes.txt"
    if file.is_file():
        if (size := file.stat().st_size) > LONGEST:
            raise ValueError(f"{file} has {size:,} bytes, more than the {LONGEST:,} that are read; write a name a line")
        try:
            names = file.read_text(encoding="utf-8-sig").splitlines()
        except UnicodeDecodeError:
            raise ValueError(f"{file} is not UTF-8 text; save it as UTF-8") from None
        if len(names) == network.num_classes:
            return names
        print(f"{file} names {len(names)} classes, the checkpoint has {network.num_classes}; the file is not used",
              flush=True)
    if told and len(told) == network.num_classes:
        return told
    return list(index2label().values()) if network.num_classes == 1000 else None
