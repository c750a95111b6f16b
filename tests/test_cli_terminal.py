"""What a person at a terminal sees: Ctrl-C and the progress bar, in real processes."""

import os
import pathlib
import pty
import re
import signal
import subprocess
import sys
import time

import pytest
from tiny import FLAGS

import mindvit
from mindvit import save_weights

COMMAND = [sys.executable, "-m", "mindvit"]
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(pathlib.Path(mindvit.__file__).parents[1]), "GLOG_v": "3"}


def training(digits, epochs, batch_size=20):
    return ["train", "--data.root", str(digits), *FLAGS, "--train.epochs", str(epochs),
            "--train.batch_size", str(batch_size), "--train.log_every", "1", "--out", "run"]


@pytest.fixture
def interruptible():
    """A process that a shell starts in the background ignores Ctrl-C, and so would those that the tests start."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def interrupted(arguments, line, seconds=0.0):
    """(exit status, standard error) of a process that gets SIGINT `seconds` after it printed a line that has `line`."""
    process = subprocess.Popen([*COMMAND, *arguments], env=ENVIRONMENT, text=True, stdout=subprocess.PIPE,
                               stderr=subprocess.PIPE)
    assert any(line in printed for printed in process.stdout)
    time.sleep(seconds)
    process.send_signal(signal.SIGINT)
    return process.wait(60), process.communicate()[1]


@pytest.mark.parametrize("line, seconds", [
    ("the first step compiles the graph", 0.5), ("Epoch:[  0/900], step:[    1", 0),
    ("Epoch:[  1/900], step:[    2", 0),
], ids=["compiling", "first epoch", "second epoch"])
def test_ctrl_c_in_training_saves_the_step(digit_folder, interruptible, line, seconds):
    status, error = interrupted(training(digit_folder, 900, batch_size=2), line, seconds)  # 80 steps an epoch
    said = re.fullmatch("\nstopping when this step is done and saved; once more leaves at once\n"
                        r"mindvit train: stopped; run/state\.safetensors holds step (\d+); --resume auto goes on from "
                        r"there\n", error)
    assert status == 130 and said, error
    assert pathlib.Path("run/state.safetensors").exists() and not list(pathlib.Path(".").glob("run/.*"))
    epochs, rest = divmod(int(said[1]), 80)
    assert bool(epochs) == pathlib.Path("run/last.ckpt").exists() == ("second" in line or "1/900" in line)
    assert rest > 0 and (not epochs or len(pathlib.Path("run/metrics.csv").read_text().splitlines()) == 1 + epochs)


def test_ctrl_c_before_training_saves_nothing(digit_folder, interruptible):
    status, error = interrupted(training(digit_folder, 900), "device CPU")
    assert (status, error) == (130, "mindvit train: stopped; nothing is saved\n")


@pytest.mark.parametrize("command, line, kept", [
    ("eval --data.root DIGITS", "device CPU", "no result is written"),
    ("predict DIGITS --batch_size 1", ".png: {", "the annotated copies of the images printed stay"),
])
def test_ctrl_c_elsewhere(digit_folder, interruptible, command, line, kept):
    save_weights(mindvit.create_model("vit_t_16", image_size=32, num_classes=10, init="timm"), "a.ckpt")
    words = [str(digit_folder) if word == "DIGITS" else word for word in command.split()]
    status, error = interrupted([*words, "--checkpoint", "a.ckpt"], line)
    assert (status, error) == (130, f"mindvit {words[0]}: stopped; {kept}\n")


def test_a_terminal_without_a_size_has_a_bar_too(digit_folder):
    """The bar counts epochs as the lines of a training without a terminal do: the first of two is 0/2."""
    controller, terminal = pty.openpty()
    assert os.get_terminal_size(terminal).columns == 0
    process = subprocess.Popen([*COMMAND, *training(digit_folder, 2)], env=ENVIRONMENT, stdout=subprocess.DEVNULL,
                               stderr=terminal)
    os.close(terminal)
    seen = b""
    try:
        while part := os.read(controller, 4096):
            seen += part
    except OSError:  # the process closed the terminal
        pass
    assert process.wait(60) == 0
    for part in ("epoch 0/2: 100%", "epoch 1/2: 100%", "8/8", "loss=2."):
        assert part in seen.decode(), seen
    assert "epoch 2/2" not in seen.decode()


def test_a_reader_that_leaves_ends_the_command_without_a_word(digit_folder):
    """As in `mindvit check-data DIR | head -1`; status 141, as of any program that SIGPIPE ends."""
    for words in (["check-data", str(digit_folder)], ["models"], training(digit_folder, 2)):
        reader, writer = os.pipe()
        os.close(reader)
        process = subprocess.run([*COMMAND, *words], env=ENVIRONMENT, stdout=writer, stderr=subprocess.PIPE, text=True)
        os.close(writer)
        assert (process.returncode, process.stderr) == (128 + signal.SIGPIPE, ""), words
    assert not list(pathlib.Path(".").glob("runs/*"))


def test_closed_streams_are_as_if_nobody_read_them(digit_folder):
    save_weights(mindvit.create_model("vit_t_16", image_size=32, num_classes=10, init="timm"), "a.ckpt")
    for words in ("check-data DIGITS --out report", "predict DIGITS/val --checkpoint a.ckpt --out infer"):
        command = [*COMMAND, *words.replace("DIGITS", str(digit_folder)).split()]
        closed = subprocess.run(["sh", "-c", 'exec "$@" <&- >&- 2>&-', "sh", *command], env=ENVIRONMENT)
        assert closed.returncode == 0 and os.listdir(command[-1]), words
