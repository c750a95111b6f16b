"""The package: its import, its names, its version and its command."""

import pathlib
import pkgutil
import re
import subprocess
import sys

import mindvit


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


def test_the_version_stands_in_one_place():
    root = pathlib.Path(__file__).parents[1]
    done = subprocess.run([sys.executable, "setup.py", "--version"], cwd=root, text=True, capture_output=True)
    assert done.stdout.split()[-1] == mindvit.__version__
    assert not re.search(r'version="', (root / "setup.py").read_text())


def test_what_is_built_has_every_file(tmp_path):
    root = pathlib.Path(__file__).parents[1]
    subprocess.run([sys.executable, "setup.py", "-q", "build_py", "--build-lib", tmp_path], cwd=root, check=True)

    def files(folder):
        found = {str(file.relative_to(folder)) for file in (folder / "mindvit").rglob("*.*")}
        return {name for name in found if "__pycache__" not in name}

    assert files(root) <= files(tmp_path)  # where the link mindvit/recipes has become a folder
