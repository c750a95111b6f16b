"""Distillation against the formulas of the DeiT paper in float64, and teachers that stay as they are."""

import dataclasses

import mindspore as ms
import numpy as np
import pytest
from mindspore import Tensor, nn
from safetensors import safe_open
from tiny import OVERRIDES, TINY, images, scatter

from mindvit import DataConfig, ModelConfig, TrainConfig, TrainJob, ViT, save_weights, train
from mindvit.device import build_model, use_device
from mindvit.optim.distillation import DISTILLATIONS, TaughtLoss, Teacher
from mindvit.preprocessing import Preprocessing
from mindvit.training.loss import CountedLoss, CrossEntropySmooth

MODES = pytest.mark.parametrize("mode", ["graph", "pynative"])


def log_softmax(x):
    x = x - x.max(1, keepdims=True)
    return x - np.log(np.exp(x).sum(1, keepdims=True))


def formula(name, first, second, taught, labels, alpha, tau=1.0):
    """Equations 2 and 3, in float64."""
    first, second, taught = (value.astype(np.float64) for value in (first, second, taught))
    rows = np.arange(len(labels))
    base = -log_softmax(first)[rows, labels].mean()
    if name == "hard":
        told = -log_softmax(second)[rows, taught.argmax(1)].mean()
    else:
        teacher = log_softmax(taught / tau)
        told = tau**2 * (np.exp(teacher) * (teacher - log_softmax(second / tau))).sum(1).mean()
    return (1 - alpha) * base + alpha * told


@MODES
@pytest.mark.parametrize("pair", [True, False], ids=["token", "one_head"])
@pytest.mark.parametrize("name, options", [("hard", {}), ("hard", {"alpha": 0.9}), ("soft", {}),
                                           ("soft", {"alpha": 0.7, "tau": 1.5}), ("soft", {"alpha": 1, "tau": 20})])
def test_the_loss_is_that_of_the_paper(name, options, pair, mode):
    ms.set_context(mode=ms.GRAPH_MODE if mode == "graph" else ms.PYNATIVE_MODE)
    path, alpha, compare = DISTILLATIONS[name](teacher="t.ckpt", **options)
    assert path == "t.ckpt" and alpha == options.get("alpha", {"hard": 0.5, "soft": 0.1}[name])
    loss = TaughtLoss(CrossEntropySmooth(num_classes=7), alpha, compare)
    first, second, taught = (images(5, 7, seed=seed) * 3 for seed in (1, 2, 3))
    labels = np.array([0, 6, 3, 3, 1])
    logits = (Tensor(first), Tensor(second)) if pair else Tensor(first)
    tau = options.get("tau", 3.0)
    expected = formula(name, first, second if pair else first, taught, labels, alpha, tau)
    rounding = 2e-6 * tau**2  # what is left of float32 where nearly equal numbers are subtracted
    assert float(loss(logits, Tensor(labels, ms.int32), Tensor(taught))) == pytest.approx(expected, rel=rounding)
    alone = -log_softmax(first.astype(np.float64))[np.arange(5), labels].mean()
    assert float(loss(Tensor(first), Tensor(labels, ms.int32))) == pytest.approx(alone, rel=2e-6)  # in validation


@MODES
@pytest.mark.parametrize("amp_level", ["O0", "O2"])
def test_the_teacher_speaks_as_in_evaluation_of_images_prepared_as_its_own(mode, amp_level):
    networks = [ViT(**{**TINY, "keep_prob": keep}) for keep in (1.0, 0.5)]
    for seed, network in enumerate(networks):
        scatter(network, seed)
    mean, std = (0.1, 0.5, 0.3), (0.5, 0.2, 1.0)
    networks[1].preprocessing = dataclasses.replace(networks[1].preprocessing, mean=mean, std=std)
    weights = [parameter.asnumpy().copy() for parameter in networks[1].get_parameters()]
    pixels = images(6, 3, 32, 32)
    seen = (pixels - np.float32(mean).reshape(1, 3, 1, 1)) / np.float32(std).reshape(1, 3, 1, 1)
    expected = networks[1].set_train(False)(Tensor(seen)).asnumpy()
    prepared = Preprocessing(mean=(0, 0, 0), std=(1, 1, 1))
    teacher = Teacher(networks[1], prepared)
    _, alpha, compare = DISTILLATIONS["soft"](teacher="t.ckpt", alpha=1, tau=1.0)
    student = networks[0]
    device = use_device("CPU", amp_level, mode=mode)
    optimizer = nn.SGD(student.trainable_params(), 0.0)
    model = build_model(student, device, CountedLoss(TaughtLoss(CrossEntropySmooth(num_classes=10), alpha, compare)),
                        optimizer, None, "none", teacher=teacher)
    step = model.train_network.set_train()
    assert student.training and not teacher.network.training
    loss = float(step(Tensor(pixels), Tensor(np.arange(6), ms.int32)))
    own = student.set_train(False)(Tensor(pixels)).asnumpy()
    assert loss == pytest.approx(formula("soft", own, own, expected, np.arange(6), 1),
                                 rel=1e-4 if amp_level == "O0" else 0.02) and loss > 0.1
    for before, after in zip(weights, teacher.get_parameters(), strict=True):
        np.testing.assert_array_equal(after.asnumpy(), before)


def teach(digit_folder, distillation, out, epochs=2, **options):
    job = TrainJob(data=DataConfig(str(digit_folder), augment=["random_crop"], crop_fraction=1.0),
                   model=ModelConfig("vit_t_16", image_size=32, overrides={**OVERRIDES, "keep_prob": 0.9}),
                   train=TrainConfig(epochs=epochs, batch_size=40, lr=1e-3, schedule="constant",
                                     distillation=distillation), out=str(out), **options)
    return train(job)


@pytest.fixture(scope="module")
def teacher(tmp_path_factory):
    """A checkpoint of a network for the ten digits, of other sizes and with images prepared otherwise."""
    network = ViT(**{**TINY, "embed_dim": 16, "image_size": 64})
    scatter(network)
    network.preprocessing = Preprocessing(mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5))
    folder = tmp_path_factory.mktemp("teacher")
    (folder / "classes.txt").write_text("".join(f"class {i}\n" for i in range(10)))
    save_weights(network, folder / "teacher.ckpt")
    return folder / "teacher.ckpt"


def test_a_training_with_a_teacher_from_a_file_goes_on_as_it_was(digit_folder, tmp_path, teacher, capsys):
    distillation = {"hard": {"teacher": str(teacher), "alpha": 0.8}}
    teach(digit_folder, distillation, tmp_path / "whole")
    assert f"teacher {teacher}" in capsys.readouterr().out
    teach(digit_folder, distillation, tmp_path / "parts", epochs=1)
    teach(digit_folder, distillation, tmp_path / "parts", resume="auto", resume_override=True)
    for name in ("metrics.csv", "last.ckpt"):
        assert (tmp_path / "whole" / name).read_bytes() == (tmp_path / "parts" / name).read_bytes()
    assert len((tmp_path / "whole/metrics.csv").read_text().splitlines()) == 3
    with safe_open(tmp_path / "whole" / "state.safetensors", "np") as file:
        assert not [name for name in file.keys() if name.startswith("teacher.")]


def test_what_is_no_teacher_is_refused_with_what_to_do(digit_folder, tmp_path, teacher):
    out = tmp_path / "run"
    with pytest.raises(ValueError, match="distillation has no teacher; name its checkpoint: {hard: {teacher: FILE}}"):
        teach(digit_folder, "hard", out)
    with pytest.raises(ValueError, match="alpha of distillation is 1.5"):
        teach(digit_folder, {"soft": {"teacher": str(teacher), "alpha": 1.5}}, out)
    with pytest.raises(ValueError, match="did you mean soft?"):
        teach(digit_folder, {"sofd": str(teacher)}, out)
    with pytest.raises(FileNotFoundError, match="nothere.ckpt"):
        teach(digit_folder, {"soft": "nothere.ckpt"}, out)
    save_weights(ViT(**{**TINY, "num_classes": 4}), tmp_path / "four.ckpt")
    with pytest.raises(ValueError, match="has 4 classes, the student 10; train the teacher on the same data first"):
        teach(digit_folder, {"hard": str(tmp_path / "four.ckpt")}, out)
    (tmp_path / "classes.txt").write_text("".join(f"class {i}\n" for i in (1, 0, *range(2, 10))))
    save_weights(ViT(**TINY), tmp_path / "turned.ckpt")
    with pytest.raises(ValueError, match="what the data call class 0 is class 1 to the teacher"):
        teach(digit_folder, {"hard": str(tmp_path / "turned.ckpt")}, out)
    assert not out.exists()


def test_other_names_of_the_teachers_classes_are_told(digit_folder, tmp_path, capsys):
    save_weights(ViT(**TINY), tmp_path / "unnamed.ckpt")
    (tmp_path / "classes.txt").write_text("".join(f"digit {i}\n" for i in range(10)))
    teach(digit_folder, {"hard": str(tmp_path / "unnamed.ckpt")}, tmp_path / "run", epochs=1)
    assert "the teacher calls digit 0 what the data call class 0" in capsys.readouterr().out
