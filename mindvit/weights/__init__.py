"""Checkpoints: every public ViT file loads, exactly, and goes back."""

from mindvit.weights.build import from_checkpoint, load_weights
from mindvit.weights.load import LoadReport, read_checkpoint
from mindvit.weights.public import fetch_public_weights
from mindvit.weights.save import convert_weights, save_weights

__all__ = ["LoadReport", "convert_weights", "fetch_public_weights", "from_checkpoint",
           "load_weights", "read_checkpoint", "save_weights"]
