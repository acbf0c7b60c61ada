"""Durable files: old or new content, whole, at the umask's mode, and a sentence when the disk refuses."""

from __future__ import annotations

import errno
import json
import os
import stat

import pytest
from gan.errors import DiskError
from gan.storage.durable import ASIDE, dump_json, make_dirs, write_bytes, write_json, write_text
from hypothesis import given
from hypothesis import strategies as st


def test_a_file_is_replaced_and_nothing_is_left_beside_it(tmp_path):
    path = tmp_path / "a.json"
    write_text(path, "old")
    write_text(path, "näw")
    assert path.read_bytes() == "näw".encode()
    assert os.listdir(tmp_path) == ["a.json"]


@pytest.mark.rule("D4")
@pytest.mark.parametrize(("mask", "mode"), [(0o022, 0o644), (0o077, 0o600), (0o002, 0o664)])
def test_files_obey_the_umask(tmp_path, mask, mode):
    before = os.umask(mask)
    try:
        write_bytes(tmp_path / "a", b"x")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "a").stat().st_mode) == mode


@pytest.mark.rule("D1")
def test_short_writes_are_completed(tmp_path, monkeypatch):
    write = os.write
    monkeypatch.setattr(os, "write", lambda descriptor, data: write(descriptor, bytes(data)[:3]))
    write_bytes(tmp_path / "a", b"0123456789")
    assert (tmp_path / "a").read_bytes() == b"0123456789"


@pytest.mark.rule("D1", "D2")
@pytest.mark.parametrize("call", ["open", "write", "fsync", "replace"])
@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EIO, errno.EROFS, errno.EACCES])
def test_a_refusal_names_path_and_reason_and_leaves_the_old_content(tmp_path, monkeypatch, call, code):
    path = tmp_path / "a"
    write_bytes(path, b"old")
    monkeypatch.setattr(os, call, lambda *_, **__: (_ for _ in ()).throw(OSError(code, os.strerror(code))))
    with pytest.raises(DiskError, match=os.strerror(code)) as refused:
        write_bytes(path, b"new")
    monkeypatch.undo()
    assert str(tmp_path) in str(refused.value)
    assert path.read_bytes() == b"old"
    assert [name for name in os.listdir(tmp_path) if name.startswith(ASIDE)] == []


@pytest.mark.rule("R3")
def test_content_is_synced_before_the_rename_and_the_folder_after_it(tmp_path, monkeypatch):
    calls = []
    fsync, replace = os.fsync, os.replace

    def log_fsync(descriptor):
        calls.append("folder" if stat.S_ISDIR(os.fstat(descriptor).st_mode) else "file")
        fsync(descriptor)

    def log_replace(*names):
        calls.append("rename")
        replace(*names)

    monkeypatch.setattr(os, "fsync", log_fsync)
    monkeypatch.setattr(os, "replace", log_replace)
    write_bytes(tmp_path / "a", b"x")
    assert calls == ["file", "rename", "folder"]


def test_folders_are_made_with_their_parents(tmp_path):
    make_dirs(tmp_path / "a" / "b")
    make_dirs(tmp_path / "a" / "b")
    assert (tmp_path / "a" / "b").is_dir()
    (tmp_path / "file").write_text("")
    with pytest.raises(DiskError, match="file"):
        make_dirs(tmp_path / "file")


@pytest.mark.rule("N4")
def test_numbers_that_are_not_finite_become_null(tmp_path):
    write_json(tmp_path / "a.json", {"loss": float("nan"), "list": [float("inf"), 1.5, (True, None)], "p": tmp_path})
    text = (tmp_path / "a.json").read_text()
    assert json.loads(text, parse_constant=pytest.fail) == {
        "loss": None,
        "list": [None, 1.5, [True, None]],
        "p": str(tmp_path),
    }


def test_what_json_does_not_know_is_refused():
    with pytest.raises(TypeError, match="bytes"):
        dump_json({"a": b"x"})


_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=20,
)


@given(_values)
def test_any_value_gives_strict_json_and_the_same_text_again(value):
    text = dump_json(value)
    again = dump_json(json.loads(text, parse_constant=pytest.fail))
    assert text == again
    text.encode("utf-8")
