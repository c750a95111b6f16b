"""What can run code or unpack without end is used where it is fenced in, and nowhere else in the package."""

import ast
import pathlib

import pytest

import mindvit

HOME = pathlib.Path(mindvit.__file__).parent
TREES = {file.relative_to(HOME).as_posix(): ast.parse(file.read_text(encoding="utf-8")) for file in HOME.rglob("*.py")}
# {module: the files that may import it}
IMPORTED = {
    "pickle": {"checkpoints/formats/pth.py", "data/cifar.py"},
    "zipfile": {"checkpoints/formats/zipped.py", "checkpoints/formats/pth.py", "download.py"},
    "tarfile": {"download.py", "imagenet.py"}, "gzip": {"data/mnist.py", "download.py"},
    "bz2": {"download.py"}, "lzma": {"download.py"},
    "importlib": {"checkpoints/libraries/__init__.py", "device.py", "extras.py", "serving/app.py"},
    **dict.fromkeys(("torch", "joblib", "cloudpickle", "dill", "marshal", "shelve", "dbm", "code", "runpy", "ctypes",
                     "subprocess", "multiprocessing", "xmlrpc", "h5py", "imp"), set()),
}
YAML = {"safe_dump", "parse", "SafeLoader", "YAMLError", "CollectionStartEvent", "CollectionEndEvent", "AliasEvent"}
CALLS = {"eval", "exec", "compile", "__import__", "breakpoint"}  # of Python
OF_MODULES = {"os": {"system", "popen", "startfile"}, "ms": {"load"}, "mindspore": {"load"}}
OWN = ("exporting/mindir_file.py", "load")  # of the file that export has just written
WRITTEN_HERE = [("exporting/mindir_file.py", "load")]  # which runs what it has just written
BEGINNINGS = ("exec", "spawn", "posix_spawn")  # of functions of os


def nodes(kind):
    return [(file, node) for file, tree in TREES.items() for node in ast.walk(tree) if isinstance(node, kind)]


def of(module, kind=ast.Attribute):
    """(file, attribute) of each use of a module's attribute."""
    return [(file, node.attr) for file, node in nodes(kind) if isinstance(node.value, ast.Name)
            and node.value.id == module]


@pytest.mark.parametrize("module", IMPORTED)
def test_what_unpacks_or_runs_is_imported_where_it_is_fenced_in(module):
    found = {file for file, node in nodes(ast.Import) for name in node.names if name.name.split(".")[0] == module}
    found |= {file for file, node in nodes(ast.ImportFrom) if not node.level and node.module.split(".")[0] == module}
    assert found == IMPORTED[module]


def test_yaml_is_read_by_the_safe_loader():
    assert {attribute for _, attribute in of("yaml")} == YAML
    assert not [file for file, node in nodes(ast.ImportFrom) if (node.module or "").split(".")[0] == "yaml"]


def test_pickles_are_read_by_restricted_unpicklers():
    """Python's own unpickler, with a find_class that gives what is in a table, and no other function of the module."""
    opcodes = {"PROTO", "STOP"}
    used = {(file, attribute) for file, attribute in of("pickle") if not attribute.isupper() or attribute in opcodes}
    assert {attribute for _, attribute in used} - opcodes == {"_Unpickler", "UnpicklingError"}
    classes = [(file, node) for file, node in nodes(ast.ClassDef)
               if any(ast.unparse(base) == "pickle._Unpickler" for base in node.bases)]
    assert {file for file, _ in classes} == IMPORTED["pickle"] and len(classes) == 2
    for _, node in classes:
        assert "find_class" in [part.name for part in node.body if isinstance(part, ast.FunctionDef)]


def test_nothing_is_evaluated_or_started():
    called = [(file, node.func) for file, node in nodes(ast.Call)]
    assert not [(file, name.id) for file, name in called if isinstance(name, ast.Name) and name.id in CALLS]
    for module, names in OF_MODULES.items():
        assert not [found for found in of(module) if found[1] in names and found not in WRITTEN_HERE], module
    assert not [found for found in of("os") if found[1].startswith(BEGINNINGS)]


def test_numpy_loads_no_objects():
    """np.load reads one packaged file; allow_pickle is nowhere true."""
    assert {file for file, name in of("np") if name in ("load", "fromregex", "DataSource")} == {"data/digits.py"}
    said = [(file, ast.unparse(word.value)) for file, node in nodes(ast.Call) for word in node.keywords
            if word.arg == "allow_pickle"]
    assert said == [("checkpoints/formats/npz.py", "False")]
    readers = [node for _, node in nodes(ast.Call) if ast.unparse(node.func).endswith((".read_array", "open_memmap"))]
    assert len(readers) == len(said)


def test_members_of_zip_files_are_opened_after_the_check():
    """Only open_zip, which checks sizes, makes a ZipFile for checkpoints."""
    made = {file for file, node in nodes(ast.Call) if ast.unparse(node.func) == "zipfile.ZipFile"}
    assert made == {"checkpoints/formats/zipped.py", "download.py"}
