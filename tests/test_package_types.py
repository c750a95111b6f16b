"""Type hints: all that mindvit exports has them, and a user's checker takes right programs and refuses wrong ones."""

import inspect
import pathlib
import typing

import pytest

import mindvit

ROOT = pathlib.Path(__file__).parents[1]
PROGRAM = '''
from pathlib import Path

import mindspore as ms
import mindvit

network = mindvit.create_model("vit_t_16", image_size=(32, 64), num_classes=10)
report = mindvit.load_weights(network, Path("vit.ckpt"))
lacking: list[str] = report.missing + 1  # wrong
row, size = mindvit.find_variant("vit_base_patch16_224")
size + 1  # wrong: it may be None
mindvit.ViT(image_size="224")  # wrong
mindvit.ViT(norm=ms.nn.LayerNorm, activation="gelu", pool="mean")
mindvit.Attention(64, heads=4)  # wrong
mindvit.fetch_public_weights("vit_b_16", 224).upper()
network.preprocessing.describe((32, 64)).title()
mindvit.Preprocessing(mean=(0.5, 0.5, 0.5), crop_fraction="0.9")  # wrong
mindvit.ImageFolder("photos", "val", batch_size=4).run().get_dataset_size()
mindvit.ImageFolder("photos", class_names=3)  # wrong
mindvit.show_result("cat.jpg", {281: "tabby"}, text_color=(0, 255, 0)).save("cat.png")
mindvit.save_curves([{"epoch": 1, "train_loss": 2.3}], "curves.png")
mindvit.evaluate(mindvit.EvalJob(checkpoint="vit.ckpt"))["images"]
mindvit.evaluate("vit.ckpt")  # wrong
mindvit.read_image("cat.jpg").decode()  # wrong: an array
mindvit.index2label()["236"]  # wrong
'''


def functions(name):
    """{qualified name: (function, whether its first argument is self or cls)} of a public name: itself, or the public
    and special methods and properties that a class has or inherits within mindvit."""
    value = getattr(mindvit, name)
    if not inspect.isclass(value):
        return {name: (inspect.unwrap(value), False)} if callable(value) else {}
    found = {}
    for cls in value.__mro__:
        for member, content in vars(cls).items() if cls.__module__.startswith("mindvit.") else ():
            content = content.fget if isinstance(content, property) else content
            function = getattr(content, "__func__", content)
            public = not member.startswith("_") or member.endswith("__")
            if public and inspect.isfunction(function) and "mindvit" in function.__code__.co_filename:
                found[f"{cls.__qualname__}.{member}"] = function, not isinstance(content, staticmethod)
    return found


@pytest.mark.parametrize("name", mindvit.__all__)
def test_every_argument_and_result_has_a_hint(name):
    for called, (function, bound) in functions(name).items():
        hints = typing.get_type_hints(function)  # raises where a hint names what is not there
        wanted = [*list(inspect.signature(function).parameters)[bound:], "return"]
        assert not [argument for argument in wanted if argument not in hints], called


def test_methods_are_among_what_is_looked_at():
    assert {"ViT.__init__", "ViT.construct", "ViT.backbone", "Block.attention"} - (
        functions("ViT") | functions("Block")).keys() == set()
    assert {"ImageDataset.run", "ImageFolder.__getitem__"} <= functions("ImageNet").keys()


def test_a_users_program_is_checked(tmp_path, monkeypatch):
    mypy = pytest.importorskip("mypy.api")
    (tmp_path / "program.py").write_text(PROGRAM)
    monkeypatch.setenv("MYPYPATH", str(ROOT))
    monkeypatch.chdir(tmp_path)
    lines, errors, _ = mypy.run(["--ignore-missing-imports", "--no-error-summary", "program.py"])
    refused = {int(line.split(":")[1]) for line in lines.splitlines() if line.startswith("program.py:")}
    wrong = {number for number, line in enumerate(PROGRAM.splitlines(), 1) if "# wrong" in line}
    assert not errors and refused == wrong, lines
