"""A training in PyTorch with timm's network and torchvision's transforms, as a request on stdin says; no mindvit in it.

The request is JSON: `train` and `test`, each a folder of class folders or [IDX images, IDX labels]; `start`, weights
under timm's names; `network`, arguments of timm's VisionTransformer, and `positions`, whether they are trained;
`size`, `resized` (the short side before the centre crop of testing), `crop` (scale and ratio, or null) and `rotation`
of the images; and the recipe's numbers. The answer is one line of JSON.
"""

import contextlib
import copy
import json
import math
import os
import sys
import time


def read(source):
    """(images as a list of PIL images, labels) of a source."""
    import numpy as np
    import torch
    from PIL import Image

    if isinstance(source, str):
        from torchvision.datasets import ImageFolder

        found = ImageFolder(source)
        return [image for image, _ in found], torch.tensor(found.targets)
    images = np.fromfile(source[0], np.uint8, offset=16).reshape(-1, 28, 28)
    labels = torch.tensor(np.fromfile(source[1], np.uint8, offset=8).astype(np.int64))
    return [Image.fromarray(image).convert("RGB") for image in images], labels


def transforms(request, train):
    """torchvision's operations for an image."""
    import torch
    from torchvision.transforms import v2
    from torchvision.transforms.functional import InterpolationMode

    mean, std, bilinear = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225), InterpolationMode.BILINEAR
    last = [v2.PILToTensor(), v2.ToDtype(torch.float32, scale=True), v2.Normalize(mean, std)]
    size = request["size"]
    if not train:
        return v2.Compose([v2.Resize(request["resized"], bilinear), v2.CenterCrop(size), *last])
    turned = [v2.RandomRotation(request["rotation"], bilinear)] if request["rotation"] else []
    crop = request["crop"]
    sized = v2.RandomResizedCrop(size, crop["scale"], crop["ratio"], bilinear) if crop else v2.Resize(
        (size, size), bilinear)
    return v2.Compose([*turned, sized, *last])


def build(request):
    """timm's network with the weights of the file, and AdamW with timm's groups."""
    import torch
    from safetensors.torch import load_file
    from timm.models.vision_transformer import VisionTransformer
    from timm.optim import param_groups_layer_decay, param_groups_weight_decay

    model = VisionTransformer(**request["network"])
    model.load_state_dict(load_file(request["start"]))
    for name, value in model.named_parameters():
        value.requires_grad = ((request["trainable"] == "all" or name.startswith("head."))
                               and (request["positions"] or name != "pos_embed"))
    decay, spared = request["weight_decay"], model.no_weight_decay()
    groups = (param_groups_weight_decay(model, decay, spared) if request["layer_decay"] == 1 else
              param_groups_layer_decay(model, decay, spared, layer_decay=request["layer_decay"]))
    return model, torch.optim.AdamW(groups, lr=0.0)


def rate(request, step, steps_per_epoch):
    """Linear warm-up, then a cosine to zero."""
    warmup, steps = round(request["warmup_epochs"] * steps_per_epoch), request["epochs"] * steps_per_epoch
    if step < warmup:
        return request["lr"] * (step + 1) / warmup
    return request["lr"] * (1 + math.cos(math.pi * (step - warmup) / (steps - warmup))) / 2


def main():
    import torch

    answer = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    request, start = json.load(sys.stdin), time.time()
    torch.manual_seed(request["seed"])
    model, optimizer = build(request)
    (images, labels), (test_images, test_labels) = read(request["train"]), read(request["test"])
    augment, prepare = transforms(request, True), transforms(request, False)
    test_images = torch.stack([prepare(image) for image in test_images])
    loss = torch.nn.CrossEntropyLoss(label_smoothing=request["label_smoothing"])
    average, batch = copy.deepcopy(model), request["batch_size"]
    steps_per_epoch, step, epochs = len(images) // batch, 0, []
    for epoch in range(request["epochs"]):
        model.train()
        for indices in torch.randperm(len(images))[:steps_per_epoch * batch].reshape(-1, batch).tolist():
            for group in optimizer.param_groups:
                group["lr"] = rate(request, step, steps_per_epoch) * group.get("lr_scale", 1.0)
            optimizer.zero_grad()
            loss(model(torch.stack([augment(images[i]) for i in indices])), labels[indices]).backward()
            optimizer.step()
            step += 1
            with torch.no_grad():
                for mean, value in zip(average.parameters(), model.parameters()):
                    mean.lerp_(value, 1 - request["ema"])
        if not request["every_epoch"] and epoch + 1 < request["epochs"]:
            continue
        average.eval()
        with torch.inference_mode():
            right = sum((average(part).argmax(1) == wanted).sum().item() for part, wanted in
                        zip(test_images.split(256), test_labels.split(256)))
        epochs.append(right / len(test_labels))
        print(f"epoch {epoch + 1}: {epochs[-1]:.4f}, {time.time() - start:.0f} s", file=sys.stderr, flush=True)
    with contextlib.closing(answer):
        json.dump({"top_1": epochs, "seconds": time.time() - start}, answer)


if __name__ == "__main__":
    main()
