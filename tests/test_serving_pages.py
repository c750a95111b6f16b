"""The pages of `mindvit serve` and `mindvit demo` in a real browser, headless Chromium driven by Playwright."""

import base64
import glob
import io
import json
import pathlib
import re
import shutil
import signal
import tempfile
import time

import numpy as np
import pytest
from PIL import Image
from web import DIGITS, GUARDED, Program

from mindvit import write_digits
from mindvit.cli import main
from mindvit.serving.words import WORDS

OPTIONS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
           "--disable-component-update", "--disable-sync"]
SECONDS = 30  # in which what is waited for comes
pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def browser():
    path = shutil.which("chromium")
    if not path:
        pytest.skip("there is no chromium on the PATH (Debian: apt-get install chromium)")
    playwright = pytest.importorskip("playwright.sync_api")
    with playwright.sync_playwright() as started:
        browser = started.chromium.launch(executable_path=path, args=OPTIONS)
        yield browser
        browser.close()


@pytest.fixture
def visit(browser):
    """Opens an address in a window of its own; in the end, no window has asked anybody else for anything."""
    contexts, asked, wrong = [], [], []

    def opened(port, path="/", **options):
        contexts.append(browser.new_context(**options))
        page = contexts[-1].new_page()
        page.set_default_timeout(1000 * SECONDS)
        page.on("request", lambda request: asked.append(request.url))
        page.on("pageerror", lambda error: wrong.append(str(error)))
        page.goto(f"http://127.0.0.1:{port}{path}")
        return page

    yield opened
    for context in contexts:
        context.close()
    own = ("http://127.0.0.1:", "ws://127.0.0.1:", "data:", "blob:")
    assert asked and not [url for url in asked if not url.startswith(own)]
    assert not [error for error in wrong if "not implemented" not in error]


@pytest.fixture(scope="module")
def digits(tmp_path_factory):
    """Files of the ten digits, and by name what `mindvit predict` says of them."""
    folder = write_digits(tmp_path_factory.mktemp("digits") / "digits") / "val"
    files = [sorted(folder.glob(f"{digit}/*"))[1] for digit in range(10)]
    out = tmp_path_factory.mktemp("predicted")
    assert main(["predict", *map(str, files), *DIGITS, "--out", str(out), "--json", str(out / "records.json")]) == 0
    return dict(zip(files, (record["predictions"] for record in json.loads((out / "records.json").read_text()))))


@pytest.fixture(scope="module")
def demo():
    with Program("demo", "--port", "0", code=GUARDED) as program:
        yield program
        assert "ELSEWHERE" not in "".join(program.lines) and "Traceback" not in "".join(program.lines)


def drop(page, place, file):
    """Lets go of a file above a place, as a person does."""
    data = base64.b64encode(file.read_bytes()).decode()
    transfer = page.evaluate_handle("""([data, name]) => {
        const transfer = new DataTransfer(), bytes = Uint8Array.from(atob(data), character => character.charCodeAt(0));
        transfer.items.add(new File([bytes], name, {type: "image/png"}));
        return transfer; }""", [data, file.name])
    page.locator(place).first.dispatch_event("drop", {"dataTransfer": transfer})


def upload(page, file):
    page.set_input_files("#image input[type=file]", file)


def wait(true):
    """What comes of it, once it is true."""
    deadline = time.monotonic() + SECONDS
    while not (found := true()):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    return found


def overlay(page):
    """The bytes of the overlay, once there is one."""
    return page.request.get(page.wait_for_selector("#overlay img").get_attribute("src")).body()


def pick(page, place, option):
    page.click(f"{place} input")
    page.click(f"[role=option]:has-text('{option}')")


def label(page):
    """The likeliest class, once there is one."""
    return page.wait_for_selector("#predictions h2").inner_text()


def test_a_dropped_image_is_named_and_explained(visit, demo, digits):
    page, (file, expected) = visit(demo.port), list(digits.items())[3]
    drop(page, "#image button", file)
    assert label(page) == expected[0]["label"] == "3"
    bars = zip(page.locator("#predictions dt").all_inner_texts(), page.locator("#predictions dd").all_inner_texts())
    assert list(bars) == [(each["label"], f"{100 * each['probability']:.0f}%") for each in expected]
    drawn = np.asarray(Image.open(io.BytesIO(overlay(page))).convert("RGB"), int)
    assert drawn.shape[:2] == (448, 448) and (np.ptp(drawn, 2) > 60).mean() > 0.05  # in colours
    wait(lambda: re.fullmatch(r"opened in \d+ ms, named in \d+ ms, explained in \d+ ms",
                              page.locator("#said").inner_text().strip()))


def test_method_layer_and_head_change_the_overlay(visit, demo, digits):
    page, seen = visit(demo.port), []
    upload(page, list(digits)[5])

    def another():
        """Whether the overlay is one that was not there before."""
        return (found := overlay(page)) not in seen and (seen.append(found) or True)

    assert label(page) == "5" and another()
    assert not page.locator("#layer").is_visible() and not page.locator("#head").is_visible()  # relevance has none
    pick(page, "#method", "attention of one")
    wait(another)
    page.fill("#layer input[type=number]", "1")
    page.press("#layer input[type=number]", "Enter")
    wait(another)
    pick(page, "#head", "2")
    wait(another)
    pick(page, "#method", "Grad-CAM")
    wait(another)
    assert page.locator("#layer").is_visible() and wait(lambda: not page.locator("#head").is_visible())


@pytest.mark.parametrize("name, data, reason", [
    ("<img src=x onerror=alert(1)>.png", b"no image", "not a JPEG, PNG, BMP, WebP or GIF file"),
    ("empty.png", b"", "the file is empty")])
def test_a_wrong_file_is_a_sentence_on_the_page(visit, demo, digits, tmp_path, name, data, reason):
    page = visit(demo.port)
    upload(page, list(digits)[7])
    assert label(page) == "7"
    (tmp_path / name).write_bytes(data)
    upload(page, tmp_path / name)
    assert reason in page.wait_for_selector("#said [role=alert]").inner_text()
    assert page.locator("#said img").count() == page.locator("#predictions h2").count() == 0
    assert page.locator("#overlay img").count() == 0
    upload(page, list(digits)[7])
    assert label(page) == "7" and wait(lambda: page.locator("#said [role=alert]").count() == 0)


def test_an_example_is_clicked_in_chinese(visit, demo):
    page, words = visit(demo.port, locale="zh-CN"), WORDS["zh"]
    page.wait_for_selector(f"text={words['examples']}")
    page.locator("button:has(img)").nth(4).click()
    assert label(page) == "4"
    text = page.locator("body").inner_text()
    for name in ("drop", "predictions", "overlay", "method"):
        assert words[name] in text, name
    assert words["title"].removeprefix("## ") in text and words["relevance"] == page.input_value("#method input")
    assert wait(lambda: page.locator("#said").inner_text().strip()).startswith("读取 ")


def test_ten_at_once_each_get_their_own(visit, demo, digits):
    pages = [visit(demo.port) for _ in digits]
    for page in pages:
        page.wait_for_selector("#image input[type=file]", state="attached")
    for page, file in zip(pages, digits):
        upload(page, file)
    assert [label(page) for page in pages] == [expected[0]["label"] for expected in digits.values()]
    assert len({overlay(page) for page in pages}) == len(digits)


def test_what_visitors_sent_is_gone_when_the_demo_stops(visit, digits):
    folders = set(glob.glob(f"{tempfile.gettempdir()}/.mindvit-demo-*"))
    with Program("demo", *map(str, digits), *DIGITS, "--port", "0") as program:
        [folder] = set(glob.glob(f"{tempfile.gettempdir()}/.mindvit-demo-*")) - folders
        page = visit(program.port)
        page.locator("button:has(img)").nth(9).click()
        assert label(page) == "9" and any(pathlib.Path(folder).rglob("*.png"))
        started = time.monotonic()
        assert program.stop(signal.SIGTERM) == 143  # with a page that is open
        assert time.monotonic() - started < 10 and not pathlib.Path(folder).exists()


def test_the_page_of_the_server(visit, digits, tmp_path):
    (tmp_path / "notes.png").write_text("no image")
    with Program("serve", *DIGITS, "--port", "0") as program:
        page, files = visit(program.port, "/docs"), list(digits)
        page.set_input_files("#files", [files[1], tmp_path / "notes.png", files[2]])
        page.wait_for_selector(".card .row")
        assert [card.split("\n")[1] for card in page.locator(".card:has(.row)").all_inner_texts()] == ["1", "2"]
        assert "cannot read the image notes.png: not a JPEG" in page.locator(".card .error").inner_text()
        page.set_input_files("#files", [tmp_path / "notes.png"])
        assert wait(lambda: page.locator("#wrong").inner_text()).startswith("cannot read the image notes.png")
        page.click("summary:has-text('/predict')")
        assert "predictions[].probability" in page.locator("#operations").inner_text()
        page.set_input_files("#files", [files[3]] * 33)
        assert wait(lambda: "more than 32 images" in page.locator("#wrong").inner_text())
        drop(page, "body", files[4])
        wait(lambda: page.locator(".card").count() == 4)
