"""What a training prints, and which weights it keeps."""

import pathlib
import re
import subprocess
import sys

import mindspore as ms
import mindspore.dataset as ds
import numpy as np
import pytest
from mindspore import Tensor, nn
from mindspore.train import Model
from tiny import TINY

from mindvit import (
    CrossEntropySmooth,
    LossMonitor,
    ValAccMonitor,
    ViT,
    learning_rates,
    use_device,
)

# The suite's published line: Epoch:[  0/ 10], step:[    1/  125], loss:[1.908/1.908], time:9580.221 ms, lr:0.00300
STEP_LINE = (r"Epoch:\[ {2}\d/ {2}2\], step:\[ {4}\d/ {4}3\], loss:\[\d\.\d{3}/\d\.\d{3}\], time:\d+\.\d{3} ms, "
             r"lr:0\.\d{5}")
EPOCH_LINE = r"Epoch time: \d+\.\d{3} ms, per step time: \d+\.\d{3} ms, avg loss: \d\.\d{3}"


def small_set(count=24, batch=8, labels=None, seed=0):
    rng = np.random.default_rng(seed)
    columns = {"image": rng.normal(0, 1, (count, 3, 32, 32)).astype(np.float32),
               "label": np.arange(count, dtype=np.int32) % 10 if labels is None else labels}
    return ds.NumpySlicesDataset(columns, shuffle=False).batch(batch)


def test_loss_monitor_prints_the_suites_lines_and_nan_stops(capsys):
    use_device()
    network = ViT(**TINY)
    lr = learning_rates(0.003, 2, 3)
    model = Model(network, CrossEntropySmooth(num_classes=10), nn.Adam(network.trainable_params(), lr))
    capsys.readouterr()
    model.train(2, small_set(), callbacks=[LossMonitor(lr)], dataset_sink_mode=False)
    lines = capsys.readouterr().out.splitlines()
    assert [bool(re.fullmatch(STEP_LINE, line)) for line in lines] == [True, True, True, False] * 2
    assert re.fullmatch(EPOCH_LINE, lines[3]) and lines[0].endswith("lr:0.00300") and "step:[    1/    3]" in lines[4]
    model = Model(network, CrossEntropySmooth(num_classes=10), nn.Adam(network.trainable_params(), lr))
    network.dense.bias.set_data(Tensor(np.full(10, np.nan, np.float32)))
    with pytest.raises(ValueError, match=r"the loss is nan at step 1 \(epoch 1\); training stops"):
        model.train(1, small_set(), callbacks=[LossMonitor(lr)], dataset_sink_mode=False)


def test_val_acc_monitor_keeps_best_and_last(tmp_path, capsys):
    class Scripted(Model):
        """A model whose validations follow a script; its training is real."""

        script = iter([0.5, 0.75, 0.6])

        def eval(self, *args, **kwargs):
            return {"Top_1_Accuracy": next(self.script)}

    network = ViT(**TINY)
    model = Scripted(network, CrossEntropySmooth(num_classes=10), nn.Adam(network.trainable_params(), 1e-3))
    seen = {}

    class Watch(ms.train.Callback):
        def on_train_epoch_end(self, run_context):
            params = run_context.original_args()
            seen[params.cur_epoch_num] = {p.name: p.asnumpy().copy() for p in network.get_parameters()}
            assert set(params.eval_results) == {"Top_1_Accuracy"}

    model.train(3, small_set(), callbacks=[ValAccMonitor(model, None, 3, ckpt_directory=tmp_path), Watch()],
                dataset_sink_mode=False)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["best.ckpt", "last.ckpt"]
    for name, epoch in (("best", 2), ("last", 3)):
        saved = ms.load_checkpoint(str(tmp_path / f"{name}.ckpt"))
        assert set(saved) - {"mindvit"} == set(seen[epoch])
        assert all((saved[key].asnumpy() == value).all() for key, value in seen[epoch].items())
    assert "Top_1_Accuracy: 0.6000, best: 0.7500\n" in capsys.readouterr().out


def test_a_second_training_does_not_replace_better_weights(tmp_path):
    """One ValAccMonitor over two calls of Model.train, as when a training is continued in a program."""
    class Scripted(ms.train.Model):
        script = iter([0.9, 0.5])

        def eval(self, *args, **kwargs):
            return {"Top_1_Accuracy": next(self.script)}

    network = ViT(**TINY)
    model = Scripted(network, CrossEntropySmooth(num_classes=10), nn.Adam(network.trainable_params(), 1e-3))
    monitor = ValAccMonitor(model, None, ckpt_directory=tmp_path)
    model.train(1, small_set(), callbacks=[monitor], dataset_sink_mode=False)
    best = (tmp_path / "best.ckpt").read_bytes()
    model.train(1, small_set(), callbacks=[monitor], dataset_sink_mode=False)
    assert (tmp_path / "best.ckpt").read_bytes() == best != (tmp_path / "last.ckpt").read_bytes()


PYNATIVE = f"TINY = {TINY}\n" + """
import sys

import mindspore as ms
import mindspore.dataset as ds
import numpy as np
from mindspore import nn
from mindspore.train import Model

from mindvit import CrossEntropySmooth, LossMonitor, ValAccMonitor, ViT

if sys.argv[1] == "graph":
    ms.set_context(mode=ms.GRAPH_MODE)
network = ViT(**{**TINY, "num_classes": 2})
columns = np.ones((2, 3, 32, 32), np.float32), np.array([0, 1], np.int32)
data = ds.NumpySlicesDataset(columns, ["image", "label"]).batch(2)
model = Model(network, CrossEntropySmooth(num_classes=2), nn.Adam(network.trainable_params()), metrics={"Top_1_Accuracy"
              : ms.train.Top1CategoricalAccuracy()})
for _ in range(2):
    model.train(1, data, callbacks=[LossMonitor(), ValAccMonitor(model, data)], dataset_sink_mode=False)
"""


@pytest.mark.parametrize("mode, lines", [("default", 1), ("graph", 0)])
def test_pynative_is_noticed_once_a_process(mode, lines):
    pathlib.Path("script.py").write_text(PYNATIVE)
    done = subprocess.run([sys.executable, "script.py", mode], capture_output=True, text=True, check=True)
    assert done.stdout.count("mindspore.set_context(mode=mindspore.GRAPH_MODE)") == lines
    assert "Top_1_Accuracy: " in done.stdout
