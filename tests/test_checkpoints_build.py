"""What a file tells of its network, what is assumed and said, and claims that contradict it."""

import json

import mindspore as ms
import numpy as np
import pytest
from safetensors.numpy import load_file, save_file
from stored import case_file, same, values
from tiny import TINY

from mindvit import (
    ViT,
    from_checkpoint,
    load_weights,
    save_weights,
)
from mindvit.checkpoints import build


def test_sizes_are_read_from_the_file(tmp_path):
    network = ViT(48, 1, (8, 4), 192, 1, 3, 96, num_classes=7, distilled=True, qkv_bias=False, norm_eps=1e-6)
    path = str(tmp_path / "odd.safetensors")
    save_weights(network, path, "timm")
    (tmp_path / "config.json").unlink()
    with pytest.raises(ValueError, match="odd.*image_size"):  # 6 x 12 patches are no square
        from_checkpoint(path)
    back = from_checkpoint(path, image_size=48)
    assert same(values(network), values(back))
    assert {name for name, value in network.arguments.items() if back.arguments[name] != value} == {"activation"}
    with pytest.raises(ValueError, match=r"timm_vit.*num_heads=\.\.\."):
        from_checkpoint(case_file("timm_vit"))
    assert from_checkpoint(case_file("google_vit")).arguments["num_heads"] == 4  # its shapes tell


def with_marks(path, **changes):
    """A valid file of ours whose entry `mindvit` says otherwise."""
    save_weights(ViT(**TINY), str(path))
    arrays = ms.load_checkpoint(str(path))
    marks = json.loads(arrays["mindvit"].asnumpy().tobytes())
    marks["arguments"] |= changes
    entry = ms.Tensor(np.frombuffer(json.dumps(marks).encode(), np.uint8))
    ms.save_checkpoint([{"name": name, "data": entry if name == "mindvit" else array}
                        for name, array in arrays.items()], str(path))
    return str(path)


@pytest.mark.parametrize("changes, reason", [
    ({"image_size": [16, 16 * 10**9]}, "2 x 2000000000 patches, and the position embedding has 16"),
    ({"image_size": [16, 16 * 10**9], "pos_embedding": "none"}, "says pos_embedding 'none', its arrays are with"),
    ({"num_layers": 20000}, "says num_layers 20000, its shapes say 2"), ({"num_heads": 10**9}, "heads of 8"),
    ({"embed_dim": 10**6}, "says embed_dim 1000000, its shapes say 32"), ({"image_size": "big"}, "image_size"),
    ({"activation": "os.system"}, "activation is 'os.system'"), ({"norm_eps": "x" * 10**6}, "norm_eps"),
    ({"norm": "x"}, "callable"), ({"num_heads": [1]}, "heads"),
    ({"num_heads": "x", "head_dim": 10**18}, "x heads of 1000000000000000000"), ({"unheard_of": 1}, "unheard_of")])
def test_marks_that_contradict_the_file(changes, reason, tmp_path):
    path = with_marks(tmp_path / "hostile.ckpt", **changes)
    with pytest.raises(ValueError, match=rf"hostile\.ckpt.*{reason}") as error:
        from_checkpoint(path)
    assert len(str(error.value)) < 1000


@pytest.mark.parametrize("names", [7, {"0": "cat"}, [1, 2], ["cat", None]])
def test_names_of_classes_that_are_no_texts_are_refused(names, tmp_path):
    path = tmp_path / "hostile.ckpt"
    save_weights(ViT(**TINY), str(path))
    arrays = ms.load_checkpoint(str(path))
    marks = {**json.loads(arrays["mindvit"].asnumpy().tobytes()), "class_names": names}
    arrays["mindvit"] = ms.Tensor(np.frombuffer(json.dumps(marks).encode(), np.uint8))
    ms.save_checkpoint([{"name": name, "data": array} for name, array in arrays.items()], str(path))
    with pytest.raises(ValueError, match="hostile.*its entry 'mindvit' was not written by this version"):
        from_checkpoint(path)


@pytest.fixture
def no_network(monkeypatch):
    """Building a network is an error: what is refused is refused before."""
    def fail(*arguments, **words):
        raise AssertionError("a network was built")

    monkeypatch.setattr(build, "ViT", fail)


def test_claims_beyond_the_file_are_refused_before_a_network_is_built(no_network, tmp_path):
    arrays = load_file(case_file("timm_vit"))
    many = {f"blocks.{i}.norm1.weight": np.ones(1, np.float32) for i in range(2000)}
    save_file(arrays | many, tmp_path / "layers.safetensors")
    with pytest.raises(ValueError, match="it claims 2000 blocks"):
        from_checkpoint(str(tmp_path / "layers.safetensors"), num_heads=4)
    save_file(arrays | {"blocks.2.norm1.weight": np.ones(32, np.float32)}, tmp_path / "lacks.safetensors")
    with pytest.raises(ValueError, match=r"layers.2.0.cell.0.beta is absent, and \(32,\) in the first"):
        from_checkpoint(str(tmp_path / "lacks.safetensors"), num_heads=4, strict=False)
    save_file(arrays | {f"stranger{i}": np.ones(1, np.float32) for i in range(4000)}, tmp_path / "names.safetensors")
    with pytest.raises(ValueError, match="stranger.* and 3992 more") as error:
        from_checkpoint(str(tmp_path / "names.safetensors"), num_heads=4)
    assert len(str(error.value)) < 1000
    save_file({f"stranger{i}": np.ones(1, np.float32) for i in range(20_001)}, tmp_path / "more.safetensors")
    with pytest.raises(ValueError, match="it holds more than 20,000 arrays"):
        from_checkpoint(str(tmp_path / "more.safetensors"))
    np.savez_compressed(tmp_path / "bomb.npz", **dict(np.load(case_file("google_vit"))),
                        zeros=np.zeros(100_000_000, np.uint8))
    with pytest.raises(ValueError, match="unpacks to"):
        from_checkpoint(str(tmp_path / "bomb.npz"))


def test_what_is_assumed_is_said(tmp_path):
    said = {sentence.split(" ")[0]: sentence for sentence in
            from_checkpoint(case_file("timm_vit"), num_heads=4).load_report.assumed}
    assert said["activation"] == "activation gelu, usual in files of timm" and "num_heads" not in said
    assert said["norm_eps"].startswith("norm_eps 1e-06") and said["pool"] == "pool cls, the file has a class token"
    assert said["image_size"] == "image_size (32, 32), its 16 patches as a square" and "norm" in said
    wide = ViT(**TINY | {"embed_dim": 384, "num_heads": 6, "norm_eps": 1e-6, "activation": "gelu"})
    save_weights(wide, str(tmp_path / "wide.safetensors"), "torchvision")
    assert "num_heads 6, usual for width 384" in from_checkpoint(str(tmp_path / "wide.safetensors")).load_report.assumed
    report = load_weights(ViT(**TINY), case_file("timm_vit"))
    assert "activation gelu_tanh, as the network was built; the file's is gelu (usual in files of timm)" in \
        report.assumed and "assumed" in str(report)


def test_a_file_without_a_class_position_is_a_square_or_told(tmp_path):
    """timm's no_embed_class, as in FlexiViT: 16 positions for 16 patches and a class token."""
    arrays = load_file(case_file("timm_vit"))
    expected = from_checkpoint(case_file("timm_vit"), num_heads=4)
    expected.pos_embedding.set_data(ms.Tensor(arrays["pos_embed"] * (np.arange(17) > 0)[:, None]))
    save_file(arrays | {"pos_embed": arrays["pos_embed"][:, 1:]}, tmp_path / "flexivit_own.safetensors")
    network = from_checkpoint(str(tmp_path / "flexivit_own.safetensors"), num_heads=4)
    assert same(values(expected), values(network))
    assert "position embedding the class token has none (timm's no_embed_class)" in network.load_report.assumed
    assert load_weights(ViT(**TINY | {"image_size": 64}), str(tmp_path / "flexivit_own.safetensors")).resized == [
        "pos_embedding"]


def test_strict_and_head_of_from_checkpoint(tmp_path):
    arrays = load_file(case_file("timm_vit"))
    save_file(arrays | {"extra": np.ones(3, np.float32)}, tmp_path / "extra.safetensors")
    with pytest.raises(ValueError, match="unused: extra"):
        from_checkpoint(str(tmp_path / "extra.safetensors"), num_heads=4)
    lenient = from_checkpoint(str(tmp_path / "extra.safetensors"), num_heads=4, strict=False)
    assert lenient.load_report.unused == ["extra"]
    with pytest.raises(ValueError, match="head='keep'"):
        from_checkpoint(case_file("timm_vit"), num_heads=4, num_classes=3, head="keep")
    save_file({name: array for name, array in arrays.items() if "patch" not in name}, tmp_path / "part.safetensors")
    with pytest.raises(ValueError, match="no patch_embed.proj.weight; .*whole Vision Transformer. It has blocks.*more"):
        from_checkpoint(str(tmp_path / "part.safetensors"), num_heads=4)
