"""What a name stands for, and the public files, fetched from a server on this machine."""

import contextlib
import json
import os
import pathlib
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from stored import same, values

from mindvit import (
    create_model,
    fetch_public_weights,
    from_checkpoint,
    list_models,
    save_weights,
    vit_b_16,
    vit_l_32,
    write_digits,
    zoo,
)
from mindvit.cli import main


def test_a_tag_of_timm_is_not_the_suites_weights():
    with pytest.raises(ValueError, match="names weights of timm.*vit_b_16 at 384"):
        create_model("vit_base_patch16_384.augreg_in1k", pretrained=True)


class Files(BaseHTTPRequestHandler):
    """Serves one file and counts how often all of it was taken; a client may ask for its size first."""

    content, taken = b"", 0

    def do_GET(self):
        self.send_response(200)
        self.send_header("Content-Length", str(len(self.content)))
        self.end_headers()
        with contextlib.suppress(ConnectionError):
            self.wfile.write(self.content)
            type(self).taken += 1

    def log_message(self, *arguments):
        return


def test_public_weights_are_downloaded_once(tmp_path, monkeypatch):
    server = ThreadingHTTPServer(("127.0.0.1", 0), Files)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setattr(zoo, "BASE_URL", f"http://127.0.0.1:{server.server_port}/")
    monkeypatch.setenv("MINDVIT_CKPT_DIR", str(tmp_path / "store"))
    source = create_model("vit_b_32", num_layers=1, mlp_dim=4, num_classes=3, image_size=384)
    save_weights(source, str(tmp_path / "source.ckpt"))
    Files.content = (tmp_path / "source.ckpt").read_bytes()
    paths = []
    askers = [threading.Thread(target=lambda: paths.append(fetch_public_weights("vit_b_32", 384))) for _ in range(3)]
    for asker in askers:
        asker.start()
    for asker in askers:
        asker.join()
    assert paths == [str(tmp_path / "store" / "vit_b_32_384.ckpt")] * 3 and Files.taken == 1
    network = create_model("vit_b_32", pretrained=True, num_layers=1, mlp_dim=4, num_classes=3, image_size=384)
    assert Files.taken == 1 and same(values(source), values(network))
    server.shutdown()
    server.server_close()
    os.remove(paths[0])
    with pytest.raises(OSError, match=r"127\.0\.0\.1.*vit_b_32_384\.ckpt"):
        fetch_public_weights("vit_b_32", 384)
    assert not os.path.exists(paths[0])


def test_variants_without_public_weights_say_so():
    with pytest.raises(ValueError, match="no public checkpoint of vit_t_16 at image size 224.*vit_b_16 at 384"):
        create_model("vit_t_16", pretrained=True)
    with pytest.raises(ValueError, match="vit_b_16 at image size 100"):
        create_model("vit_b_16", pretrained=True, image_size=100, patch_size=10)


def test_timm_names_are_aliases_and_overrides_reach_the_cells():
    network = create_model("vit_tiny_patch16_384.augreg_in21k", num_classes=7, num_layers=1, mlp_dim=8)
    assert network.patch_embedding.image_size == (384, 384) and network.dense.weight.shape == (7, 192)
    assert "vit_b_16" in list_models()
    with pytest.raises(ValueError, match=r"'vit_base_16'.*did you mean.*Known names: vit_t_16"):
        create_model("vit_base_16")


def test_factories_take_the_suites_words():
    network = vit_b_16(num_classes=5, image_size=64, has_logits=True, drop_out=0.2, attention_dropout=0.3,
                       drop_path_dropout=0.4)
    assert network.representation.weight.shape == (768, 768) and network.dense.weight.shape == (5, 768)
    block = network.transformer.layers[11]
    assert [block.attention.out_drop.p, block.attention.attn_drop.p, block.drop_path.dropout.p] == pytest.approx(
        [0.2, 0.3, 0.4])
    assert vit_l_32.__name__ == "vit_l_32"


def test_the_packaged_digits_name_pictures_without_a_network(tmp_path, monkeypatch, capsys):
    """Its own file, as a user's command reads pictures; a tenth of the held-out digits."""
    monkeypatch.setattr("mindvit.zoo.download_file", None)  # nothing is fetched
    file = pathlib.Path(zoo.__file__).with_name("digits.ckpt")
    assert file.stat().st_size < 2e6 and zoo.fetch_public_weights("digits", 28) == str(file)
    network = create_model("digits", pretrained=True)
    assert network.class_names == list("0123456789") and network.load_report.missing == []
    assert network.preprocessing == from_checkpoint(file).preprocessing
    pictures = [str(path) for path in sorted(write_digits(tmp_path / "digits").glob("val/*/*.png"))[::10]]
    status = main(["predict", *pictures, "--model.name", "digits", "--model.pretrained", "true", "--top_k", "1",
                   "--out", str(tmp_path / "out"), "--json", str(tmp_path / "found.json"), "--batch_size", "36"])
    assert status == 0
    right = [record["predictions"][0]["label"] == pathlib.Path(record["path"]).parent.name
             for record in json.loads((tmp_path / "found.json").read_text())]
    assert len(right) == 36 and sum(right) >= 35
    with pytest.raises(ValueError, match="no public checkpoint of digits at image size 32; there are .*digits at 28"):
        create_model("digits", pretrained=True, image_size=32)
