"""The page of an evaluation: its numbers are other libraries', it is whole in one file, and nothing in it runs."""

import base64
import collections
import hashlib
import html.parser
import io
import os
import pathlib
import re
import shutil
import time

import mindspore as ms
import numpy as np
import pytest
import reference
from PIL import Image
from scipy.special import softmax
from sklearn.metrics import log_loss, precision_recall_fscore_support
from tiny import NAMED

import mindvit
from mindvit.cli import main
from mindvit.inference.report import save_report
from mindvit.inference.scores import calibration, wilson
from mindvit.preprocessing import IMAGENET_MEAN, IMAGENET_STD
from mindvit.training.metrics import Confusion, PerImage

VOID = {"meta", "img", "br", "path", "rect"}
EVIL = ["<script>alert(1)</script>", "\"><img src=x onerror=alert(1)>", "' onload='alert(1)", "$title ${script}",
        "&lt;", "a\u202egnp.exe", "two\nlines", "\udce9 no UTF-8", "猫 😀", "</style></title></pre>",
        "javascript:alert(1)"]


class Page(html.parser.HTMLParser):
    """What a browser makes of a page: tags, attributes, the text of cells, the titles of headings."""

    def __init__(self, file):
        super().__init__()
        self.source = pathlib.Path(file).read_text(encoding="utf-8")
        self.tags, self.attributes, self.open, self.tables, self.texts = collections.Counter(), [], [], [], {}
        self.feed(self.source)
        assert not self.open

    def handle_starttag(self, tag, attributes):
        self.tags[tag] += 1
        self.attributes += [(tag, name, value) for name, value in attributes]
        if tag not in VOID:
            self.open.append(tag)
        if tag == "table":
            self.tables.append([])
        elif tag == "tr":
            self.tables[-1].append([])
        elif tag in ("td", "th"):
            self.tables[-1][-1].append("")

    def handle_endtag(self, tag):
        if tag not in VOID:
            assert self.open.pop() == tag

    def handle_data(self, data):
        if {"td", "th"} & {*self.open}:
            self.tables[-1][-1][-1] += data
        else:
            self.texts.setdefault(self.open[-1] if self.open else "", []).append(data)


class Images:
    """As much of an ImageDataset as a page needs."""

    def __init__(self, classes, names, side=48):
        self.classes, self.names, self.skipped, self.side = classes, names, {}, side

    def name(self, index):
        return self.names[index]

    def image(self, index):
        return Image.fromarray(np.random.default_rng(index).integers(0, 255, (self.side, self.side, 3), np.uint8))


def outcome(labels, logits):
    """What PerImage and Confusion make of logits, and the results by name."""
    rows, confusion = PerImage(len(labels), range(len(labels))), Confusion(logits.shape[1])
    for i in range(0, len(labels), 1000):
        for metric in (rows, confusion):
            metric.update(ms.Tensor(logits[i:i + 1000]), ms.Tensor(labels[i:i + 1000]))
    read = labels >= 0
    return {"results": {"Top_1_Accuracy": float((logits.argmax(1) == labels)[read].mean()), "val_loss": 0.5},
            "confusion": confusion.eval(), "rows": rows.eval()}


def random_outcome(count, classes, seed=0):
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, classes, count).astype(np.int32)
    logits = rng.normal(0, 1, (count, classes)).astype(np.float32)
    logits[np.arange(count), labels] += 3
    return labels, logits


ABOUT = {"title": "a.ckpt", "images": "images", "checkpoint": "a.ckpt", "settings": "a: 1\nb: 2"}


def test_what_is_kept_of_each_image():
    """In batches and shares of workers as they come; zeros elsewhere, so that workers' arrays add up."""
    labels, logits = random_outcome(23, 7)
    labels[4] = -1
    metrics = [PerImage(23, list(range(worker, 23, 3))) for worker in range(3)]
    for worker, metric in enumerate(metrics):
        mine = np.arange(worker, 23, 3)
        for batch in (mine[:5], mine[5:]):
            metric.update(ms.Tensor(logits[batch]), ms.Tensor(labels[batch]))
    rows = {name: sum(metric.eval()[name] for metric in metrics) for name in metrics[0].eval()}
    shares = softmax(logits.astype(float), 1)
    assert rows["label"].tolist() == labels.tolist() and rows["predicted"].tolist() == logits.argmax(1).tolist()
    np.testing.assert_allclose(rows["confidence"], shares.max(1))
    np.testing.assert_allclose(rows["truth"][labels >= 0], shares[np.arange(23), labels][labels >= 0])
    metrics[0].clear()
    assert not any(values.any() for values in metrics[0].eval().values())


def pixels_of(files):
    pixels = np.stack([np.asarray(Image.open(file).convert("RGB")) for file in files])
    return ((pixels / 255 - IMAGENET_MEAN) / IMAGENET_STD).transpose(0, 3, 1, 2).astype(np.float32)


def test_the_numbers_of_a_real_page(digit_run, digit_folder, capsys):
    shutil.copytree(digit_folder / "val", "data/val")
    broken = sorted(pathlib.Path("data/val").glob("*/*.png"))[3]
    broken.write_bytes(b"no picture")
    checkpoint = digit_run / "best.ckpt"
    assert main(["eval", "--data.root", "data", *NAMED, "--batch_size", "16", "--checkpoint", str(checkpoint),
                 "--data.max_skipped", "0.1", "--report", "new/page", "--device_target", "CPU"]) == 0
    assert "new/page/report.html: open it in a browser" in capsys.readouterr().out
    assert os.listdir("new/page") == ["report.html"]
    page = Page("new/page/report.html")

    weights = {name: value.asnumpy() for name, value in ms.load_checkpoint(str(checkpoint)).items()}
    files = [file for file in sorted(pathlib.Path("data/val").glob("*/*.png")) if file != broken]
    labels = np.array([int(file.parent.name[-1]) for file in files])
    logits = reference.vit(weights, pixels_of(files), patch=(16, 16), heads=3)
    shares, predicted = softmax(logits, 1), logits.argmax(1)
    right = predicted == labels
    low, high = wilson(right.sum(), 39)
    text = html.unescape(re.sub("<[^>]+>", "", page.source))
    assert f"{right.mean():.2%}" in text and f"95% interval {low:.2%} to {high:.2%}" in text
    assert f"{log_loss(labels, shares, labels=range(10)):.4f}" in text
    assert f"{calibration(shares.max(1), right)[1]:.2%}" in text
    assert "1 left out" in text and f"{broken}: " in text
    assert hashlib.sha256(checkpoint.read_bytes()).hexdigest() in text
    matrix, classes = page.tables
    used = sorted({*labels, *predicted})
    assert [row[0] for row in matrix[1:]] == [f"class {i}" for i in used] == matrix[0][1:]
    assert [[int(cell or 0) for cell in row[1:]] for row in matrix[1:]] == [
        [((labels == i) & (predicted == j)).sum() for j in used] for i in used]
    precision, recall, f1, images = precision_recall_fscore_support(labels, predicted, labels=used,
                                                                    zero_division=np.nan)
    expected = {f"class {i}": [str(n), *("–" if np.isnan(value) else f"{value:.3f}" for value in values)]
                for i, n, *values in zip(used, images, recall, precision, f1)}
    assert {row[0]: row[1:5] for row in classes[1:]} == expected
    order = [float(row[4]) for row in classes[1:] if row[4] != "–"]
    assert order == sorted(order)
    worst = [files[i] for i in sorted(np.flatnonzero(~right), key=lambda i: -shares[i].max())[:24]]
    assert re.findall(r"<small>(data/val/.*?)</small></figcaption>", page.source) == [str(file) for file in worst]
    sources = [value for tag, name, value in page.attributes if (tag, name) == ("img", "src")]
    image, heat = (Image.open(io.BytesIO(base64.b64decode(source.split(",")[1]))) for source in sources[:2])
    assert (np.asarray(image) == np.asarray(Image.open(worst[0]).convert("RGB"))).all()
    network = mindvit.from_checkpoint(checkpoint)
    evidence = mindvit.Explainer(network)(pixels_of(worst[:1])[0], int(predicted[files.index(worst[0])]))
    expected = mindvit.overlay(Image.open(worst[0]), mindvit.saliency_map(evidence, "relevance")).resize((200, 200))
    assert len(sources) == 2 * len(worst) and heat.size == (200, 200)
    assert np.abs(np.asarray(heat, float) - np.asarray(expected, float)).mean() < 3  # but for JPEG's losses


def check_harmless(page, tags=()):
    """Nothing is fetched or run but the one script whose hash the policy has."""
    assert {*page.tags} <= {
        "html", "head", "meta", "title", "style", "body", "h1", "h2", "p", "div", "small", "b", "svg", "path", "g",
        "text", "rect", "table", "thead", "tbody", "tr", "th", "td", "span", "button", "figure", "figcaption", "img",
        "bdi", "br", "dl", "dt", "dd", "details", "summary", "pre", "ul", "li", "script"}
    assert page.tags["script"] == page.tags["title"] - page.tags["g"] == page.tags["style"] == 1
    assert not [name for _, name, _ in page.attributes if name.startswith("on") or name in ("href", "srcset")]
    assert all(value.startswith("data:image/") for _, name, value in page.attributes if name == "src")
    assert "http:" not in page.source and "https:" not in page.source and "url(" not in page.source
    script, = page.texts["script"]
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    policy = next(value for _, name, value in page.attributes if name == "content" and "default-src" in value)
    assert policy == ("default-src 'none'; img-src data:; style-src 'unsafe-inline'; "
                      f"script-src 'sha256-{digest}'")


@pytest.mark.parametrize("many", [False, True], ids=["matrix", "pairs"])
def test_names_of_an_attacker_are_only_names(many):
    classes = EVIL + [f"class {i}" for i in range(40 * many)]
    labels, logits = random_outcome(400, len(classes))
    images = Images(classes, [f"{EVIL[i % len(EVIL)]}/{i}.png" for i in range(400)])
    labels[7] = -1
    images.skipped[7] = EVIL[0]
    save_report("report.html", images, **outcome(labels, logits),
                about={term: EVIL[i % len(EVIL)] * 2 for i, term in enumerate((*ABOUT, *EVIL))})
    page = Page("report.html")
    check_harmless(page)
    seen = {name.replace("\u202e", "\\u202e").replace("\n", "\\n").replace("\udce9", "\\udce9") for name in classes}
    assert {row[0] for row in page.tables[-1][1:]} == seen
    if not many:
        assert {*page.tables[0][0][1:]} == {row[0] for row in page.tables[0][1:]} == seen


def test_a_thousand_classes_and_fifty_thousand_images():
    labels, logits = random_outcome(50_000, 1000)
    found = outcome(labels, logits)
    found["results"]["Top_5_Accuracy"] = 0.9
    images = Images([f"a class of ImageNet, number {i}, with names, many names" for i in range(1000)],
                    [f"dataset/val/n{i:08}/ILSVRC2012_val_{i:08}.JPEG" for i in range(50_000)], 500)
    start = time.process_time()
    save_report("report.html", images, **found, about=ABOUT)
    assert time.process_time() - start < 20 and 100_000 < os.path.getsize("report.html") < 3e6
    page = Page("report.html")
    check_harmless(page)
    pairs, classes = page.tables
    counts = found["confusion"] * (1 - np.eye(1000, dtype=int))
    assert [int(row[2]) for row in pairs[1:]] == sorted(counts.ravel(), reverse=True)[:30] and len(classes) == 1001
    assert page.tags["figure"] == 24 and "image/jpeg" in page.source


@pytest.mark.parametrize("case", ["no mistake", "one image", "a class absent"])
def test_few_images_or_mistakes(case):
    labels, logits = {"no mistake": (np.array([0, 1, 1]), np.float32([[9, 0], [0, 9], [0, 9]])),
                      "one image": (np.array([1]), np.float32([[9, 0]])),
                      "a class absent": (np.array([0, 0, 2]), np.float32([[9, 0, 0], [0, 9, 0], [0, 0, 9]]))}[case]
    images = Images(["猫", "狗", "鸟"][:logits.shape[1]], list("abc"))
    save_report("report.html", images, **outcome(labels.astype(np.int32), logits), about=ABOUT)
    page = Page("report.html")
    check_harmless(page)
    assert "nan" not in re.sub("<script>.*|data:[^\"]*", "", page.source, flags=re.DOTALL)
    assert ("There is none." in page.source) == (case == "no mistake")
    if case == "a class absent":
        assert [row[:5] for row in page.tables[1][1:] if row[0] == "狗"] == [["狗", "0", "–", "0.000", "0.000"]]


def test_names_from_right_to_left_turn_no_number_around():
    images = Images(["\u05db\u05dc\u05d1", "\u0642\u0637\u0629"], ["0.png"])  # Hebrew and Arabic
    save_report("report.html", images, **outcome(np.array([1], np.int32), np.float32([[9, 0]])), about=ABOUT)
    page = Page("report.html")
    check_harmless(page)
    dog, cat = images.classes
    assert f"<b>taken for <bdi>{dog}</bdi>, 100.0%</b><br>is <bdi>{cat}</bdi>, 0.0%" in page.source
    assert f'<bdi>{dog}</bdi> <span class="soft">100.0%</span>' in page.source


def test_a_picture_that_is_gone_leaves_its_place():
    def explain(image, target):
        raise RuntimeError("<b>out of memory</b>\nMindSpore's call stack")

    images = Images(["a", "b"], ["gone.png"])
    images.image = lambda index: pathlib.Path("gone.png")
    save_report("report.html", images, **outcome(np.array([1], np.int32), np.float32([[9, 0]])), about=ABOUT,
                explain=explain)
    page = Page("report.html")
    check_harmless(page)
    assert "No such file" in page.source and "&lt;b&gt;out of memory&lt;/b&gt;</span>" in page.source


def test_in_a_browser():
    """Chromium runs nothing of an attacker's names, fetches nothing, follows the system's colours and sorts."""
    playwright = pytest.importorskip("playwright.sync_api")
    if not (chromium := shutil.which("chromium")):
        pytest.skip("there is no chromium")
    names = EVIL + [f"class {i}" for i in range(30)]
    labels, logits = random_outcome(600, len(names))
    labels[labels == 20] = 21
    save_report("report.html", Images(names, [f"{names[i % 12]}.png" for i in range(600)]), **outcome(labels, logits),
                about=dict.fromkeys((*ABOUT, *EVIL), EVIL[1]))
    said = []
    with playwright.sync_playwright() as started:
        browser = started.chromium.launch(executable_path=chromium, args=["--no-sandbox", "--disable-gpu"])
        try:
            shades = []
            for scheme, width in (("light", 1280), ("dark", 390)):
                page = browser.new_page(color_scheme=scheme, viewport={"width": width, "height": 900})
                page.on("console", lambda message: said.append(message.text))
                page.on("dialog", lambda dialog: said.append(dialog.message) or dialog.dismiss())
                page.on("request", lambda request: said.append(request.url))
                page.goto(f"file://{os.path.abspath('report.html')}")
                shades.append(page.evaluate("getComputedStyle(document.body).backgroundColor"))
                assert page.evaluate("document.documentElement.scrollWidth") == width  # no scrolling sideways
                assert page.evaluate("[...document.images].every(image => image.naturalWidth)")
            table = page.locator("table").last

            def column(number):
                return table.locator(f"tbody td:nth-child({number + 1})").all_text_contents()

            for number, head in enumerate(("class", "images", "recall", "precision", "F1")):
                for turn in ("ascending", "descending"):
                    table.get_by_role("button", name=head, exact=True).click()
                    assert table.locator(f"th[aria-sort={turn}]").inner_text().startswith(head)
                    cells = [cell for cell in column(number) if cell != "–"]
                    expected = sorted(map(float, cells), reverse=turn == "descending") if number else None
                    assert not number or list(map(float, cells)) == expected
                    assert "–" not in column(number)[:-1]  # what nothing can be said of is last
        finally:
            browser.close()
    assert shades == ["rgb(255, 255, 255)", "rgb(20, 24, 29)"]
    assert not [text for text in said if not text.startswith(("file:", "data:"))] and said
