"""What is measured in validation."""

import numpy as np
from mindspore.train import TopKCategoricalAccuracy
from mindspore.train.metrics import Metric

from mindvit.attention.faithfulness import softmax
from mindvit.runtime.workers import total


def labelled(metric, logits, labels):
    """Logits and labels as arrays, without the images that have no label: those that could not be read."""
    logits, labels = metric._convert_data(logits), metric._convert_data(labels)
    return logits[labels >= 0], labels[labels >= 0]


class Accuracy(TopKCategoricalAccuracy):
    """MindSpore's share of the images whose class is among the k likeliest, over the images of all workers."""

    def update(self, *inputs):
        logits, labels = labelled(self, *inputs)
        if len(labels):
            super().update(logits, labels)

    def eval(self):
        self._correct_num, self._samples_num = total(np.array([self._correct_num, self._samples_num], float)).tolist()
        return super().eval()


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
        logits, labels = labelled(self, *inputs)
        if not len(labels):
            return
        logits = logits.astype(np.float64)
        self.images += len(labels)
        highest = logits.max(1)
        if not np.isfinite(highest).all():  # broken weights, which numpy would warn of
            self.total = np.nan
            return
        log_sum = highest + np.log(np.exp(logits - highest[:, None]).sum(1))  # (B,)
        self.total += (log_sum - logits[np.arange(len(labels)), labels]).sum()

    def eval(self):
        self.total, images = total(np.array([self.total, self.images], float)).tolist()
        self.images = int(images)
        if not self.images:
            raise RuntimeError("no image was evaluated; the validation data are empty")
        return self.total / self.images


class Confusion(Metric):
    """Counts (num_classes, num_classes), rows the true class, columns the predicted one.

    MindSpore's own `ConfusionMatrix` counts likewise, but divides by zero where a class has no image, and warns of it.
    """

    def __init__(self, num_classes):
        super().__init__()
        self.num_classes = num_classes
        self.clear()

    def clear(self):
        self.counts = np.zeros((self.num_classes, self.num_classes), np.int64)

    def update(self, *inputs):
        logits, labels = labelled(self, *inputs)
        np.add.at(self.counts, (labels, logits.argmax(1)), 1)

    def eval(self):
        return total(self.counts)


class PerImage(Metric):
    """What became of each image of the data set, whichever worker has it: dict of arrays (images,), `label`, -1 where
    it could not be read, `predicted`, and the probabilities of both, `truth` and `confidence`.

    Args:
        count (int): images in the data set.
        order (list of int): the positions of this worker's images, as they come.
    """

    def __init__(self, count, order):
        super().__init__()
        self.count, self.order = count, np.array(order, int)
        self.clear()

    def clear(self):
        self.seen = 0
        self.rows = {"label": np.zeros(self.count, int), "predicted": np.zeros(self.count, int),
                     "truth": np.zeros(self.count), "confidence": np.zeros(self.count)}

    def update(self, *inputs):
        logits, labels = map(self._convert_data, inputs)
        images, predicted = np.arange(len(labels)), logits.argmax(1)
        here = self.order[self.seen + images]
        self.seen += len(labels)
        with np.errstate(invalid="ignore"):  # broken weights, which the loss tells
            shares = softmax(logits)
        for name, values in (("label", labels), ("predicted", predicted), ("truth", shares[images, labels]),
                             ("confidence", shares[images, predicted])):
            self.rows[name][here] = values

    def eval(self):
        return {name: total(values) for name, values in self.rows.items()}


ACCURACIES = {"Top_1_Accuracy": "top-1", "Top_5_Accuracy": "top-5"}


def validation_metrics(num_classes):
    """The metrics of every validation: top-1, with more than five classes top-5, and the mean cross entropy."""
    top_5 = {"Top_5_Accuracy": Accuracy(5)} if num_classes > 5 else {}
    return {"Top_1_Accuracy": Accuracy(1), **top_5, "val_loss": MeanCrossEntropy()}


def share(images):
    """The MindSpore data set of an ImageDataset's images for this worker; None for none of them, as where there are
    more workers than images."""
    return images.run() if len(images.order()) else None


def measure(model, metrics, dataset, data_sink):
    """The metrics over the images of all workers, of which each evaluates its own.

    Args:
        model (mindspore.train.Model): with these metrics.
        metrics (dict): by name; they add up over the workers when they are evaluated.
        dataset (mindspore Dataset, optional): this worker's `share`, made once however often it is measured: each new
            one would be a new queue of the device.
        data_sink (bool): see `Model.eval`.
    """
    if dataset is not None:
        return model.eval(dataset, dataset_sink_mode=data_sink)
    for metric in metrics.values():
        metric.clear()
    return {name: metric.eval() for name, metric in metrics.items()}


def measure_logits(logits, metrics, dataset):
    """`measure` of what computes logits from arrays of images, in place of a model, for one worker."""
    for metric in metrics.values():
        metric.clear()
    for images, labels in dataset.create_tuple_iterator(num_epochs=1, output_numpy=True):
        values = logits(images)
        for metric in metrics.values():
            metric.update(values, labels)
    return {name: metric.eval() for name, metric in metrics.items()}


def accuracies(results):
    """The accuracies among the results in words: top-1 0.9861, top-5 1.0000."""
    return ", ".join(f"{word} {results[name]:.4f}" for name, word in ACCURACIES.items() if name in results)


def per_class(confusion, names):
    """The images of each class that has any, those named right and their share.

    Args:
        confusion (array): counts (num_classes, num_classes), rows the true class, columns the predicted one.
        names (list[str]): of the classes.

    Returns:
        list[dict]: class, index, images, correct and Top_1_Accuracy.
    """
    images, correct = confusion.sum(1), confusion.diagonal()
    return [{"class": names[i], "index": int(i), "images": int(images[i]), "correct": int(correct[i]),
             "Top_1_Accuracy": float(correct[i] / images[i])} for i in np.flatnonzero(images)]
