import os
import pathlib
import pkgutil
import re
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

import mindvit
from mindvit import show_result


def python(code):
    return subprocess.run([sys.executable, "-c", code], cwd=pathlib.Path(mindvit.__file__).parents[1], text=True,
                          capture_output=True)


def test_numpy_2_is_refused_at_once():
    result = python("import numpy; numpy.__version__ = '2.1.0'; import mindvit")
    assert result.returncode and "mindspore" not in result.stderr.replace("MindSpore", "")
    assert "ImportError: numpy 2.1.0 is installed" in result.stderr and "pip install 'numpy<2'" in result.stderr


def test_import_prints_nothing_and_changes_no_context():
    result = python("import mindspore as ms; names = 'mode', 'device_target'; before = [*map(ms.get_context, names)]\n"
                    "import mindvit, sys; assert [*map(ms.get_context, names)] == before\n"
                    "assert not {'matplotlib', 'download', 'jsonargparse', 'torch'} & set(sys.modules)")
    assert (result.returncode, result.stdout, result.stderr) == (0, "", "")


def test_public_names_are_written_out():
    """`mindvit` has the names of __all__, its submodules and no others."""
    submodules = {module.name for module in pkgutil.iter_modules(mindvit.__path__)}
    assert {name for name in dir(mindvit) if not name.startswith("_")} - submodules == set(mindvit.__all__)
    written = re.findall(r'^    "(\w+)",$', pathlib.Path(mindvit.__file__).read_text(), re.MULTILINE)
    assert written == mindvit.__all__ and len(set(written)) == len(written)


def test_python_m_mindvit_is_the_command():
    done = subprocess.run([sys.executable, "-m", "mindvit", "models", "vit_h_14"], text=True, capture_output=True,
                          cwd=pathlib.Path(mindvit.__file__).parents[1])
    assert done.returncode == 0 and "vit_huge_patch14_224" in done.stdout
    done = subprocess.run([sys.executable, "-m", "mindvit", "model"], text=True, capture_output=True,
                          cwd=pathlib.Path(mindvit.__file__).parents[1])
    assert done.returncode == 2 and done.stderr.startswith("mindvit: there is no command model; did you mean models?")


def test_show_result_writes_a_line_an_item():
    picture = np.full((120, 200, 3), 90, np.uint8)
    annotated = np.asarray(show_result(picture, {"236": "Doberman", "tench": 0.123}, out_file="out/a.png"), int)
    rows = np.flatnonzero((annotated != 90).any((1, 2)))
    assert rows.max() < 40 and (rows < 20).any() and (rows >= 20).any()  # two lines of 20 pixels
    assert (np.asarray(Image.open("out/a.png")) == annotated).all() and (picture == 90).all()
    one = np.asarray(show_result(picture, {"tench": 0.123}), int)
    assert (one == np.asarray(show_result(picture, {"tench": "0.12"}), int)).all()


def test_show_result_never_writes_over_the_picture(capsys):
    """The last line of the suite's example is show_result(img=image, result=result, out_file=image)."""
    os.mkdir("out")
    Image.fromarray(np.full((120, 200, 3), 90, np.uint8)).save("out/a.png")
    before = pathlib.Path("out/a.png").read_bytes()
    for name in ("a_annotated.png", "a_annotated-2.png"):
        shown = show_result("out/a.png", {0: "tench"}, out_file="out/../out/a.png")
        assert capsys.readouterr().out == f"out/a.png stays as it is; the annotated copy is out/../out/{name}\n"
        assert (np.asarray(Image.open(f"out/{name}")) == np.asarray(shown)).all() and np.asarray(shown).std()
    assert pathlib.Path("out/a.png").read_bytes() == before
    assert sorted(os.listdir("out")) == ["a.png", "a_annotated-2.png", "a_annotated.png"]


@pytest.mark.parametrize("size", [(1, 1), (5, 3), (4000, 20)])
def test_show_result_on_odd_sizes(size):
    assert show_result(np.zeros((*size[::-1], 3), np.uint8), {"a long name " * 9: 1.0}).size == size


def test_the_version_stands_in_one_place():
    root = pathlib.Path(__file__).parents[1]
    done = subprocess.run([sys.executable, "setup.py", "--version"], cwd=root, text=True, capture_output=True)
    assert done.stdout.split()[-1] == mindvit.__version__
    assert not re.search(r'version="', (root / "setup.py").read_text())


def test_show_result_names_the_users_file():
    """Pillow named the temporary file's suffix."""
    with pytest.raises(ValueError, match="out_file result has no suffix of a picture format; name it result.jpg"):
        show_result(np.zeros((4, 4, 3), np.uint8), {0: "a"}, out_file="result")
