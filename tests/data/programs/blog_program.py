"""From the archive to annotated pictures, in the steps of the Vision suite's ViT example, with mindvit's names.

usage: python blog_program.py URL   (an archive of dataset/ with train/, val/ and infer/ in ImageNet's layout)
"""
import sys

import mindspore as ms
import mindspore.nn as nn
import numpy as np
from mindspore.dataset import GeneratorDataset
from mindspore.train import CheckpointConfig, Model, ModelCheckpoint, Top1CategoricalAccuracy, Top5CategoricalAccuracy

from mindvit import (
    CrossEntropySmooth,
    DatasetGenerator,
    DownLoad,
    ImageNet,
    LossMonitor,
    ViT,
    infer_transform,
    read_dataset,
    show_result,
)

ms.set_context(mode=ms.GRAPH_MODE)

# the data
DownLoad().download_and_extract_archive(sys.argv[1], "./")
data_path, resize, batch_size, num_classes, epoch_size = "./dataset/", 224, 4, 1000, 1
dataset_train = ImageNet(data_path, split="train", num_parallel_workers=1, shuffle=True, resize=resize,
                         batch_size=batch_size, repeat_num=1).run()
step_size = dataset_train.get_dataset_size()

# training; a narrow network of two blocks, so that it takes seconds
network = ViT(image_size=resize, patch_size=32, embed_dim=64, num_layers=2, num_heads=2, mlp_dim=128,
              num_classes=num_classes)
lr = nn.cosine_decay_lr(min_lr=float(0), max_lr=0.003, total_step=epoch_size * step_size, step_per_epoch=step_size,
                        decay_epoch=90)
network_opt = nn.Adam(network.trainable_params(), lr, 0.9)
network_loss = CrossEntropySmooth(sparse=True, reduction="mean", smooth_factor=0.1, classes_num=num_classes)
ckpt_config = CheckpointConfig(save_checkpoint_steps=step_size, keep_checkpoint_max=100)
ckpt_callback = ModelCheckpoint(prefix="vit", directory="./ViT", config=ckpt_config)
model = Model(network, loss_fn=network_loss, optimizer=network_opt, metrics={"acc"})
model.train(epoch_size, dataset_train, callbacks=[ckpt_callback, LossMonitor(lr)], dataset_sink_mode=False)

# evaluation
dataset_analyse = ImageNet(data_path, split="val", num_parallel_workers=1, resize=resize, batch_size=batch_size)
metrics = {"Top_1_Accuracy": Top1CategoricalAccuracy(), "Top_5_Accuracy": Top5CategoricalAccuracy()}
model = Model(network, network_loss, metrics=metrics)
print(model.eval(dataset_analyse.run(), dataset_sink_mode=False))

# prediction: each picture by itself, the result written on it
image_list, image_label = read_dataset(data_path + "infer")
columns_list = ("image", "label")
dataset_infer = GeneratorDataset(DatasetGenerator(image_list, image_label), column_names=list(columns_list),
                                 num_parallel_workers=1)
dataset_infer = infer_transform(dataset_infer, columns_list, resize)
for i, row in enumerate(dataset_infer.create_dict_iterator(output_numpy=True)):
    prob = model.predict(ms.Tensor(row["image"]))
    label = int(np.argmax(prob.asnumpy(), axis=1)[0])
    output = {label: dataset_analyse.index2label[label]}
    print(output)
    show_result(img=image_list[i], result=output, out_file=image_list[i])
