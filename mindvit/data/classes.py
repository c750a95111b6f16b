"""Which class of a head a folder holds, by its name."""
import difflib


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
