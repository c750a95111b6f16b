"""Files are whole or not there, also when the process that writes them is killed."""

import json
import os
import pathlib
import re
import resource
import shutil
import signal
import stat
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

import mindvit
from mindvit.files import HOST, check_writable, in_use, replacing, save_image, sha256, temporary_folder, write_json

KILLED = """
import os
import signal

from mindvit.files import replacing

with replacing("weights.ckpt") as temporary:
    temporary.write_text("half")
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_no_device_or_pipe_gives_way_to_a_file():
    """Root could replace /dev/null for all, and /dev/stdout is a link to what may be a file."""
    os.mkfifo("pipe")
    pathlib.Path("link").symlink_to("pipe")
    for name in ("pipe", "link"):
        with pytest.raises(ValueError, match="device or a pipe"), replacing(name) as temporary:
            temporary.write_text("text")
    for name in ("pipe", "link", "/dev/null", "/dev/stdout", "/dev/new"):
        with pytest.raises(ValueError, match=f"{name} is a device or a pipe"):
            check_writable(name)
    assert sorted(os.listdir()) == ["link", "pipe"] and pathlib.Path("pipe").is_fifo()


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


WRITERS = """
import sys

import numpy as np
from safetensors.numpy import save_file
from tiny import TINY

from mindvit import ViT, save_weights
from mindvit.files import replacing, write_json

folder, limit = sys.argv[1], int(sys.argv[2])
if limit:
    import resource
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
network = ViT(**{**TINY, "mlp_dim": 20_000})
for name in ("state.safetensors", "last.ckpt", "records.json"):
    try:
        if name == "records.json":
            write_json(list(range(10**6)), f"{folder}/{name}")
        elif name == "last.ckpt":
            save_weights(network, f"{folder}/{name}")
        else:
            with replacing(f"{folder}/{name}", 8 * 10**6) as temporary:
                save_file({"x": np.zeros(10**6)}, temporary)
    except OSError as error:
        print(error)
"""


def refused_writes(folder, limit=0):
    """What three writers say, in a process whose files may have so many bytes; what was there stays, alone."""
    names = ("state.safetensors", "last.ckpt", "records.json")
    for name in names:
        pathlib.Path(folder, name).write_text("whole")
    paths = [str(pathlib.Path(__file__).parent), str(pathlib.Path(mindvit.__file__).parents[1])]
    done = subprocess.run([sys.executable, "-c", WRITERS, str(folder), str(limit)], capture_output=True, text=True,
                          env={**os.environ, "PYTHONPATH": os.pathsep.join(paths), "GLOG_v": "3"})
    assert not done.stderr and sorted(os.listdir(folder)) == sorted(names)
    assert all(pathlib.Path(folder, name).read_text() == "whole" for name in names)
    return done.stdout.splitlines()


def test_a_file_that_may_not_grow_leaves_what_was_there_and_one_sentence(tmp_path):
    lines = refused_writes(tmp_path, 10**6)
    assert len(lines) == 3 and all(line.endswith("; what was there before stays") for line in lines)
    assert re.fullmatch(rf"{tmp_path}/state.safetensors cannot be written: File too large \(it takes 8.0 MB, "
                        r"[\d.]+ MB are free\); what was there before stays", lines[0])
    assert lines[1].startswith(f"{tmp_path}/last.ckpt cannot be written: File too large (it takes 10.")


@pytest.fixture
def small_disk(tmp_path):
    """A disk of 2 MB, where this process may mount one."""
    folder = tmp_path / "disk"
    folder.mkdir()
    if not shutil.which("mount") or subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", folder],
                                                   capture_output=True).returncode:
        pytest.skip("mounting needs the rights of root")
    yield folder
    subprocess.run(["umount", folder], check=True)


def test_a_full_disk_leaves_what_was_there_and_one_sentence(small_disk):
    lines = refused_writes(small_disk)
    assert re.fullmatch(rf"{small_disk}/state.safetensors cannot be written: No space left on device \(it takes "
                        r"8.0 MB, 2.1 MB are free\); what was there before stays", lines[0])
    assert len(lines) == 3 and all("No space left on device (" in line for line in lines)


@pytest.mark.parametrize("name", ["a.jpg", "a.png", "a.webp"])
def test_half_an_image_is_no_file(name):
    """Pillow hands the whole of a JPEG to one write, and takes it for done when the disk had room for a part."""
    image = Image.fromarray(np.random.default_rng(0).integers(0, 256, (300, 300, 3), np.uint8))
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, before[1]))
    try:
        with pytest.raises(OSError, match=rf"^{name} cannot be written: File too large \("):
            save_image(image, name)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert os.listdir() == []
    with pytest.raises(ValueError, match="unknown file extension"):
        save_image(image, "picture")
    save_image(image, f"new/{name}", quality=90)
    assert Image.open(f"new/{name}").size == (300, 300)


def refused(path, reason):
    with pytest.raises(OSError, match=f"^{re.escape(str(path))} cannot be written: .*{reason}$"):
        check_writable(path)


def test_what_takes_no_file_is_known_before_the_work():
    pathlib.Path("taken").touch()
    refused("taken/a.json", "taken is a file, no folder")
    refused("taken/b/a.json", "taken is a file, no folder")
    refused(".", "it is a folder")
    refused("a" * 300, "File name too long")
    refused(f"{'a' * 300}/a.json", "File name too long")
    check_writable("new/folder/a.json")
    assert os.listdir() == ["taken"]


def test_a_disk_that_takes_no_file_is_known_before_the_work(small_disk):
    subprocess.run(["mount", "-o", "remount,ro", small_disk], check=True)
    refused(small_disk / "a.json", "Read-only file system")
    refused(small_disk / "new" / "a.json", "Read-only file system")


def test_somebody_elses_folder_is_known_before_the_work(tmp_path):
    code = ("import os, sys; from mindvit.files import check_writable; os.getuid() or os.setuid(65534); "
            "check_writable(sys.argv[1])")
    tmp_path.chmod(0o555)
    for part in (tmp_path.parent, tmp_path.parent.parent):  # pytest's are for their owner alone
        part.chmod(part.stat().st_mode | 0o055)
    done = subprocess.run([sys.executable, "-c", code, tmp_path / "a.json"], capture_output=True, text=True)
    assert done.stderr.endswith(f"PermissionError: {tmp_path}/a.json cannot be written: Permission denied\n")


def test_a_link_is_replaced_and_not_followed_and_a_linked_folder_is(tmp_path, small_disk):
    (tmp_path / "kept.json").write_text("kept")
    os.symlink(tmp_path / "kept.json", "link.json")
    write_json(1, "link.json")
    assert not os.path.islink("link.json") and (tmp_path / "kept.json").read_text() == "kept"
    os.symlink(small_disk, "run")  # on another device
    write_json(1, "run/a.json")
    assert os.listdir(small_disk) == ["a.json"]


def test_the_sha256_of_a_file(tmp_path):
    (tmp_path / "a").write_bytes(b"abc")  # FIPS 180-2, appendix B.1
    assert sha256(tmp_path / "a") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
