"""The tables of the READMEs are what their records say."""

import importlib
import pathlib
import re
import statistics
import sys

import pytest

from mindvit.exporting.backends import FASTER

sys.path.append(str(pathlib.Path(__file__).parents[1]))  # benchmarks/ is not part of the installed package
tables = importlib.import_module("benchmarks.tables")


def cells(page, words):
    """The numbers behind a row's words in a page's table."""
    content = (tables.measure.ROOT / page).read_text(encoding="utf-8")
    row = re.search(rf"^\| {re.escape(words)} \|(.*)\|$", content, re.MULTILINE)[1]
    return [float(cell) if cell.strip() else None for cell in row.split("|")]


@pytest.mark.parametrize("page", tables.PAGES)
def test_a_page_has_the_table_of_the_records(page):
    content = (tables.measure.ROOT / page).read_text(encoding="utf-8")
    assert tables.replaced(content, tables.read_records()) == content
    assert tables.replaced(re.sub("(<!-- [a-z]+ -->\n)", "\\1old", content), tables.read_records()) == content


def test_numbers_are_medians_of_the_rounds():
    comparison = next(row for row in tables.read_records()["throughput"]["results"]
                      if row["step"] == "forward" and row["batch"] == 8)
    expected = [8 / statistics.median(comparison["networks"][name]["rounds"]) for name in tables.NETWORKS]
    assert cells("benchmarks/README.md", "forward, batch 8, images/s")[:3] == pytest.approx(expected, rel=0.01)
    mine, timm, tutorial, *ratios = cells("benchmarks/README.md", "forward, batch 8, images/s")
    assert ratios == pytest.approx([mine / timm, mine / tutorial], rel=0.02)
    for row in ("import, s", "one picture predicted, whole process, s"):
        mine, other, _, ratio, _ = cells("benchmarks/README.md", row)
        assert ratio == pytest.approx(other / mine, rel=0.02)  # less is better: the peer's share


@pytest.mark.parametrize("page", ["README.md", "README_CN.md"])
def test_a_readme_has_the_accuracies_of_the_record(page):
    content = (tables.measure.ROOT / page).read_text(encoding="utf-8")
    results = tables.read_records()["learning"]["results"]
    for name in ("quickstart", "mnist"):
        for library in tables.LIBRARIES:
            found = tables.last_epochs(results[name], library)
            assert f"{statistics.mean(found):.2f} ± {statistics.stdev(found):.2f}%" in content, (name, library)


def test_records_name_no_path_of_the_machine_they_were_made_on():
    for path in tables.RESULTS.glob("*.json"):
        assert not re.search(r'"[^"]*/(?:work|home|root|tmp|usr)/', path.read_text(encoding="utf-8")), path


def test_the_backends_that_eval_calls_faster_were_measured_so():
    first, eighth = (row["networks"] for row in tables.read_records()["backends"]["results"])
    ratios = [eighth["mindvit"]["seconds"] / eighth[name]["seconds"] for name in ("openvino", "openvino_bfloat16")]
    assert FASTER == (f"with --backend openvino a ViT-B/16 ran {ratios[0]:.1f} times as fast on a CPU, with "
                      f"--backend_precision bfloat16 too {ratios[1]:.1f} times (docs/export.md)")
    for page in ("docs/export.md", "benchmarks/README.md"):
        assert cells(page, "openvino")[:4] == pytest.approx(
            [1 / first["openvino"]["seconds"], 8 / eighth["openvino"]["seconds"],
             first["mindvit"]["seconds"] / first["openvino"]["seconds"], ratios[0]], rel=0.01)
        content = (tables.measure.ROOT / page).read_text(encoding="utf-8")
        changed = tables.read_records()["quantisation"]["results"]["accuracy"]["MNIST"]["onnxruntime, int8 static"]
        assert f" | {100 * changed['top_1']:.2f} ({changed['changed']}) | " in content
