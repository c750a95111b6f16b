"""Puts the pages of the site together, for MkDocs: those of the repository where they are, so that the links between
them hold, Chinese ones named as the i18n plugin wants, notebooks, and the page of what `mindvit` exports, by room."""

import atexit
import json
import os
import pathlib
import re
import shutil
import tempfile

import griffe

ROOT = pathlib.Path(__file__).parents[1]
PAGES = ["*.md", "LICENSE", "docs/*.md", "docs/*.css", "docs/images/*", "benchmarks/README.md", "ckpt/README.md",
         "tests/fuzz/README.md", "configs/**/*", "examples/*.py", "examples/notebooks/*.ipynb"]
FOLDER = pathlib.Path(tempfile.gettempdir(), f"mindvit-docs-{os.getpid()}")  # MkDocs reads this file at each build anew
atexit.register(shutil.rmtree, FOLDER, ignore_errors=True)
DEFAULTS = {r"number\(([^,]+), .*\)": r"\1", r"one_of\([^,]+, (.*)\)": r"\1", r"list_of\([^,]+, (.*)\)": r"[\1]"}
OTHER_LANGUAGE = re.compile(r" ?\[(English|中文)\]\([^)]*\.md\)")  # which the site has a switch for
BROKEN_LINE = re.compile(r"(?<=[\u3001-\uffef])\n *(?=[\u3001-\uffef])")  # in Chinese, where it would be a space


def on_config(config):
    """Fills the folder of pages; what is as it was is not written again, which a serving MkDocs would take for news."""
    pages = {"docs/api.md": api_page().encode()}
    for path in (path for pattern in PAGES for path in ROOT.glob(pattern) if path.is_file()):
        name, content = path.relative_to(ROOT).as_posix(), path.read_bytes()
        if path.suffix in (".md", ".ipynb"):
            text = content.decode() if path.suffix == ".md" else notebook_page(json.loads(content))
            text = BROKEN_LINE.sub("", OTHER_LANGUAGE.sub("", text))
            content = re.sub(r"(_CN\.md|\.ipynb)(?=[)#])", ".md", text).encode()
            name = name.replace("_CN.md", ".zh.md").replace(".ipynb", ".md")
        pages[name] = content
    for name, content in pages.items():
        page = FOLDER / name
        if not page.exists() or page.read_bytes() != content:
            page.parent.mkdir(parents=True, exist_ok=True)
            page.write_bytes(content)
    config.docs_dir = str(FOLDER)
    return config


def notebook_page(notebook):
    """A notebook's text, its code, and what came out."""
    parts = []
    for cell in notebook["cells"]:
        source = "".join(cell["source"])
        parts.append(f"```python\n{source}\n```" if cell["cell_type"] == "code" else source)
        for output in cell.get("outputs", ()):
            data = output.get("data", {})
            if "image/png" in data:
                parts.append(f"![](data:image/png;base64,{data['image/png'].strip()})")
            elif text := "".join(output.get("text") or data.get("text/plain", "")).rstrip():
                parts.append(f"```text\n{text}\n```")
    return "\n\n".join(parts)


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
