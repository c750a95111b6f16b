"""docs/serving.md: its commands against a server, and its limits."""

import json
import pathlib
import re
import shlex
import subprocess

import pytest
from PIL import Image
from web import Program

import mindvit
from mindvit.cli import main
from mindvit.config import DemoJob, ServeJob
from mindvit.serving import server, upload

ROOT = pathlib.Path(__file__).parents[1]
PAGE = (ROOT / "docs/serving.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```(\w+)\n(.*?)```", PAGE, re.DOTALL)


def test_the_commands(capfd):
    mindvit.write_digits("runs/quickstart/digits")
    mindvit.save_weights(mindvit.create_model("digits", pretrained=True), "runs/quickstart/best.ckpt")
    pathlib.Path("runs/quickstart/classes.txt").touch()
    (_, serve), (_, curl), (_, expected), (_, python), (_, show) = BLOCKS
    with Program(*shlex.split(serve.splitlines()[-1])[1:], "--port", "0") as program:
        here = f"http://127.0.0.1:{program.port}"
        command = curl.replace("http://127.0.0.1:8000", here)
        answer = subprocess.run(["bash", "-ec", command], capture_output=True, check=True).stdout
        [found], [told] = (json.loads(text)["images"] for text in (answer, expected))
        assert found["name"] == told["name"]
        for one, other in zip(found["predictions"], told["predictions"], strict=True):
            assert one == {**other, "probability": pytest.approx(other["probability"], rel=1e-5)}
        capfd.readouterr()
        exec(python.replace("http://127.0.0.1:8000", here), {})
        assert capfd.readouterr().out == \
            "digit.png 3\nclasses.txt cannot read the image classes.txt: the file is empty\n"
    with pytest.raises(SystemExit) as stopped:
        main([*shlex.split(show.splitlines()[-1])[1:], "--print_config"])
    assert stopped.value.code == 0
    for block, extra in ((serve, "serve"), (show, "demo")):
        assert block.startswith(f"pip install '.[{extra}]'")


def test_the_figures_are_those_of_the_record():
    record = json.loads((ROOT / "benchmarks/results/serving.json").read_text())["results"]
    for row in record:
        assert f"| {row['what']} | {row['images_per_second']:.2f} | " \
               f"{row['images_per_second'] / record[0]['images_per_second']:.2f} | " in PAGE
    assert not any(row["lost"] for row in record)


def test_the_limits():
    job = ServeJob()
    for number in (job.max_images, job.max_bytes, job.max_waiting, 2 * Image.MAX_IMAGE_PIXELS, server.CONNECTIONS,
                   upload.BODY_SECONDS, server.IDLE_SECONDS):
        assert f"| {number:,} |" in PAGE or f", {number:,} |" in PAGE or f"| {number:,}, as" in PAGE, number
    assert f"{upload.HELD} times `--max_bytes`" in PAGE and f"at most {server.STOP_SECONDS} seconds" in PAGE
    assert f"http://127.0.0.1:{job.port}/docs" in PAGE and f"http://127.0.0.1:{DemoJob().port}/" in PAGE
