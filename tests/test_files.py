"""Files are whole or not there, also when the process that writes them is killed."""

import json
import os
import pathlib
import signal
import stat
import subprocess
import sys

import pytest

from mindvit.files import HOST, in_use, replacing, temporary_folder, write_json

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
    hidden = f".weights.{HOST}-{os.getppid()}.ckpt"  # of a process that lives
    elsewhere = ".weights.0a1b2c3d-99999999.ckpt"  # of another machine
    for name in (hidden, elsewhere, ".mine.txt"):
        pathlib.Path(name).touch()
    assert len(os.listdir()) == 5
    subprocess.run([sys.executable, "-c", "from mindvit.files import write_json; write_json(1, 'a.json')"], check=True)
    assert sorted(os.listdir()) == sorted([".mine.txt", hidden, elsewhere, "a.json", "weights.ckpt"])


def test_a_folder_of_a_killed_process_is_removed():
    code = """import os, pathlib, signal
from mindvit.files import temporary_folder
with temporary_folder(pathlib.Path("x"), "download") as folder:
    (folder / "half").touch()
    print(len(list(folder.iterdir())), flush=True)
    os.kill(os.getpid(), signal.SIGKILL)"""
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout == "1\n"
    assert len(os.listdir("x")) == 1
    with temporary_folder(pathlib.Path("x"), "download"):
        assert len(os.listdir("x")) == 1
    assert os.listdir("x") == []


def test_content_is_on_the_disk_before_the_name_and_the_name_after(tmp_path, monkeypatch):
    calls = []
    for name in ("fsync", "replace"):
        real = getattr(os, name)

        def recorded(*arguments, name=name, real=real):
            kind = stat.S_ISDIR(os.fstat(arguments[0]).st_mode) if name == "fsync" else None
            calls.append((name, kind))
            return real(*arguments)

        monkeypatch.setattr(os, name, recorded)
    write_json(1, tmp_path / "a.json")
    assert calls == [("fsync", False), ("replace", None), ("fsync", True)]


def test_a_lock_is_not_held_by_the_dead():
    code = """import sys, time
from mindvit.files import in_use
with in_use("lock", "somebody"):
    print("held", flush=True)
    time.sleep(100)"""
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(FileExistsError, match="^somebody$"), in_use("lock", "somebody"):
            pass
        holder.kill()
    with in_use("lock", "somebody"):
        pass


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
