"""How far mindvit's logits lie from those of timm, transformers and torchvision with the weights of one file.

Every architecture of the libraries' ViT modules is built with random weights and few blocks, saved by the library
itself, read by `from_checkpoint` and compared on random images; needs timm, transformers, torchvision and torch.

python -m benchmarks.fidelity
"""

import contextlib
import pathlib
import tempfile

import numpy as np

from benchmarks import measure

TIMM_MODULES = ("vision_transformer", "deit")


def timm_models(smoke):
    """(name, function that saves the network to a folder and returns it) of timm's ViT architectures."""
    import timm

    names = [name for module in TIMM_MODULES for name in timm.models.list_models(module=module)]
    for name in names[:2] if smoke else names:
        def build(folder, name=name):
            try:
                model = shaken(timm.create_model(name, depth=2, num_classes=5))
            except TypeError:  # test networks fix their depth
                model = shaken(timm.create_model(name, num_classes=5))
            timm.models.save_for_hf(model, folder, safe_serialization=True)
            return model, model.patch_embed.img_size, lambda result: result

        yield f"timm {name}", build


def transformers_models(smoke):
    """Likewise of the classes of transformers that have a ViT's parameters, by class and activation."""
    import transformers

    small = {"hidden_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 80,
             "image_size": 32, "patch_size": 8, "num_labels": 5}
    cases = [(family, kind, "gelu") for family in ("ViT", "DeiT", "ViTMSN")  # ViTMSNModel has no pooler
             for kind in ("Model", "ForImageClassification", "ForImageClassificationWithTeacher")
             if (family, kind) != ("ViTMSN", "Model")]
    cases += [("ViT", "ForImageClassification", activation) for activation in sorted(transformers.activations.ACT2CLS)]
    for family, kind, activation in cases[:1] if smoke else cases:
        if not hasattr(transformers, family + kind):
            continue

        def build(folder, family=family, kind=kind, activation=activation):
            config = getattr(transformers, f"{family}Config")(**small, hidden_act=activation)
            model = shaken(getattr(transformers, family + kind)(config))
            model.save_pretrained(folder)
            return model, (32, 32), lambda result: next(
                result[name] for name in ("logits", "pooler_output") if name in result)

        yield f"transformers {family}{kind} {activation}", build


def torchvision_models(smoke):
    """Likewise of torchvision's five, with two blocks each."""
    import torch
    import torchvision

    sizes = {"vit_b_16": (16, 768, 12), "vit_b_32": (32, 768, 12), "vit_l_16": (16, 1024, 16),
             "vit_l_32": (32, 1024, 16), "vit_h_14": (14, 1280, 16)}
    for name, (patch, width, heads) in list(sizes.items())[:1 if smoke else None]:
        def build(folder, name=name, patch=patch, width=width, heads=heads):
            model = shaken(torchvision.models.VisionTransformer(224, patch, 2, heads, width, 4 * width))
            torch.save(model.state_dict(), pathlib.Path(folder, f"{name}.pth"))
            return model, (224, 224), lambda result: result

        yield f"torchvision {name}", build


def shaken(model):
    """The model in evaluation mode with random numbers added everywhere, also where it starts at 0 or 1."""
    import torch

    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.02 * torch.randn(parameter.shape, generator=generator))
    return model.eval()


def compare(build):
    """(largest difference by the spread of the logits, what was assumed) or (None, the reason of the refusal)."""
    import mindspore as ms
    import torch

    from mindvit import from_checkpoint

    with tempfile.TemporaryDirectory() as folder:
        model, size, output = build(folder)
        path = next(str(path) for path in pathlib.Path(folder).iterdir() if path.suffix in (".safetensors", ".pth"))
        try:
            network = from_checkpoint(path)
        except ValueError as error:
            return None, str(error).split(": ", 1)[1]
        images = np.random.default_rng(0).normal(size=(2, 3, *size)).astype(np.float32)
        height, width = network.arguments["image_size"]  # the other libraries cut off what is no whole patch
        with torch.no_grad():
            expected = output(model(torch.from_numpy(images))).numpy()
        found = network(ms.Tensor(images[:, :, :height, :width])).asnumpy()
        return float(np.abs(found - expected).max() / np.ptp(expected)), "; ".join(network.load_report.assumed)


def main(words=None):
    arguments = measure.parse(measure.parser(__doc__), words)
    rows, record = [], {}
    for models in (timm_models, transformers_models, torchvision_models):
        with contextlib.suppress(ImportError):  # a library that is not installed is left out
            for name, build in models(arguments.smoke):
                difference, text = compare(build)
                record[name] = {"difference": difference, "said": text}
                rows.append((name, "refused" if difference is None else f"{difference:.1e}", text[:90]))
                print(*rows[-1], sep="  ", flush=True)
    equal = [row["difference"] for row in record.values() if row["difference"] is not None]
    print(f"{len(record)} networks: {len(equal)} built, largest difference {max(equal, default=0):.1e}; "
          f"{len(record) - len(equal)} refused")
    measure.write_record(arguments, record)


if __name__ == "__main__":
    main()
