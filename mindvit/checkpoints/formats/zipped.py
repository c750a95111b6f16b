"""What .npz and .pth check alike: a zip file whose members unpack to little more than they take."""

import os
import zipfile

MOST_UNPACKED = 100  # times the file's size, of all members together
SMALL = 2**20  # bytes that a member may have in any file; else it may have as many as the file
LONGEST_DIRECTORY = 2**21  # bytes, for about 20,000 members


def open_zip(path):
    """The open ZipFile, which closes itself with the last array that reads from it."""
    with open(path, "rb") as file:
        end = zipfile._EndRecData(file)  # ZipFile reads the whole directory before one could ask
    if end and end[zipfile._ECD_SIZE] > LONGEST_DIRECTORY:
        raise ValueError(f"the directory of what is in it has {end[zipfile._ECD_SIZE]:,} bytes, more than the "
                         f"{LONGEST_DIRECTORY:,} that are read")
    archive, size = zipfile.ZipFile(path), os.path.getsize(path)
    unpacked = sum(info.file_size for info in archive.infolist())
    if unpacked > MOST_UNPACKED * size:
        raise ValueError(f"it unpacks to {unpacked:,} bytes, over {MOST_UNPACKED} times its size; weights do not "
                         "shrink like that")
    for info in archive.infolist():
        if info.file_size > max(size, SMALL):
            raise ValueError(f"{info.filename} in it unpacks to {info.file_size:,} bytes, more than the whole file's "
                             f"{size:,}; weights do not shrink like that")
    return archive
