"""Fetches the Vision suite's public checkpoints."""

import os

try:
    import fcntl
except ImportError:  # Windows: two processes that ask at once there download it twice
    fcntl = None

from mindvit.models.variants import VARIANTS, public_weights

BASE_URL = "https://download.mindspore.cn/vision/classification/"


def fetch_public_weights(row, image_size, ckpt_dir=None):
    """The path of the suite's public checkpoint for a variant, downloaded when it is not there yet.

    It is kept in ckpt_dir, or the folder named by the environment variable MINDVIT_CKPT_DIR, or `ckpt` in the current
    folder.
    Two processes that ask at once download it once.

    Args:
        row (str): a name of `list_models()`.
        image_size (int or (int, int)): image size in pixels.
        ckpt_dir (str, optional): folder to keep it in.

    Raises:
        ValueError: the suite published none for this variant and size; the message lists those it did.
        DownloadError: it can't be fetched; the message names URL and path.

    Example:
        >>> fetch_public_weights("vit_b_16", 224)
        'ckpt/vit_b_16_224.ckpt'
    """
    if isinstance(image_size, (tuple, list)) and len(set(image_size)) == 1:
        image_size = image_size[0]
    files = VARIANTS[row].public_files
    if image_size not in files:
        raise ValueError(f"there is no public checkpoint of {row} at image size {image_size}; there are "
                         f"{public_weights()}. Use pretrained=False, or load another library's file with "
                         "from_checkpoint")
    folder = ckpt_dir or os.environ.get("MINDVIT_CKPT_DIR", "ckpt")
    path = os.path.join(folder, files[image_size])
    if os.path.exists(path):
        return path
    from mindvit.download import download_file

    os.makedirs(folder, exist_ok=True)
    with open(f"{path}.lock", "w") as lock:
        if fcntl:
            fcntl.flock(lock, fcntl.LOCK_EX)  # another process that downloads it now is waited for
        if not os.path.exists(path):
            download_file(BASE_URL + files[image_size], path)
    return path
