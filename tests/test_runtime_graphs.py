"""Kept graphs: what their keys tell apart, and later processes that take them."""

import functools
import itertools
import os
import subprocess
import sys

import mindspore as ms
import numpy as np
import pytest
from mindspore import Tensor, nn
from tiny import TINY

from mindvit import CrossEntropySmooth, ViT, build_model, use_device
from mindvit.kernels import cpu
from mindvit.runtime.graphs import Unknown, describe, folder, key, without_cache_warnings

IMAGES = Tensor(np.ones((2, 3, 32, 32), np.float32))
LABELS = Tensor(np.array([1, 2], np.int32))


def network_key(images=IMAGES, training=False, **changes):
    return key(ViT(**{**TINY, **changes}).set_train(training), (images,))


def training_key(lr=1e-3, smooth=0.1, amp_level="O0", **changes):
    network = ViT(**{**TINY, **changes})
    model = build_model(network, use_device("CPU", amp_level), CrossEntropySmooth(smooth_factor=smooth, num_classes=10),
                        nn.Adam(network.trainable_params(), lr))
    return key(model.train_network.set_train(), (IMAGES, LABELS))


DIFFERENT = {
    "the network": network_key,
    "deeper": functools.partial(network_key, num_layers=3),
    "more heads, same parameters": functools.partial(network_key, num_heads=2),
    "epsilon": functools.partial(network_key, norm_eps=1e-6),
    "exact GELU": functools.partial(network_key, activation=functools.partial(nn.GELU, approximate=False)),
    "pooling": functools.partial(network_key, pool="mean"),
    "in training": functools.partial(network_key, training=True),
    "dropout": functools.partial(network_key, keep_prob=0.9),
    "batch": functools.partial(network_key, Tensor(np.ones((3, 3, 32, 32), np.float32))),
    "type": functools.partial(network_key, Tensor(np.ones((2, 3, 32, 32), np.float16))),
    "a training step": training_key,
    "learning rate": functools.partial(training_key, lr=2e-3),
    "schedule": functools.partial(training_key, lr=[2e-3, 1e-3]),
    "smoothing": functools.partial(training_key, smooth=0.2),
    "O2": functools.partial(training_key, amp_level="O2"),
    "drop path": functools.partial(training_key, drop_path_keep_prob=0.5),
}


def keys_of_all():
    keys = {}
    for name, make in DIFFERENT.items():
        ms.set_seed(1)
        cpu.Draws.count = itertools.count()  # dropouts are numbered, as they are again in a new process
        keys[name] = make()
    return keys


def test_a_hook_that_somebody_wrote_cannot_be_described():
    network = ViT(**TINY)
    network.norm.register_forward_hook(lambda *_: None)
    with pytest.raises(Unknown, match="<lambda>"):
        describe(network)


def test_whatever_shapes_a_graph_changes_its_key(monkeypatch):
    use_device("CPU")
    keys = keys_of_all()
    assert len(set(keys.values())) == len(keys)
    assert keys == keys_of_all()  # other objects with the same contents
    ms.set_seed(1)
    assert network_key() == keys["the network"]
    monkeypatch.setenv("MS_A_SETTING", "1")
    assert network_key() != keys["the network"]
    monkeypatch.delenv("MS_A_SETTING")
    monkeypatch.setattr(ms, "__version__", "2.99")
    assert network_key() != keys["the network"]


SCRIPT = f"TINY = {TINY}\n" + """
import json
import sys

import numpy as np
from mindspore import Tensor, nn, set_seed

import mindvit.runtime.graphs as cache
from mindvit import CrossEntropySmooth, ViT, build_model, keep_graphs, use_device

heads, mode = int(sys.argv[1]), sys.argv[2]
kept, taken = cache.kept, []
cache.kept = lambda name: taken.append(kept(name)) or taken[-1]
set_seed(3)
device = use_device("CPU", keep_graphs=mode != "plain")
images, labels = Tensor(np.linspace(-1, 1, 6144, dtype=np.float32).reshape(2, 3, 32, 32)), Tensor([1, 2])
network = ViT(**{**TINY, "num_layers": 1, "num_heads": heads})


class Mine(nn.Cell):
    def __init__(self):
        super().__init__()
        self.network = network

    def construct(self, x):
        return self.network(x)


if mode == "mine":
    print(keep_graphs(Mine().set_train(False))(images).asnumpy().tobytes().hex())
else:
    loss = CrossEntropySmooth(num_classes=10)
    step = build_model(network, device, loss, nn.Adam(network.trainable_params(), 0.01)).train_network.set_train()
    losses = [float(step(images, labels)) for _ in range(3)]
    print(losses, build_model(network.set_train(False), device).predict(images).asnumpy().tobytes().hex())
print(sum(graph is not None for graph in taken))
"""


def run_script(folder, heads, mode="engine", cache=None, keep=True):
    """(The last line printed, graphs taken from the cache, stderr) of a process; its cache is folder/cache."""
    (folder / "script.py").write_text(SCRIPT)
    variables = {"XDG_CACHE_HOME": str(cache or folder / "cache")}
    if not keep:
        variables["MS_COMPILER_CACHE_ENABLE"] = "0"
    done = subprocess.run([sys.executable, str(folder / "script.py"), str(heads), mode],
                          env={**os.environ, **variables}, capture_output=True, text=True, check=True)
    *_, result, taken = done.stdout.splitlines()
    assert "PIPELINE" not in done.stdout + done.stderr  # MindSpore is imported first, and warns of its cache
    return result, int(taken), done.stderr


@pytest.fixture
def run(tmp_path):
    return functools.partial(run_script, tmp_path)


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    """What is computed with two heads by a process that neither keeps graphs nor takes any."""
    folder = tmp_path_factory.mktemp("plain")
    result, taken, _ = run_script(folder, 2, keep=False)
    assert taken == 0 and not (folder / "cache").exists()
    return result


def test_later_processes_take_the_graphs_and_compute_the_same(run, plain, tmp_path):
    assert run(2)[:2] == (plain, 0)
    assert run(2)[:2] == (plain, 2)
    other, taken, _ = run(4)  # the same shapes everywhere, another graph
    assert taken == 0 and other == run(4, keep=False)[0] != plain
    files = sorted((tmp_path / "cache" / "mindvit" / "graphs").iterdir())
    assert len(files) == 4 and all(file.suffix == ".mindir" for file in files)
    for file in files:
        file.write_bytes(file.read_bytes()[:-1] + b"?")
    assert run(2)[:2] == (plain, 0)
    assert run(2)[:2] == (plain, 2)


def test_nothing_is_kept_unless_it_is_asked_for(run, plain, tmp_path):
    assert run(2, "plain")[:2] == (plain, 0) and not (tmp_path / "cache").exists()
    code = "import os, mindspore; before = dict(os.environ); import mindvit; assert dict(os.environ) == before"
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize("first", ["mindspore", "mindvit"])
def test_no_warning_of_the_cache_in_either_order_of_import(first, tmp_path):
    (tmp_path / "script.py").write_text(f"import {first}\n{SCRIPT}")
    for _ in range(2):
        done = subprocess.run([sys.executable, "script.py", "2", "engine"], capture_output=True, text=True, check=True,
                              cwd=tmp_path, env={**os.environ, "XDG_CACHE_HOME": str(tmp_path / "cache")})
        assert "PIPELINE" not in done.stderr and "cache" not in done.stderr
    assert done.stdout.splitlines()[-1] == "2"


def test_every_other_line_of_standard_error_is_written(capfd):
    warning = "[WARNING] PIPELINE(1,7f,python):2026 [mindspore/ccsrc/frontend/jit/ps/resource.cc:735] {}] The text.\n"
    with without_cache_warnings():
        os.write(2, warning.format("GetCompileCacheResource").encode())
        os.write(2, b"[WARNING] PIPELINE(1,7f,python):2026 [mindspore/ccsrc/pipeline.cc:1] Another] thing\nmine\n")
    lines = capfd.readouterr().err.splitlines()
    assert len(lines) == 2 and lines[0].endswith("Another] thing") and lines[1] == "mine"
    with pytest.raises(KeyError), without_cache_warnings():
        os.write(2, b"before the error\n")
        raise KeyError
    os.write(2, b"after\n")
    assert capfd.readouterr().err == "before the error\nafter\n"


def test_graphs_of_cells_that_others_wrote_are_not_kept(run, tmp_path):
    first = run(2, "mine")
    assert first[:2] == run(2, "mine")[:2] and first[1] == 0 and not (tmp_path / "cache").exists()


def test_a_cache_folder_that_cannot_be_written_is_a_warning(run, plain, tmp_path):
    (tmp_path / "file").write_text("")
    result, taken, stderr = run(2, cache=tmp_path / "file")
    assert taken == 0 and result == plain
    assert "this compiled graph is not kept for later processes: [Errno 20] Not a directory" in stderr


def test_the_folder_is_the_users(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert folder() == tmp_path / "mindvit" / "graphs"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert folder() == tmp_path / "home" / ".cache" / "mindvit" / "graphs"
