"""Pictures: annotated images and training curves."""

from mindvit.visualize.annotate import show_result
from mindvit.visualize.confusion import save_confusion
from mindvit.visualize.curves import save_curves

__all__ = ["save_confusion", "save_curves", "show_result"]
