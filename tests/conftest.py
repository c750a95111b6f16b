import pytest


@pytest.fixture(autouse=True)
def empty_folder(tmp_path_factory, monkeypatch):
    """Every test works in an empty folder: what it, or MindSpore, leaves behind is not in the way."""
    monkeypatch.chdir(tmp_path_factory.mktemp("cwd"))
