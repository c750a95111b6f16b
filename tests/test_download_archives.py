"""Archives that are broken or hostile: nothing outside the target, and nothing in it unless all is well."""

import gzip
import os
import random
import resource
import stat
import tarfile
import tracemalloc
import warnings
import zipfile

import pytest
from archives import make_tar, make_zip, tree

from mindvit import download, extract_archive


@pytest.mark.parametrize("mode", ["w", "w:gz", "w:bz2", "w:xz"])
def test_tar(tmp_path, mode):
    (tmp_path / "archive").write_bytes(make_tar({"./a/b.txt": b"b", "c": b"c" * 9999}, mode))
    assert tree(extract_archive(tmp_path / "archive", tmp_path / "out")) == {"a/b.txt": b"b", "c": b"c" * 9999}


def test_zip64_and_folders_named_twice(tmp_path):
    with zipfile.ZipFile(tmp_path / "archive", "w", zipfile.ZIP_DEFLATED) as archive, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # on names that come twice
        for _ in range(2):
            archive.writestr("a/", b"")
        with archive.open("a/b", "w", force_zip64=True) as member:
            member.write(b"b" * 9999)
    assert tree(extract_archive(tmp_path / "archive", tmp_path / "out")) == {"a/b": b"b" * 9999}


def test_permissions_are_left_out(tmp_path):
    for kind, archive in ("zip", make_zip({zip_info("a", stat.S_IFREG | 0o6777): b"x"})), ("tar", make_tar(
            {tar_info("a", mode=0o6777): b"x"})):
        (tmp_path / "archive").write_bytes(archive)
        assert stat.S_IMODE((extract_archive(tmp_path / "archive", tmp_path / kind) / "a").stat().st_mode) & 0o7111 == 0


def zip_info(name, mode):
    info = zipfile.ZipInfo(name)
    info.create_system, info.external_attr = 3, mode << 16
    return info


def tar_info(name, **fields):
    info = tarfile.TarInfo(name)
    for field, value in fields.items():
        setattr(info, field, value)
    return info


OUTSIDE = ["../evil", "a/../../evil", "/tmp/evil", "//tmp/evil", "..\\evil", "C:evil", "C:\\evil",
           "\\\\host\\share\\evil", "./../evil", "evil/.."]
HOSTILE = {
    **{f"zip {name}": make_zip({"good": b"", name: b"x"}) for name in OUTSIDE},
    **{f"tar {name}": make_tar({"good": b"", name: b"x"}) for name in OUTSIDE},
    "zip link": make_zip({"good": b"", zip_info("link", stat.S_IFLNK | 0o777): b"/etc"}),
    "zip device": make_zip({"good": b"", zip_info("link", stat.S_IFCHR | 0o777): b""}),
    "tar link": make_tar({"good": b"", "link": (tarfile.SYMTYPE, "/etc")}),
    "tar hard link": make_tar({"good": b"", "link": (tarfile.LNKTYPE, "../evil")}),
    "tar device": make_tar({"good": b"", "link": (tarfile.CHRTYPE, "")}),
    "tar fifo": make_tar({"good": b"", "link": (tarfile.FIFOTYPE, "")}),
    "tar pax": make_tar({"good": b"", tar_info("good2", pax_headers={"path": "../evil"}): b"x"}),
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_nothing_is_written_outside(tmp_path, kind):
    (tmp_path / "archive").write_bytes(HOSTILE[kind])
    with pytest.raises(ValueError, match="archive: its member '.*(evil.*|link)' (lies outside|is a link or a device)"):
        extract_archive(tmp_path / "archive", tmp_path / "in" / "out")
    assert set(tree(tmp_path)) == {"archive"} and not os.path.exists("/tmp/evil")


ONE_NAME = [("a", "a"), ("a", "./a"), ("a", "A"), ("d/a", "D/b"), ("a", "a/b"), ("d/a", "d"),
            ("caf\u00e9", "cafe\u0301")]
WRONG_NAMES = {"has a control character": ["a\nb", "a\x1b[2Jb", "a\x7f"], "has no name": [".", "./."],
               "has a name of more than 255 bytes": ["a" * 256, "\u732b" * 86, "/".join(["a" * 250] * 5)]}


@pytest.mark.parametrize("make", [make_zip, make_tar])
@pytest.mark.parametrize("names, reason", [
    *((names, "have one name") for names in ONE_NAME),
    *(((name,), reason) for reason, names in WRONG_NAMES.items() for name in names)])
@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_names_that_no_disk_keeps_apart(tmp_path, make, names, reason):
    (tmp_path / "archive").write_bytes(make([("good", b""), *((name, b"x") for name in names)]))
    with pytest.raises(ValueError, match=f"archive: its members? '.* {reason}"):
        extract_archive(tmp_path / "archive", tmp_path / "out")
    assert list((tmp_path / "out").iterdir()) == []


def test_a_name_with_a_nul(tmp_path):
    (tmp_path / "archive").write_bytes(make_tar({tar_info("a", pax_headers={"path": "a\0b"}): b"x"}))
    with pytest.raises(ValueError, match=r"'a\\x00b' has a control character"):
        extract_archive(tmp_path / "archive", tmp_path / "out")


def claimed(type, size, fill=b""):
    """A compressed tar archive whose only header says something else than what follows."""
    header = tarfile.TarInfo("a")
    header.type, header.size = type, size
    return gzip.compress(header.tobuf(tarfile.GNU_FORMAT) + fill + bytes(2 * tarfile.BLOCKSIZE))


SPARSE = {"GNU.sparse.size": "9000000000000", "GNU.sparse.numblocks": "1", "GNU.sparse.map": "0,1"}
BOMBS = {
    "zip": make_zip({"a": bytes(4_000_000), "b": b""}, zipfile.ZIP_DEFLATED),
    "zip of many": make_zip({f"{i}": bytes(900_000) for i in range(9)}, zipfile.ZIP_LZMA),
    **{mode: make_tar({"a": bytes(4_000_000), "b": b""}, mode) for mode in ("w:gz", "w:bz2", "w:xz")},
    "empty end": gzip.compress(make_tar({"a": b""}, "w") + bytes(4_000_000)),
    "sparse": make_tar({tar_info("a", pax_headers=SPARSE): b"x"}),
    "large": claimed(tarfile.REGTYPE, 9_000_000_000, bytes(4_000_000)),
    **{f"header {type}": claimed(type, 4_000_000, bytes(4_000_000))
       for type in (tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.GNUTYPE_LONGNAME)},
    **{f"negative {type}": claimed(type, -1024) for type in (tarfile.REGTYPE, tarfile.DIRTYPE, tarfile.XHDTYPE)},
    "negative pax": make_tar({tar_info("a", pax_headers={"size": "-2560"}): b"x", "b": b""}),
}


@pytest.mark.parametrize("kind", BOMBS)
def test_a_bomb_is_not_unpacked(tmp_path, monkeypatch, kind):
    monkeypatch.setattr(download, "HARMLESS", 1_000_000)
    monkeypatch.setattr(download, "RATIO", 100)
    monkeypatch.setattr(download, "LONGEST_HEADER", 100_000)
    (tmp_path / "archive").write_bytes(BOMBS[kind])
    tracemalloc.start()
    with pytest.raises(ValueError, match="it would unpack to|header of -?[0-9]+ bytes|has -[0-9]+ bytes"):
        extract_archive(tmp_path / "archive", tmp_path / "out")
    held = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert list((tmp_path / "out").iterdir()) == [] and held < (9_000_000 if kind == "w:xz" else 2_000_000)


@pytest.mark.parametrize("said", [10, 999_999])
def test_a_member_that_lies_about_its_size(tmp_path, said):
    content = make_zip({"a": b"x" * 5000}, zipfile.ZIP_DEFLATED)
    content = content.replace((5000).to_bytes(4, "little"), said.to_bytes(4, "little"))
    (tmp_path / "archive").write_bytes(content)
    with pytest.raises(ValueError, match="Bad CRC-32|has 5000 bytes instead of 999999"):
        extract_archive(tmp_path / "archive", tmp_path / "out")
    assert list((tmp_path / "out").iterdir()) == []


def test_encrypted_and_too_many_members(tmp_path, monkeypatch):
    content = bytearray(make_zip({"a": b"x"}))
    content[content.index(b"PK\3\4") + 6] = content[content.index(b"PK\1\2") + 8] = 1
    (tmp_path / "archive").write_bytes(content)
    with pytest.raises(ValueError, match="its member 'a' is encrypted"):
        extract_archive(tmp_path / "archive", tmp_path / "out")
    monkeypatch.setattr(download, "MEMBERS", 2)
    for make in (make_zip, make_tar):
        (tmp_path / "archive").write_bytes(make({"a": b"", "b": b"", "c": b""}))
        with pytest.raises(ValueError, match="it has more than 2 members"):
            extract_archive(tmp_path / "archive", tmp_path / "out")
    assert list((tmp_path / "out").iterdir()) == []


def test_a_full_disk_is_named(tmp_path, monkeypatch):
    (tmp_path / "archive").write_bytes(make_zip({"a": bytes(400_000), "b": bytes(400_000)}))
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, before[1]))
    try:
        with pytest.raises(OSError, match="cannot unpack .*archive into .*out: File too large"):
            extract_archive(tmp_path / "archive", tmp_path / "out")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    usage = download.shutil.disk_usage(tmp_path)
    monkeypatch.setattr(download.shutil, "disk_usage", lambda folder: usage._replace(free=500_000))
    with pytest.raises(OSError, match="cannot unpack .* into .*out: it needs 0.8 MB, and the disk has 0.5 MB free"):
        extract_archive(tmp_path / "archive", tmp_path / "out")
    assert list((tmp_path / "out").iterdir()) == []


TAR = make_tar({"a": b"a" * 600, "b": b"b" * 600}, "w")  # for each a header and two blocks
GZ = gzip.compress(TAR, 0)


@pytest.mark.parametrize("content, reason", [
    (TAR[:3 * 512], "its end is missing"), (TAR[:6 * 512], "its end is missing"), (TAR[:5 * 512], "unexpected end"),
    (TAR[:3 * 512] + b"\1" + TAR[3 * 512 + 1:], "its end is missing"),
    (gzip.compress(TAR[:3 * 512]), "its end is missing"), (GZ[:-8], "end-of-stream"), (GZ[:-5], "end-of-stream"),
    (GZ.replace(b"bbbb", b"bbba", 1), "CRC check failed")],
    ids=["one member", "both", "in one", "header", "gz", "no trailer", "half a trailer", "changed"])
def test_a_tar_archive_that_is_cut(tmp_path, content, reason):
    (tmp_path / "archive").write_bytes(content)
    with pytest.raises(ValueError, match=f"cannot unpack .*archive: .*{reason}"):
        extract_archive(tmp_path / "archive", tmp_path / "out")
    assert list((tmp_path / "out").iterdir()) == []


def test_whatever_bytes_come_nothing_is_outside_and_all_or_nothing_inside(tmp_path):
    """Archives with bytes changed, cut out and put in at random."""
    members, draw = {"d/a": b"abc" * 99, "d/b": b"", "c": os.urandom(700)}, random.Random(0)
    whole = [make_zip(members), make_zip(members, zipfile.ZIP_DEFLATED), make_tar(members, "w"), make_tar(members)]
    for number in range(200):
        content = bytearray(whole[number % len(whole)])
        for _ in range(draw.randint(1, 3)):
            start = draw.randrange(len(content))
            content[start:start + draw.choice([0, 1, 1, 1, 50])] = draw.randbytes(draw.choice([0, 1, 1, 1, 50]))
        (tmp_path / "archive").write_bytes(content)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                extract_archive(tmp_path / "archive", tmp_path / "in" / "out")
            except ValueError:
                assert list((tmp_path / "in" / "out").iterdir()) == []
        assert sorted(os.listdir(tmp_path)) == ["archive", "in"] and os.listdir(tmp_path / "in") == ["out"]
        download.shutil.rmtree(tmp_path / "in")


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
