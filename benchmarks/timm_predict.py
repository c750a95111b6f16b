"""What `mindvit predict` does with one picture, done by timm: the peer of `benchmarks.startup`.

python -m benchmarks.timm_predict SIZES WEIGHTS PICTURE COPY
"""

import json
import sys

import timm
import torch
from PIL import Image, ImageDraw

from benchmarks.networks import timm_network

sizes, weights, picture, copy = sys.argv[1:]
network = timm_network(json.loads(sizes)).eval()
timm.models.load_checkpoint(network, weights)
image = Image.open(picture).convert("RGB")
size = json.loads(sizes)["image_size"]
transform = timm.data.create_transform((3, size, size), crop_pct=1.0)
with torch.inference_mode():
    probabilities, classes = network(transform(image)[None]).softmax(-1)[0].topk(5)
lines = [f"class {index}: {probability:.4f}" for index, probability in zip(classes.tolist(), probabilities.tolist())]
ImageDraw.Draw(image).text((5, 5), "\n".join(lines))
image.save(copy)
print("\n".join(lines))
