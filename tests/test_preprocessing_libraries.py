"""A hundred photographs through `mindvit predict` and through each library's own pipeline; run with -m libraries."""

import dataclasses
import json
import os
import pathlib
import subprocess
import sys

import numpy as np
import pytest
from photographs import write_photographs
from PIL import Image

import mindvit

pytestmark = pytest.mark.libraries
torch = pytest.importorskip("torch")
torch.set_num_threads(1)  # a picture at a time: more threads only wait for each other
CLASSES = 40
COMMAND = [sys.executable, "-c", "import sys; from mindvit.cli import main; sys.exit(main())"]


def run(*words):
    environment = {**os.environ, "PYTHONPATH": str(pathlib.Path(mindvit.__file__).parents[1])}
    done = subprocess.run([*COMMAND, *map(str, words)], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def photographs(tmp_path_factory):
    files = write_photographs(tmp_path_factory.mktemp("photographs") / "all")
    assert len(files) == 100
    return files


def spread(model, head):
    """The model with random weights and a head so large that the probabilities of two photographs differ much."""
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.03 * torch.randn(parameter.shape, generator=generator))
        head.weight.mul_(3)
    return model.eval()


def softmax(logits):
    return torch.softmax(logits.double(), -1).detach().numpy()


def timm_case(folder, name, with_config, **pretrained_cfg):
    timm = pytest.importorskip("timm")
    from timm.data import create_transform, resolve_model_data_config
    model = timm.create_model(name, depth=2, num_classes=CLASSES, pretrained_cfg_overlay=pretrained_cfg)
    model = spread(model, model.head)
    if with_config:
        timm.models.save_for_hf(model, folder, safe_serialization=True)
        path = folder / "model.safetensors"
    else:
        from safetensors.torch import save_model
        path = folder / f"{name}.safetensors"
        save_model(model, str(path))
    transform = create_transform(**resolve_model_data_config(model))

    def probabilities(file):
        return softmax(model(transform(Image.open(file).convert("RGB"))[None]))[0]

    return path, probabilities


def torchvision_case(folder, file_name, weights):
    torchvision = pytest.importorskip("torchvision")
    transform = torchvision.models.get_weight(weights).transforms()
    size = transform.crop_size[0]
    model = torchvision.models.VisionTransformer(size, 32, 2, 3, 192, 384, num_classes=CLASSES)
    model = spread(model, model.heads.head)
    torch.nn.init.normal_(model.heads.head.weight, std=0.1)  # torchvision's starts at zero
    torch.save(model.state_dict(), folder / file_name)

    def probabilities(file):
        return softmax(model(transform(Image.open(file).convert("RGB"))[None]))[0]

    return folder / file_name, probabilities


def transformers_case(folder, kind, **processor):
    transformers = pytest.importorskip("transformers")
    config = getattr(transformers, f"{kind}Config")(
        hidden_size=192, num_hidden_layers=2, num_attention_heads=3, intermediate_size=384, image_size=224,
        patch_size=32, num_labels=CLASSES)
    model = getattr(transformers, f"{kind}ForImageClassification")(config)
    spread(model, model.classifier).save_pretrained(folder)
    getattr(transformers, f"{kind}ImageProcessor")(**processor).save_pretrained(folder)
    pipeline = transformers.pipeline("image-classification", model=str(folder), top_k=CLASSES)

    def probabilities(file):
        result = np.zeros(CLASSES)
        for row in pipeline(str(file)):
            result[pipeline.model.config.label2id[row["label"]]] = row["score"]
        return result

    return folder / "model.safetensors", probabilities


CASES = {
    "timm, config.json": (timm_case, "vit_tiny_patch16_224.augreg_in21k_ft_in1k", True),
    "timm, without": (timm_case, "vit_tiny_patch16_224.augreg_in21k_ft_in1k", False),
    "timm, DeiT without": (timm_case, "deit_tiny_patch16_224.fb_in1k", False),
    "timm, squash": (timm_case, "vit_tiny_patch16_224.augreg_in21k", True, "squash", "bilinear", 1.0),
    "timm, border": (timm_case, "vit_tiny_patch16_224.augreg_in21k", True, "border", "lanczos", 0.95),
    "torchvision, 256": (torchvision_case, "vit_b_16-c867db91.pth", "ViT_B_16_Weights.IMAGENET1K_V1"),
    "torchvision, 242": (torchvision_case, "vit_l_16-852ce7e3.pth", "ViT_L_16_Weights.IMAGENET1K_V1"),
    "torchvision, SWAG": (torchvision_case, "vit_b_16_lc_swag-4e70ced5.pth",
                          "ViT_B_16_Weights.IMAGENET1K_SWAG_LINEAR_V1"),
    "transformers, ViT": (transformers_case, "ViT", {}),
    "transformers, ViT bicubic": (transformers_case, "ViT", {"resample": 3}),
    "transformers, DeiT": (transformers_case, "DeiT", {}),
    "transformers, short side": (transformers_case, "ViT", {
        "size": {"shortest_edge": 249}, "do_center_crop": True, "crop_size": 224}),
}


def build(name, folder):
    """(checkpoint, function from a file to the library's probabilities) of a case."""
    make, *arguments = CASES[name]
    folder.mkdir(parents=True, exist_ok=True)
    if make is transformers_case:
        return make(folder, arguments[0], **arguments[1])
    if make is timm_case and len(arguments) > 2:
        names = ("crop_mode", "interpolation", "crop_pct")
        return make(folder, *arguments[:2], **dict(zip(names, arguments[2:])))
    return make(folder, *arguments)


def compare(name, folder, files):
    """(largest difference of a probability among the top five, photographs with the same top five) of a case."""
    torch.manual_seed(0)
    path, probabilities = build(name, folder / "network")
    run("predict", files[0].parent, "--checkpoint", path, "--json", folder / "records.json", "--top_k", 5,
        "--out", folder / "copies")
    records = {record["path"]: record["predictions"] for record in json.loads((folder / "records.json").read_text())}
    differences, same = [], 0
    for file in files:
        expected, found = probabilities(file), records[str(file)]
        indices = [row["index"] for row in found]
        differences.append(max(abs(row["probability"] - expected[row["index"]]) for row in found))
        same += indices == np.argsort(-expected, kind="stable")[:5].tolist()
    return max(differences), same


@pytest.mark.parametrize("name", CASES)
def test_probabilities_are_the_librarys(name, photographs, tmp_path):
    difference, same = compare(name, tmp_path, photographs)
    print(f"| {name} | {difference:.1e} | {same} |")
    assert difference < 1e-4 and same == 100


@pytest.mark.parametrize("name", ["timm, config.json", "timm, without"])
def test_top_1_is_timms(name, photographs, tmp_path):
    """Half of the photographs lie in the folder of timm's own answer, the others in a folder of any class."""
    path, probabilities = build(name, tmp_path / "network")
    right = 0
    for i, file in enumerate(photographs):
        answer = int(probabilities(file).argmax())
        label = i % CLASSES if i % 2 or i < CLASSES else answer
        right += label == answer
        target = tmp_path / "data" / "val" / f"class {label:02d}" / file.name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(file.read_bytes())
    run("eval", "--data.root", tmp_path / "data", "--checkpoint", path, "--json", tmp_path / "result.json",
        "--data.workers", 2)
    results = json.loads((tmp_path / "result.json").read_text())
    assert results["images"] == 100 and results["Top_1_Accuracy"] == right / 100


def test_table_is_the_installed_timms():
    pytest.importorskip("timm")
    sys.path.append(str(pathlib.Path(__file__).parent / "data"))
    import write_timm_preparation
    written = write_timm_preparation.TABLE.read_text().splitlines()[2:]
    assert written == ["\t".join(row) for row in write_timm_preparation.rows()]


def test_processors_are_those_of_transformers():
    transformers = pytest.importorskip("transformers")
    from mindvit.checkpoints.libraries.huggingface import PROCESSORS, processor_evaluation
    for kind, config in PROCESSORS.items():
        processor = getattr(transformers, f"{kind}ImageProcessor")()
        said = {key: value for key, value in json.loads(processor.to_json_string()).items() if value is not None}
        assert processor_evaluation({**config, **said}) == processor_evaluation(config), kind
        assert dataclasses.asdict(processor_evaluation(config)[0])["resizer"] == "torch"
