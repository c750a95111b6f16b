"""mindcv: timm's names in MindSpore's files."""

from mindvit.checkpoints.libraries.timm import TIMM
from mindvit.checkpoints.library import Library
from mindvit.preprocessing import Preprocessing


def mindcv_preparation(path, image_size, deit):
    return Preprocessing(), "as mindcv evaluates its ViT"


MINDCV = Library(
    name="mindcv", rank=2, names=TIMM.names, norm_words=("gamma", "beta"), spellings=TIMM.spellings,
    training_state=True, norms_after_pool=TIMM.norms_after_pool, activation="gelu_tanh", norm_eps=1e-7,
    preparation=mindcv_preparation)
