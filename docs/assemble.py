"""Puts the pages of the site together, for MkDocs: those of the repository where they are, so that the links between
them hold, Chinese ones named as the i18n plugin wants, and the page of what `mindvit` exports, by room."""

import pathlib
import re
import shutil
import tempfile

import griffe

ROOT = pathlib.Path(__file__).parents[1]
PAGES = ["*.md", "LICENSE", "docs/*.md", "docs/images/*", "benchmarks/README.md", "ckpt/README.md",
         "tests/fuzz/README.md", "configs/**/*", "examples/**/*"]
DEFAULTS = {r"number\(([^,]+), .*\)": r"\1", r"one_of\([^,]+, (.*)\)": r"\1", r"list_of\([^,]+, (.*)\)": r"[\1]"}
OTHER_LANGUAGE = re.compile(r" ?\[(English|中文)\]\([^)]*\.md\)")  # which the site has a switch for


def on_config(config):
    """The folder of pages becomes a new one; MkDocs asks once for each language."""
    folder = pathlib.Path(tempfile.mkdtemp(prefix="mindvit-docs-"))
    for path in (path for pattern in PAGES for path in ROOT.glob(pattern) if path.is_file()):
        target = folder / path.relative_to(ROOT)
        target.parent.mkdir(parents=True, exist_ok=True)
        if path.suffix == ".md":
            text = OTHER_LANGUAGE.sub("", path.read_text(encoding="utf-8")).replace("_CN.md", ".md")
            target.with_name(target.name.replace("_CN.md", ".zh.md")).write_text(text, encoding="utf-8")
        else:
            shutil.copy(path, target)
    (folder / "docs/api.md").write_text(api_page(), encoding="utf-8")
    config.docs_dir = str(folder)
    return config


def on_post_build(config):
    shutil.rmtree(config.docs_dir)


class House(griffe.Extension):
    """What griffe, which reads the code, would not understand of the ways of this house."""

    def on_object(self, *, obj, **_):
        if obj.docstring:  # it knows the part with code by this name alone
            obj.docstring.value = obj.docstring.value.replace("\nExample:\n", "\nExamples:\n")

    def on_attribute_instance(self, *, attr, **_):
        for maker, default in DEFAULTS.items():
            if re.fullmatch(maker, str(attr.value)):
                attr.value = re.sub(maker, default, str(attr.value))


def api_page():
    """What `mindvit` exports and has a docstring, under the room where it is."""
    package, rooms = griffe.load("mindvit", search_paths=[ROOT]), {}
    for name in package.exports:
        if package[name].has_docstring:
            rooms.setdefault(package[name].target_path.split(".")[1], []).append(name)
    parts = [f"## {room}\n\n" + "".join(f"::: mindvit.{name}\n\n" for name in rooms[room]) for room in sorted(rooms)]
    return "# In Python\n\nWhat `import mindvit` gives, by the room of the code.\n\n" + "".join(parts)
