"""The quickstart."""

import json
import pathlib

import pytest
from PIL import Image

from mindvit import quickstart
from mindvit.cli import main


@pytest.mark.long
def test_quickstart_reaches_its_figure():
    assert main(["quickstart", "--out", "quick"]) == 0
    results = json.loads(pathlib.Path("quick/metrics.json").read_text())
    assert results["Top_1_Accuracy"] >= 0.975 and results["images"] == 360
    records = json.loads(pathlib.Path("quick/predictions.json").read_text())
    right = [record["predictions"][0]["label"] == pathlib.Path(record["path"]).parent.name for record in records]
    assert len(right) == 10 and sum(right) >= 9
    assert all(Image.open(record["annotated"]).size == (320, 320) for record in records)


@pytest.mark.parametrize("name", ["metrics.csv", "best.ckpt"])
def test_a_folder_with_a_run_is_refused_before_the_digits_are_written(name, tmp_path):
    (tmp_path / name).write_text("")
    with pytest.raises(FileExistsError, match=f"already holds a run .{name}"):
        quickstart(out=str(tmp_path))
    assert [file.name for file in tmp_path.iterdir()] == [name]
