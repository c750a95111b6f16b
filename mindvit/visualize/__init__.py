"""Pictures: annotated images, batches, confusion and curves."""

from mindvit.visualize.annotate import show_result
from mindvit.visualize.batch import save_batch
from mindvit.visualize.confusion import save_confusion
from mindvit.visualize.curves import plot_curves, save_curves
from mindvit.visualize.figure7 import save_figure7
from mindvit.visualize.overlay import overlay

__all__ = ["overlay", "plot_curves", "save_batch", "save_confusion", "save_curves", "save_figure7", "show_result"]
