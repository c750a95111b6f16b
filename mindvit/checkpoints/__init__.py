"""Checkpoints: every public ViT file loads, exactly, and goes back."""

from mindvit.checkpoints.build import from_checkpoint, load_weights
from mindvit.checkpoints.load import LoadReport, read_checkpoint
from mindvit.checkpoints.save import convert_weights, save_weights

__all__ = ["LoadReport", "convert_weights", "from_checkpoint", "load_weights", "read_checkpoint", "save_weights"]
