"""What is measured in validation."""

import numpy as np
from mindspore.train import Top1CategoricalAccuracy, Top5CategoricalAccuracy
from mindspore.train.metrics import Metric


class MeanCrossEntropy(Metric):
    """Mean cross entropy without smoothing over all images, in float64; `images` counts them.

    MindSpore's own `Loss` metric averages batch means, which weighs the images of a short last batch more.
    """

    def __init__(self):
        super().__init__()
        self.clear()

    def clear(self):
        self.total, self.images = 0.0, 0

    def update(self, *inputs):
        logits, labels = (self._convert_data(value) for value in inputs)
        logits = logits.astype(np.float64)
        highest = logits.max(1)
        log_sum = highest + np.log(np.exp(logits - highest[:, None]).sum(1))  # (B,)
        self.total += (log_sum - logits[np.arange(len(labels)), labels]).sum()
        self.images += len(labels)

    def eval(self):
        if not self.images:
            raise RuntimeError("no image was evaluated; the validation data are empty")
        return float(self.total / self.images)


def validation_metrics():
    """The metrics of every validation: top-1, top-5 and the mean cross entropy."""
    return {"Top_1_Accuracy": Top1CategoricalAccuracy(), "Top_5_Accuracy": Top5CategoricalAccuracy(),
            "val_loss": MeanCrossEntropy()}
