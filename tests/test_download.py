"""Fetching from a real server on this machine, and archives that are broken or hostile."""
import hashlib
import http.server
import io
import os
import stat
import tarfile
import threading
import zipfile

import pytest

from mindvit import DownLoad, DownloadError, download, download_file, download_imagenet_subset, extract_archive


@pytest.fixture
def server():
    """A server with `files` (path: content) and `requests`; a path with "short" closes before the content's end."""
    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            requests.append(self.path)
            path = self.path.partition("?")[0]
            if path not in files:
                self.send_error(404)
                return
            content = files[path]
            self.send_response(200)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content[:len(content) // 2] if "short" in self.path else content)

        def log_message(self, *args):
            pass

    files, requests = {}, []
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.files, server.requests, server.url = files, requests, f"http://127.0.0.1:{server.server_port}"
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


def make_zip(members):
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return stream.getvalue()


def make_tar(members, mode="w:gz"):
    """Members are name: bytes, or name: (type, link name)."""
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode=mode) as archive:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            if isinstance(content, tuple):
                info.type, info.linkname = content
                archive.addfile(info)
            else:
                info.size = len(content)
                archive.addfile(info, io.BytesIO(content))
    return stream.getvalue()


def tree(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_file_is_fetched_once(server, tmp_path):
    content = server.files["/weights.ckpt"] = os.urandom(300_000)
    known = {"size": len(content), "sha256": hashlib.sha256(content).hexdigest()}
    for _ in range(2):
        download_file(f"{server.url}/weights.ckpt", tmp_path / "a" / "w.ckpt", **known)
        seen = len(server.requests)
        assert tree(tmp_path) == {"a/w.ckpt": content}
    assert len(server.requests) == seen
    (tmp_path / "a" / "w.ckpt").write_bytes(content[:-1])
    with pytest.raises(DownloadError, match="w.ckpt is there, but it has 299999 bytes instead of 300000"):
        download_file(f"{server.url}/weights.ckpt", tmp_path / "a" / "w.ckpt", **known)
    assert tree(tmp_path) == {"a/w.ckpt": content[:-1]}


@pytest.mark.parametrize("path, known, reason", [
    ("absent.bin", {}, "404"), ("short.bin", {}, "size|complete|IncompleteRead"),
    ("whole.bin", {"size": 7}, "9 bytes instead of 7"), ("whole.bin", {"sha256": "ab" * 32}, "SHA-256 is")])
def test_failed_transfer_leaves_nothing(server, tmp_path, path, known, reason):
    server.files.update({"/short.bin": b"123456789", "/whole.bin": b"123456789"})
    with pytest.raises(OSError, match=f"cannot fetch {server.url}/{path}: .*({reason}).* put it at .*here.bin"):
        download_file(f"{server.url}/{path}", tmp_path / "here.bin", **known)
    assert list(tmp_path.iterdir()) == []


def test_no_network_names_the_way_out(server, tmp_path, monkeypatch):
    server.shutdown()
    server.server_close()
    monkeypatch.setattr(download, "IMAGENET_SUBSET_URL", f"{server.url}/subset.zip")
    monkeypatch.setattr(download, "OLDER_SUBSET_URL", f"{server.url}/older.zip")
    with pytest.raises(DownloadError, match="cannot fetch .*/subset.zip: .*refused.*; nor .*/older.zip: .*refused.*; "
                                            f"fetch it .*put it at {tmp_path}/subset.zip. .mindvit quickstart"):
        download_imagenet_subset(tmp_path / "dataset")
    assert list(tmp_path.iterdir()) == []


SUBSET = {f"{split}/n01440764/a.JPEG": split.encode() for split in ("train", "val", "infer")}
SUBSET["ILSVRC2012_devkit_t12.tar.gz"] = b"kit"


@pytest.mark.parametrize("top", ["dataset/", "other name/inner/", ""])
def test_imagenet_subset(server, tmp_path, monkeypatch, top):
    mac = {"__MACOSX/dataset/train/._a": b"", "__MACOSX/dataset/val/._a": b""}
    server.files["/subset.zip"] = make_zip({**mac, **{top + name: content for name, content in SUBSET.items()}})
    monkeypatch.setattr(download, "IMAGENET_SUBSET_URL", f"{server.url}/subset.zip")
    root = download_imagenet_subset(tmp_path / "pictures")
    assert tree(root) == SUBSET
    assert sorted(path.name for path in tmp_path.iterdir()) == ["pictures", "subset.zip"]
    seen = len(server.requests)
    assert download_imagenet_subset(root) == root and len(server.requests) == seen
    (tmp_path / "mine").mkdir()
    with pytest.raises(FileExistsError, match="mine is there but has no folder train"):
        download_imagenet_subset(tmp_path / "mine")


def test_the_older_address_of_the_subset(server, tmp_path, monkeypatch):
    monkeypatch.setattr(download, "IMAGENET_SUBSET_URL", f"{server.url}/subset.zip")
    monkeypatch.setattr(download, "OLDER_SUBSET_URL", f"{server.url}/short/vit_dataset.zip")
    server.files["/short/vit_dataset.zip"] = make_zip({f"dataset/{name}": content for name, content in SUBSET.items()})
    with pytest.raises(DownloadError, match="subset.zip: .*404.*; nor .*vit_dataset.zip: .*; fetch it by other"):
        download_imagenet_subset(tmp_path / "pictures")
    assert list(tmp_path.iterdir()) == []
    monkeypatch.setattr(download, "OLDER_SUBSET_URL", f"{server.url}/vit_dataset.zip")
    server.files["/vit_dataset.zip"] = server.files["/short/vit_dataset.zip"]
    assert tree(download_imagenet_subset(tmp_path / "pictures")) == SUBSET
    assert sorted(path.name for path in tmp_path.iterdir()) == ["pictures", "vit_dataset.zip"]
    server.files["/subset.zip"], seen = make_zip({"train/a": b"", "val/a": b""}), len(server.requests)
    assert tree(download_imagenet_subset(tmp_path / "again")) == SUBSET and len(server.requests) == seen


def test_suite_download(server, tmp_path):
    server.files["/data/pack.zip"] = make_zip({"top/a.txt": b"a", "top/b/c.txt": b"c"})
    for _ in range(2):
        DownLoad().download_and_extract_archive(f"{server.url}/data/pack.zip?x=1", str(tmp_path))
    assert {name for name in tree(tmp_path)} == {"pack.zip", "top/a.txt", "top/b/c.txt"}
    DownLoad().download_and_extract_archive(f"{server.url}/data/pack.zip", tmp_path / "d", tmp_path / "e", "p.zip")
    assert {name for name in tree(tmp_path) if name[0] in "de"} == {"d/p.zip", "e/top/a.txt", "e/top/b/c.txt"}


@pytest.mark.parametrize("mode", ["w", "w:gz", "w:bz2", "w:xz"])
def test_tar(tmp_path, mode):
    (tmp_path / "archive").write_bytes(make_tar({"./a/b.txt": b"b", "c": b"c" * 9999}, mode))
    assert tree(extract_archive(tmp_path / "archive", tmp_path / "out")) == {"a/b.txt": b"b", "c": b"c" * 9999}


def zip_link():
    info = zipfile.ZipInfo("link")
    info.create_system, info.external_attr = 3, (stat.S_IFLNK | 0o777) << 16
    return {info: b"/etc"}


HOSTILE = {
    "zip ..": make_zip({"good": b"", "a/../../evil": b"x"}), "zip absolute": make_zip({"good": b"", "/tmp/evil": b"x"}),
    "zip backslash": make_zip({"good": b"", "..\\evil": b"x"}), "zip drive": make_zip({"good": b"", "C:evil": b"x"}),
    "zip link": make_zip({"good": b"", **zip_link()}),
    "tar ..": make_tar({"good": b"", "../evil": b"x"}), "tar absolute": make_tar({"good": b"", "/tmp/evil": b"x"}),
    "tar link": make_tar({"good": b"", "link": (tarfile.SYMTYPE, "/etc")}),
    "tar hard link": make_tar({"good": b"", "link": (tarfile.LNKTYPE, "../evil")}),
    "tar device": make_tar({"good": b"", "link": (tarfile.CHRTYPE, "")}),
    "tar fifo": make_tar({"good": b"", "link": (tarfile.FIFOTYPE, "")}),
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_nothing_is_written_outside(tmp_path, kind):
    (tmp_path / "archive").write_bytes(HOSTILE[kind])
    with pytest.raises(ValueError, match="archive: its member '.*(evil|link)'"):
        extract_archive(tmp_path / "archive", tmp_path / "in" / "out")
    assert set(tree(tmp_path)) == {"archive"} and not os.path.exists("/tmp/evil")


@pytest.mark.parametrize("content", [make_zip({"a": b"x" * 5000})[:-40], make_tar({"a": os.urandom(9999)})[:-5000],
                                     make_tar({"a": os.urandom(9999)}, "w:bz2")[:-5000], b"", b"<html>not found</html>",
                                     make_zip({"a": b"x" * 5000}).replace(b"xxxx", b"xxxy", 1)])
def test_damaged_archive_leaves_nothing(tmp_path, content):
    (tmp_path / "archive").write_bytes(content)
    with pytest.raises(ValueError, match="cannot unpack .*archive: .+fetch it again"):
        extract_archive(tmp_path / "archive", tmp_path / "out")
    assert list((tmp_path / "out").iterdir()) == []


def test_existing_files_are_kept(tmp_path):
    archive, out = tmp_path / "archive", tmp_path / "out"
    archive.write_bytes(make_zip({"d/a": b"a", "d/b": b"b", "e": b"e"}))
    (out / "d").mkdir(parents=True)
    (out / "d" / "mine").write_bytes(b"mine")
    (out / "d" / "b").write_bytes(b"other")
    with pytest.raises(FileExistsError, match="out/d/b is there with other content"):
        extract_archive(archive, out)
    assert tree(out) == {"d/mine": b"mine", "d/b": b"other"}
    (out / "d" / "b").write_bytes(b"b")
    assert tree(extract_archive(archive, out)) == {"d/mine": b"mine", "d/a": b"a", "d/b": b"b", "e": b"e"}
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "linked").mkdir()
    (tmp_path / "linked" / "d").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(FileExistsError, match="leads outside"):
        extract_archive(archive, tmp_path / "linked")
    assert list((tmp_path / "elsewhere").iterdir()) == []
