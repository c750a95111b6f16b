"""The order of the rooms: a file imports from its own room and those above it, nothing goes in a circle, and the test
files are named after the rooms."""

import ast
import graphlib
import pathlib

import mindvit

HOME = pathlib.Path(mindvit.__file__).parent
# Each room may import from those before it.
ORDER = ["extras", "files", "download", "choices", "imagenet", "preprocessing", "kernels", "models", "attention",
         "checkpoints", "data", "optim", "config", "zoo", "summary", "runtime", "device", "visualize", "training",
         "exporting", "inference", "serving", "check", "doctor", "tour", "flags", "cli"]
# What the test files are named after that test more than one room.
ACROSS = {"benchmarks", "coming_from", "docs", "docstrings", "first_hour", "package", "programs", "rooms"}


def imports():
    """{file's module: modules of mindvit that it imports, anywhere in it}, as tuples of names below mindvit."""
    modules = {file.relative_to(HOME).with_suffix("").parts: file for file in HOME.rglob("*.py")}
    modules = {parts[:-1] if parts[-1] == "__init__" else parts: file for parts, file in modules.items()}
    found = {}
    for name, file in modules.items():
        found[name] = set()
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            named = [node.module] if isinstance(node, ast.ImportFrom) else \
                [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            for module in named:
                parts = tuple((module or "").split("."))
                if parts[0] != "mindvit":
                    continue
                below = [parts[1:] + (alias.name,) for alias in node.names] if isinstance(node, ast.ImportFrom) else []
                found[name].update([path for path in below if path in modules] or [parts[1:]])
    return found


def test_the_order_of_the_rooms():
    found = imports()
    assert {name[0] for name in found if name} - {"__main__"} == set(ORDER)
    for name, imported in found.items():
        for other in imported:
            if name and name != ("__main__",) and other:
                assert ORDER.index(other[0]) <= ORDER.index(name[0]), f"{'.'.join(name)} imports {'.'.join(other)}"


def test_nothing_goes_in_a_circle():
    tuple(graphlib.TopologicalSorter(imports()).static_order())  # raises CycleError


def test_only_the_face_and_the_command_import_the_face():
    """What is inside imports from the file where a thing is, so that `mindvit` itself can import everything."""
    assert {name for name, imported in imports().items() if () in imported} <= {("cli",), ("__main__",)}


def test_test_files_are_named_after_the_rooms_and_each_room_has_one():
    """test_<room>.py or test_<room>_<topic>.py; likewise those that test more than one."""
    names = {file.stem.removeprefix("test_") for file in pathlib.Path(__file__).parent.glob("test_*.py")}
    across = {name for name in names for words in ACROSS if name == words or name.startswith(f"{words}_")}
    assert {name.split("_")[0] for name in names - across} == set(ORDER) and ACROSS <= names
