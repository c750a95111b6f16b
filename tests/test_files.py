"""Files are whole or not there, also when the process that writes them is killed."""

import json
import pathlib
import signal
import subprocess
import sys

import pytest

from mindvit.files import replacing, write_json

KILLED = """
import os
import signal

from mindvit.files import replacing

with replacing("weights.ckpt") as temporary:
    temporary.write_text("half")
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_process_killed_while_it_writes_leaves_the_file_as_it_was():
    pathlib.Path("weights.ckpt").write_text("whole")
    assert subprocess.run([sys.executable, "-c", KILLED]).returncode == -signal.SIGKILL
    assert pathlib.Path("weights.ckpt").read_text() == "whole"


def test_an_error_leaves_neither_a_file_nor_half_of_one(tmp_path):
    path = tmp_path / "new" / "a.png"
    with pytest.raises(KeyError), replacing(path) as temporary:
        temporary.write_text("half")
        assert temporary.parent == path.parent and temporary.suffix == ".png" and not path.exists()
        raise KeyError
    assert list(path.parent.iterdir()) == []
    with replacing(path) as temporary:
        temporary.write_text("whole")
    assert [(file.name, file.read_text()) for file in path.parent.iterdir()] == [("a.png", "whole")]


def test_json_is_written_as_people_read_it(tmp_path):
    value = {"classes": ["\u732b", "cafe\u0301"], "rate": 0.1, "none": None}
    write_json(value, tmp_path / "a.json")
    text = (tmp_path / "a.json").read_bytes().decode("utf-8")
    assert json.loads(text) == value and "\u732b" in text and text.endswith("}\n")
