"""Training agrees with PyTorch's, step by step."""

import pathlib

import mindspore as ms
import mindspore.dataset as ds
import numpy as np
import pytest
from mindspore import Tensor, nn

from mindvit import CrossEntropySmooth, build_model, from_checkpoint, use_device
from mindvit.training.loss import CountedLoss

DATA = pathlib.Path(__file__).with_name("data")


class Losses(ms.train.Callback):
    """Collects the loss of every step."""

    def __init__(self):
        super().__init__()
        self.values = []

    def on_train_step_end(self, run_context):
        self.values.append(float(run_context.original_args().net_outputs.asnumpy()))


@pytest.mark.parametrize("counted", [False, True])
def test_twenty_adam_steps_follow_pytorchs(counted):
    oracle = np.load(DATA / "trajectory.npz")
    network = from_checkpoint(DATA / "trajectory.safetensors", num_heads=4)
    batches = ds.NumpySlicesDataset((oracle["images"].reshape(-1, 3, 32, 32), oracle["labels"].reshape(-1)),
                                    ["image", "label"], shuffle=False).batch(8)
    loss = CrossEntropySmooth(smooth_factor=float(oracle["smooth_factor"]), num_classes=10)
    loss = CountedLoss(loss) if counted else loss
    optimizer = nn.Adam(network.trainable_params(), float(oracle["lr"]))
    model, losses = build_model(network, use_device(), loss, optimizer), Losses()
    model.train(1, batches, callbacks=[losses], dataset_sink_mode=False)
    np.testing.assert_allclose(losses.values, oracle["losses"], atol=1e-4)
    logits = network.set_train(False)(Tensor(oracle["images"][0])).asnumpy()
    np.testing.assert_allclose(logits, oracle["final_logits"], atol=1e-3)
