"""What is taken from a folder or an archive, and what is named and left alone."""

from __future__ import annotations

import os
import socket
import stat
import struct
import tempfile
import time
import zipfile
from pathlib import Path

import pytest
from gan.errors import BadData
from gan.source import SourceFile, list_source

CSV = (".csv",)


def names(listing):
    return [file.name for file in listing.files]


def test_a_folder_is_walked_in_one_order(tmp_path):
    for name in ("b/2.csv", "b/10.csv", "a.csv", "B.CSV", "c/notes.txt", ".hidden.csv", ".git/x.csv"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(name)
    listing = list_source(tmp_path, CSV)
    assert names(listing) == ["B.CSV", "a.csv", "b/10.csv", "b/2.csv"]
    assert (listing.other, listing.skipped) == (1, {})
    assert [file.data().decode() for file in listing.files] == names(listing)
    assert [file.folder for file in listing.files] == ["", "", "b", "b"]


@pytest.mark.rule("I8")
def test_what_is_not_there_or_no_data_is_named(tmp_path):
    with pytest.raises(BadData, match="does not exist"):
        list_source(tmp_path / "none", CSV)
    (tmp_path / "a.txt").write_text("")
    with pytest.raises(BadData, match="none of the known extensions"):
        list_source(tmp_path / "a.txt", CSV)


@pytest.mark.rule("I11")
def test_pipes_sockets_devices_and_circles_are_named_and_do_not_hang(tmp_path):
    (tmp_path / "good.csv").write_text("1,2\n")
    os.mkfifo(tmp_path / "pipe.csv")
    (tmp_path / "zero.csv").symlink_to("/dev/zero")
    (tmp_path / "circle.csv").symlink_to("circle.csv")
    (tmp_path / "gone.csv").symlink_to("nowhere")
    (tmp_path / "again").symlink_to(tmp_path)
    (tmp_path / "folder.csv").mkdir()
    server = socket.socket(socket.AF_UNIX)
    try:
        server.bind(str(tmp_path / "s.csv"))
        start = time.monotonic()
        listing = list_source(tmp_path, CSV)
    finally:
        server.close()
    assert time.monotonic() - start < 60
    assert names(listing) == ["good.csv"]
    assert listing.skipped.keys() == {"pipe.csv", "zero.csv", "circle.csv", "gone.csv", "s.csv"}
    assert listing.skipped["zero.csv"] == "not a regular file"
    assert "too many levels" in listing.skipped["circle.csv"].lower()


@pytest.mark.rule("I11")
def test_a_file_without_permission_is_named():
    """Root reads everything, so that root is nobody for a moment."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        path = Path(folder, "a.csv")
        path.write_text("1,2")
        path.chmod(0)
        me = os.getuid()
        if me == 0:
            os.setresuid(65534, 65534, 0)
        try:
            listing = list_source(Path(folder), CSV)
        finally:
            os.setresuid(me, me, me)
    assert "permission" in listing.skipped["a.csv"]


@pytest.mark.rule("I13")
@pytest.mark.parametrize("change", ["vanishes", "shrinks", "grows", "becomes a pipe", "becomes a folder"])
def test_a_file_that_changes_after_it_was_listed_is_named(tmp_path, change):
    path = tmp_path / "a.csv"
    path.write_text("1,2\n3,4\n")
    (file,) = list_source(tmp_path, CSV).files
    path.unlink()
    if change == "shrinks":
        path.write_text("1,2\n")
    elif change == "grows":
        path.write_text("1,2\n3,4\n5,6\n")
    elif change == "becomes a pipe":
        os.mkfifo(path)
    elif change == "becomes a folder":
        path.mkdir()
    with pytest.raises(BadData, match=r"a\.csv: (cannot be read|changed during|not a regular)"):
        file.data()


# -- archives ----------------------------------------------------------------------------------------------------------


def entry(name, mode=0o644, kind=stat.S_IFREG):
    info = zipfile.ZipInfo(name)
    info.external_attr = (kind | mode) << 16
    info.compress_type = zipfile.ZIP_DEFLATED
    return info


def test_an_archive_is_a_source_and_may_lie_in_one(tmp_path):
    (tmp_path / "d").mkdir()
    with zipfile.ZipFile(tmp_path / "d" / "x.zip", "w") as archive:
        archive.writestr("cats/1.csv", "1")
        archive.writestr("labels.txt", "l")
        archive.writestr("2.csv", "22")
    assert names(list_source(tmp_path / "d" / "x.zip", CSV)) == ["2.csv", "cats/1.csv"]
    listing = list_source(tmp_path / "d", CSV)
    assert names(listing) == ["x.zip/2.csv", "x.zip/cats/1.csv"]
    assert [file.data() for file in listing.files] == [b"22", b"1"]
    assert listing.files[0].sibling("labels.txt").data() == b"l"
    assert listing.files[0].sibling("gone.txt") is None


@pytest.mark.rule("I12")
def test_members_that_climb_link_or_repeat_are_named(tmp_path, recwarn):
    climbing = ["../a.csv", "/etc/a.csv", "x/../../a.csv", "C:/a.csv", "\\a.csv", "x\\..\\..\\a.csv"]
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as archive:
        for name in climbing:
            archive.writestr(entry(name), "1,2")
        archive.writestr(entry("link.csv", kind=stat.S_IFLNK), "/etc/passwd")
        archive.writestr(entry("device.csv", kind=stat.S_IFCHR), "")
        archive.writestr(entry("pipe.csv", kind=stat.S_IFIFO), "")
        archive.writestr(entry("good.csv"), "1,2")
        archive.writestr(entry("good.csv"), "3,4")
    listing = list_source(tmp_path / "x.zip", CSV)
    assert names(listing) == ["good.csv"]
    assert listing.skipped == {
        **dict.fromkeys(climbing, "its name points outside the archive"),
        **dict.fromkeys(("link.csv", "device.csv", "pipe.csv"), "not a regular file"),
        "good.csv": "another member has this name",
    }


@pytest.mark.rule("I12")
def test_a_member_without_a_name_is_told(tmp_path):
    """Names end at a NUL. zipfile fails where it asks such a member whether it is a folder."""
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as archive:
        archive.writestr("Zero.csv", "1,2")
        archive.writestr("good.csv", "1,2")
    (tmp_path / "x.zip").write_bytes((tmp_path / "x.zip").read_bytes().replace(b"Zero", b"\0ero"))
    listing = list_source(tmp_path / "x.zip", CSV)
    assert names(listing) == ["good.csv"]
    assert listing.skipped == {"(a member)": "it has no name"}


@pytest.mark.rule("I12", "I2")
def test_bombs_are_not_unpacked(tmp_path):
    with zipfile.ZipFile(tmp_path / "x.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("bomb.csv", bytes(20 << 20))
        archive.writestr("good.csv", "1,2")
    listing = list_source(tmp_path / "x.zip", CSV)
    assert names(listing) == ["good.csv"]
    assert "200 times" in listing.skipped["bomb.csv"]


@pytest.mark.rule("I12")
def test_an_archive_whose_members_overlap_is_refused(tmp_path):
    """Fifield's bomb: many names in the table that all mean the same packed bytes."""
    path = tmp_path / "x.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for number in range(50):
            archive.writestr(f"{number}.csv", os.urandom(2000) if number == 0 else b"")
    content = bytearray(path.read_bytes())
    first = content.index(b"PK\x01\x02")
    sizes = content[first + 16 : first + 28]  # CRC and both sizes of the first member, given to all
    at = first
    while (at := content.find(b"PK\x01\x02", at + 1)) > 0:
        content[at + 16 : at + 28] = sizes
        content[at + 42 : at + 46] = struct.pack("<I", 0)
    path.write_bytes(content)
    listing = list_source(path, CSV)
    assert names(listing) == []
    assert "overlap" in listing.skipped["x.zip"]


@pytest.mark.rule("I12")
@pytest.mark.parametrize("lie", [5, 500])
def test_a_member_that_lies_about_its_size_is_named(tmp_path, lie):
    path = tmp_path / "x.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.csv", os.urandom(50))
    content = bytearray(path.read_bytes())
    at = content.index(b"PK\x01\x02")
    content[at + 24 : at + 28] = struct.pack("<I", lie)
    path.write_bytes(content)
    (file,) = list_source(path, CSV).files
    with pytest.raises(BadData, match=r"a\.csv"):
        file.data()


@pytest.mark.rule("I12")
def test_damaged_and_encrypted_members_are_named(tmp_path):
    path = tmp_path / "x.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a.csv", "1,2,3,4,5,6")
        archive.writestr("secret.csv", "1")
    content = bytearray(path.read_bytes())
    content[content.index(b"1,2,3")] ^= 1
    content[content.rindex(b"PK\x01\x02") + 8] |= 1
    path.write_bytes(content)
    listing = list_source(path, CSV)
    assert listing.skipped == {"secret.csv": "encrypted"}
    with pytest.raises(BadData, match=r"a\.csv: cannot be read.*CRC"):
        listing.files[0].data()


@pytest.mark.rule("I12")
@pytest.mark.parametrize("content", [b"", b"PK\x03\x04", b"no archive", b"PK\x05\x06" + b"\xff" * 18])
def test_what_is_no_archive_is_named(tmp_path, content):
    (tmp_path / "x.zip").write_bytes(content)
    (tmp_path / "a.csv").write_text("1,2")
    listing = list_source(tmp_path, CSV)
    assert names(listing) == ["a.csv"]
    assert "not a readable zip archive" in listing.skipped["x.zip"]


@pytest.mark.rule("I12", "D6")
def test_seventy_thousand_members_are_read_in_linear_time(tmp_path):
    """Opening the archive anew for each member takes 0.2 s each here; 500 of them must take far less than that."""
    path = tmp_path / "x.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for number in range(70_000):
            archive.writestr(f"{number % 100:02d}/{number:05d}.csv", b"")
        archive.writestr("last.csv", b"1,2")
    start = time.process_time()
    listing = list_source(path, CSV)
    assert len(listing.files) == 70_001
    for file in listing.files[:500]:
        assert file.data() == b""
    assert time.process_time() - start < 60
    assert listing.files[-1].data() == b"1,2"


def test_a_changed_archive_is_opened_anew(tmp_path):
    path = tmp_path / "x.zip"
    for text in ("1,2", "3,4"):
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("a.csv", text)
        os.utime(path, ns=(0, int(text[0])))
        assert SourceFile("a.csv", path, "a.csv", 3).data().decode() == text
