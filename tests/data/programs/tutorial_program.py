"""Train, evaluate and predict as MindSpore's tutorial does, with the tutorial's classes taken from mindvit.

usage: python tutorial_program.py DATASET CHECKPOINT   (CHECKPOINT in the public file's flat names, 1,000 classes, ViT-B/16 at 224)
"""
import os
import sys

import mindspore as ms
import mindspore.dataset.vision as transforms
import numpy as np
from mindspore import nn, train
from mindspore.dataset import ImageFolderDataset
from mindspore.train import CheckpointConfig, LossMonitor, ModelCheckpoint, TimeMonitor

from mindvit import CrossEntropySmooth, ViT, index2label

data_path, vit_path = sys.argv[1:3]
mean, std = [0.485 * 255, 0.456 * 255, 0.406 * 255], [0.229 * 255, 0.224 * 255, 0.225 * 255]
finish = [transforms.Normalize(mean=mean, std=std), transforms.HWC2CHW()]
recipes = {
    "train": [transforms.RandomCropDecodeResize(size=224, scale=(0.08, 1.0), ratio=(0.75, 1.333)), transforms.RandomHorizontalFlip(prob=0.5), *finish],
    "val": [transforms.Decode(), transforms.Resize(224 + 32), transforms.CenterCrop(224), *finish],
    "infer": [transforms.Decode(), transforms.Resize([224, 224]), *finish],
}


def dataset(split, batch_size):
    folder = ImageFolderDataset(os.path.join(data_path, split), shuffle=split == "train")
    return folder.map(operations=recipes[split], input_columns=["image"]).batch(batch_size)


def network_with_weights():
    network = ViT()
    missing, unused = ms.load_param_into_net(network, ms.load_checkpoint(vit_path))
    assert not missing and not unused, (missing, unused)
    return network


dataset_train, epoch_size, momentum = dataset("train", 2), 1, 0.9
step_size = dataset_train.get_dataset_size()
network = network_with_weights()
lr = nn.cosine_decay_lr(min_lr=0.0, max_lr=0.00005, total_step=epoch_size * step_size, step_per_epoch=step_size, decay_epoch=10)
optimizer = nn.Adam(network.trainable_params(), lr, momentum)
loss = CrossEntropySmooth(sparse=True, reduction="mean", smooth_factor=0.1, num_classes=1000)
level = "O2" if ms.get_context("device_target") == "Ascend" else "O0"
model = train.Model(network, loss_fn=loss, optimizer=optimizer, metrics={"acc"}, amp_level=level)
saver = ModelCheckpoint(prefix="vit_b_16", directory="./ViT", config=CheckpointConfig(save_checkpoint_steps=step_size, keep_checkpoint_max=1))
model.train(epoch_size, dataset_train, callbacks=[saver, LossMonitor(1), TimeMonitor(1)], dataset_sink_mode=False)

network = network_with_weights()
metrics = {"Top_1_Accuracy": train.Top1CategoricalAccuracy(), "Top_5_Accuracy": train.Top5CategoricalAccuracy()}
model = train.Model(network, loss_fn=loss, optimizer=optimizer, metrics=metrics, amp_level=level)
print(model.eval(dataset("val", 2), dataset_sink_mode=False))

mapping = index2label()
for i, row in enumerate(dataset("infer", 1).create_dict_iterator(output_numpy=True)):
    label = int(np.argmax(model.predict(ms.Tensor(row["image"])).asnumpy(), axis=1)[0])
    print({label: mapping[label]})
