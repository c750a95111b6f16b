"""The package: its import, its names, its version and its command."""

import pathlib
import pkgutil
import re
import subprocess
import sys

import pytest

import mindvit

ROOT = pathlib.Path(__file__).parents[1]


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
    done = subprocess.run([sys.executable, "setup.py", "--version"], cwd=ROOT, text=True, capture_output=True)
    assert done.stdout.split()[-1] == mindvit.__version__
    assert not re.search(r'version="', (ROOT / "setup.py").read_text())


def check_what_is_built(source, folder):
    subprocess.run([sys.executable, "setup.py", "-q", "build_py", "--build-lib", folder], cwd=source, check=True)

    def files(folder):
        found = {str(file.relative_to(folder)) for file in (folder / "mindvit").rglob("*.*")}
        return {name for name in found if "__pycache__" not in name}

    assert files(ROOT) <= files(folder)  # where the link mindvit/recipes has become a folder
    assert list((folder / "mindvit/recipes").glob("*.yaml"))


def test_what_is_built_has_every_file(tmp_path):
    check_what_is_built(ROOT, tmp_path)


@pytest.mark.parametrize("file", ["Dockerfile", "Dockerfile.ascend"])
def test_what_an_image_is_built_from_has_every_file(file, tmp_path):
    """COPY leaves a link a link, and .dockerignore says what there is at all."""
    for sources in re.findall("^COPY (.*) /src", (ROOT / "docker" / file).read_text(), re.MULTILINE):
        for source in sources.split():
            assert f"!{source}\n" in (ROOT / ".dockerignore").read_text()
            place = (tmp_path / "src" / source).parent
            place.mkdir(parents=True, exist_ok=True)
            subprocess.run(["cp", "-a", ROOT / source, place], check=True)
    check_what_is_built(tmp_path / "src", tmp_path / "built")
