"""docs/export.md as it is written: its commands, its refusal, and its programs, which know nothing of mindvit."""

import shlex
import subprocess
import sys

from test_first_hour import blocks

import mindvit
from mindvit.cli import main


def test_the_page_runs_as_written(capsys):
    mindvit.write_digits("runs/quickstart/digits")
    mindvit.save_weights(mindvit.create_model("digits", pretrained=True), "runs/quickstart/best.ckpt")
    printed = []
    for kind, text in blocks("export.md"):
        if kind == "python":
            done = subprocess.run([sys.executable, "-c", text], capture_output=True, text=True, check=True)
            printed.append(done.stdout.splitlines()[-1])
            continue
        commands, refusal = text.removeprefix("$ ").split("\n", 1) if kind == "console" else (text, "")
        for command in commands.splitlines():
            assert main(shlex.split(command)[1:]) == (2 if refusal else 0)
        assert capsys.readouterr().err == refusal
    assert printed == ["3", "(2, 10)"]

