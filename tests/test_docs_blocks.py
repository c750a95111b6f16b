"""The code in README.md and docs/ is run, page by page in the order of the text; what cannot be is at least parsed."""

import dataclasses
import os
import pathlib
import re
import runpy
import shlex
import shutil
import subprocess
import sys

import mindspore
import numpy as np
import pytest
from PIL import Image

import mindvit
from mindvit.cli import build_parser, job_of, main
from mindvit.models.variants import VARIANTS

ROOT = pathlib.Path(__file__).parents[1]
BLOCK = re.compile(r"```(bash|shell|console|python)\n(.*?)```", re.DOTALL)
# Other tests walk these: test_first_hour.py, test_exporting_docs.py, test_serving_docs.py
WALKED = ["docs/first-hour.md", "docs/export.md", "docs/serving.md"]
PAGES = [page for page in ("README.md", *(f"docs/{path.name}" for path in sorted((ROOT / "docs").glob("*.md"))))
         if not page.endswith("_CN.md") and page not in WALKED]
CHINESE = sorted(path.relative_to(ROOT).as_posix() for path in (*ROOT.glob("*_CN.md"), *ROOT.glob("docs/*_CN.md")))
# Blocks that begin so are not run, only parsed: why.
NOT_RUN = {
    "python -m venv env && env/bin/pip install": "would install; CI does",
    "mindvit quickstart": "a minute; tests/test_tour.py runs it",
    "mindvit doctor": "a third of a minute; tests/test_doctor.py runs it",
    "python examples/": "tests/test_programs.py runs them",
    "mindvit download dataset vit_b_16\nmindvit train": "the published run needs Ascend, or hours",
    "mindvit train --config configs/imagenet_subset_ascend.yaml": "needs Ascend",
    "docker build": "there is no Docker where mindvit is made",
    "msrun": "needs several devices; tests/test_runtime_workers.py runs it on a CPU",
    "python -m benchmarks": "hours; tests/test_benchmarks.py runs them in small",
}
OTHERS = ("python", "pip", "pytest", "source", "docker")  # programs of blocks that are not run
MEASURE, SETUP = ((ROOT / file).read_text(encoding="utf-8") for file in ("benchmarks/measure.py", "setup.py"))
# What a page reads and none of its blocks makes.
STAND_INS = {
    "README.md": {"vit_b_16_224.ckpt": "ckpt/vit_b_16_224.ckpt",
                  "vit_base_patch16_224.safetensors": "timm/model.safetensors"},
    "docs/checkpoints.md": {"runs/a/best.ckpt": "ckpt/vit_b_16_224.ckpt",
                            "model.safetensors": "timm/model.safetensors"},
    "docs/models.md": {f"{name}/model.safetensors": "timm/model.safetensors"
                       for name in ("deit_tiny_patch16_224.fb_in1k", "vit_tiny_patch16_224.augreg_in21k_ft_in1k")},
    "docs/report.md": {"runs/pets": "runs/digits", "runs/pets-2": "runs/digits",
                       "new.jpg": "dataset/infer/n02123045/0.JPEG"},
}


def blocks(page):
    return BLOCK.findall((ROOT / page).read_text(encoding="utf-8"))


def why_not_run(text):
    return next((why for start, why in NOT_RUN.items() if re.sub(" +", " ", text).startswith(start)), None)


def commands(text):
    """The words of each command of a block."""
    lines = text.replace("\\\n", "").replace(" && ", "\n").splitlines()
    return [words for words in (shlex.split(line, comments=True) for line in lines) if words]


def parse(words):
    """Fails unless a command line is understood by the program that it names."""
    if "$(which" in words:  # of a launcher
        words = words[words.index("$(which") + 1:]
        words = ["mindvit", *(word for word in words[1:] if word != "...")]
    if words[:2] == ["docker", "run"]:
        words = words[words.index("mindvit"):]
    if words[0].endswith("mindvit"):
        if job_of(words[1]):
            with pytest.raises(SystemExit) as stopped:
                main([*words[1:], "--print_config"])
            assert stopped.value.code == 0
        else:
            build_parser()[0].parse_args(words[1:])
    elif words[0] == "python" and words[1].startswith("examples/"):
        with pytest.MonkeyPatch.context() as patch:
            for job in ("train", "evaluate", "predict", "download_imagenet_subset", "fetch_public_weights"):
                patch.setattr(mindvit, job, lambda *_: {"folder": ""})
            patch.setattr(sys, "argv", words[1:])
            runpy.run_path(words[1], run_name="__main__")
    elif words[:2] == ["python", "-m"] and words[2].startswith("benchmarks."):
        source = pathlib.Path(*words[2].split(".")).with_suffix(".py").read_text(encoding="utf-8")
        assert all(f'"{flag}"' in source + MEASURE for flag in words[3:] if flag.startswith("--")), words
    else:
        extras = re.findall(r"\w+", "".join(re.findall(r"\.\[(.+)\]", " ".join(words))))
        assert all(f'"{extra}": ' in SETUP for extra in extras) and words[0].split("/")[-1] in OTHERS, words


def run(words):
    if words[0] == "mindvit":
        assert main(words[1:]) == 0, words
    else:
        subprocess.run(words, check=True)


@pytest.fixture(scope="module")
def stand_ins(tmp_path_factory, digit_run):
    """A small network in place of ViT-B/16, 16 noisy images in place of the subset of ImageNet, and short trainings."""
    folder, rng = tmp_path_factory.mktemp("stand-ins"), np.random.default_rng(0)
    for split, number in (("train", 16), ("val", 4), ("infer", 1)):
        for i in range(number):
            path = folder / "dataset" / split / ("n02123045", "n07920052")[i % 2] / f"{i}.JPEG"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(rng.integers(0, 255, (64, 64, 3), np.uint8)).save(path)
    with pytest.MonkeyPatch.context() as patch:
        small = dataclasses.replace(VARIANTS["vit_b_16"], embed_dim=192, num_layers=1, num_heads=3, mlp_dim=96)
        patch.setitem(VARIANTS, "vit_b_16", small)
        (folder / "ckpt").mkdir()
        mindvit.save_weights(mindvit.vit_b_16(), folder / "ckpt/vit_b_16_224.ckpt")
        network = mindvit.create_model("vit_b_16", norm_eps=1e-6, activation="gelu")
        mindvit.save_weights(network, folder / "timm", "timm")
        quickstart = folder / "runs/quickstart"
        mindvit.write_digits(quickstart / "digits")
        mindvit.save_weights(mindvit.create_model("digits", pretrained=True), quickstart / "best.ckpt")
        os.symlink(digit_run, folder / "runs/digits")
        yield folder
    mindspore.set_context(mode=mindspore.PYNATIVE_MODE)


@pytest.mark.parametrize("page", PAGES)
def test_the_code_of_a_page(page, stand_ins, capsys):
    for name in ("dataset", "ckpt"):
        os.symlink(stand_ins / name, name)
    for name in ("configs", "examples", "benchmarks"):
        os.symlink(ROOT / name, name)
    os.makedirs("runs")
    os.symlink(stand_ins / "runs/quickstart", "runs/quickstart")
    for name, source in STAND_INS.get(page, {}).items():
        os.makedirs(os.path.dirname(name) or ".", exist_ok=True)
        (shutil.copytree if (stand_ins / source).is_dir() else os.symlink)(stand_ins / source, name)
    names = {}
    for kind, text in blocks(page):
        if kind == "python":
            exec(compile(text, page, "exec"), names)
        elif kind == "console":
            command, printed = text.removeprefix("$ ").split("\n", 1)
            capsys.readouterr()
            run(shlex.split(command))
            assert capsys.readouterr().out == printed
        else:
            for words in commands(text):
                parse(words) if why_not_run(text) else run(words)


@pytest.mark.parametrize("page", CHINESE)
def test_a_chinese_page_has_the_code_numbers_and_pictures_of_the_english(page):
    """The code but for its comments."""
    names = page.replace("_CN", ""), page
    english, chinese = ([(kind, re.sub(" *# .*", "", text)) for kind, text in blocks(name)] for name in names)
    assert english == chinese
    texts = [(ROOT / name).read_text(encoding="utf-8") for name in names]
    english, chinese = ({number.rstrip(".,") for number in re.findall(r"\d[\d.,]*", re.sub(r"\]\(.*?\)", "", text))}
                        for text in texts)
    assert english == chinese
    english, chinese = (re.findall(r"!\[.*?\]\((.*?)\)", text) for text in texts)
    assert english == chinese


@pytest.mark.parametrize("page", CHINESE)
def test_a_chinese_page_leads_to_chinese_pages(page):
    """Where there are any."""
    for text, link in re.findall(r"\[([^\]]*)\]\(([^)#:]+\.md)", (ROOT / page).read_text(encoding="utf-8")):
        sister = (ROOT / page).parent / link.replace(".md", "_CN.md")
        assert text == "English" or not sister.exists(), link


def test_there_is_no_exception_that_nothing_needs():
    found = [re.sub(" +", " ", text) for page in PAGES for kind, text in blocks(page)]
    assert not [start for start in NOT_RUN if not any(text.startswith(start) for text in found)]
