"""The documentation as a site: `mkdocs build --strict`, and what came out."""

import os
import pathlib
import re
import subprocess
import sys
from html.parser import HTMLParser

import pytest

import mindvit

ROOT = pathlib.Path(__file__).parents[1]
IN_CHINESE = ["index", *sorted(f"docs/{path.stem[:-3]}" for path in (ROOT / "docs").glob("*_CN.md"))]


class Loaded(HTMLParser):
    """What a browser fetches to show a page, and the names to jump to."""

    def __init__(self, page):
        super().__init__()
        self.links, self.ids = [], set()
        self.feed(page.read_text(encoding="utf-8"))

    def handle_starttag(self, tag, attributes):
        found = dict(attributes)
        self.ids.add(found.get("id"))
        link = found.get("src") or (found.get("href") if tag == "link" else None)
        if link and not link.startswith("data:") and found.get("rel") not in ("canonical", "prev", "next", "alternate"):
            self.links.append(link)


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    folder = tmp_path_factory.mktemp("site")
    done = subprocess.run([sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", folder],
                          cwd=ROOT, env={**os.environ, "NO_MKDOCS_2_WARNING": "1"}, text=True, capture_output=True)
    wrong = re.findall("^(?:WARNING|ERROR) .*", done.stderr, re.MULTILINE)  # of Chinese pages --strict lets pass
    assert (wrong, done.returncode) == ([], 0)
    return folder


def test_a_page_fetches_nothing_from_elsewhere(site):
    pages = [*site.rglob("*.html")]
    assert len(pages) > 30
    for page in pages:
        for link in Loaded(page).links:
            assert not re.match("[a-z]+:|//", link), f"{page}: {link}"
            assert page.name == "404.html" or (page.parent / link.split("?")[0]).exists(), f"{page}: {link}"
    for style in site.rglob("*.css"):
        assert not re.search(r"url\([\"']?(https?:|//)|@import", style.read_text(encoding="utf-8")), style


def test_every_public_name_with_a_docstring_is_explained(site):
    explained = set(mindvit.__all__) - {"IMAGENET_MEAN", "IMAGENET_STD", "VARIANTS", "ImageNet"}
    assert {f"mindvit.{name}" for name in explained} <= Loaded(site / "docs/api.html").ids


@pytest.mark.parametrize("page", IN_CHINESE)
def test_a_page_is_there_in_chinese(site, page):
    """In letters of Chinese: more of them than in the navigation, which is Chinese on every page."""
    english, chinese = (len(re.findall("[\u4e00-\u9fff]", (site / f"{folder}{page}.html").read_text(encoding="utf-8")))
                        for folder in ("", "zh/"))
    assert english < 50 and chinese > 500
