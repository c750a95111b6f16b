"""Train, evaluate and predict as a user of the Vision suite does, with mindvit's names.

usage: python suite_program.py DATASET CHECKPOINT   (DATASET holds train/, val/ and infer/ in ImageNet's layout)
"""
import sys

import mindspore.dataset as ds
import mindspore.nn as nn
import numpy as np
from mindspore import Tensor
from mindspore.train import CheckpointConfig, Model, ModelCheckpoint, Top1CategoricalAccuracy, Top5CategoricalAccuracy

from mindvit import (
    CrossEntropySmooth,
    DatasetGenerator,
    ImageNet,
    LossMonitor,
    infer_transform,
    load_weights,
    read_dataset,
    show_result,
    vit_b_32,
)

root, checkpoint = sys.argv[1:3]
resize, batch_size, num_classes, epoch_size = 224, 4, 1000, 1

train_set = ImageNet(root, split="train", num_parallel_workers=1, shuffle=True, resize=resize, batch_size=batch_size)
dataset_train = train_set.run()
step_size = dataset_train.get_dataset_size()

network = vit_b_32(num_classes=num_classes, image_size=resize)
load_weights(network, checkpoint)
lr = nn.cosine_decay_lr(min_lr=0.0, max_lr=5e-5, total_step=epoch_size * step_size, step_per_epoch=step_size, decay_epoch=90)
optimizer = nn.Adam(network.trainable_params(), lr, 0.9)
loss = CrossEntropySmooth(sparse=True, reduction="mean", smooth_factor=0.1, classes_num=num_classes)
model = Model(network, loss_fn=loss, optimizer=optimizer, metrics={"acc"})
keep = CheckpointConfig(save_checkpoint_steps=step_size, keep_checkpoint_max=1)
model.train(epoch_size, dataset_train, dataset_sink_mode=False,
            callbacks=[ModelCheckpoint(prefix="vit_b_32", directory="./ViT", config=keep), LossMonitor(lr)])

analyse = ImageNet(root, split="val", num_parallel_workers=1, resize=resize, batch_size=batch_size)
model = Model(network, loss, metrics={"Top_1_Accuracy": Top1CategoricalAccuracy(), "Top_5_Accuracy": Top5CategoricalAccuracy()})
print(model.eval(analyse.run(), dataset_sink_mode=False))

images, labels = read_dataset(f"{root}/infer")
columns = ("image", "label")
dataset_infer = ds.GeneratorDataset(DatasetGenerator(images, labels), column_names=list(columns), num_parallel_workers=1)
for i, row in enumerate(infer_transform(dataset_infer, columns, resize).create_dict_iterator(output_numpy=True)):
    label = int(np.argmax(model.predict(Tensor(row["image"])).asnumpy(), axis=1)[0])
    result = {label: analyse.index2label[label]}
    print(images[i], result)
    show_result(img=images[i], result=result, out_file=f"./ViT/predicted/{i}.jpg")
