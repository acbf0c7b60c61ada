"""Rows of files: checked, by groups, with reasons and inventory; packs that are opened again."""

from __future__ import annotations

import os
import sys

import pytest
from gan.data.check import check_source
from gan.data.packing import open_pack
from gan.data.rows import read_files
from gan.errors import GanError
from gan.source import list_source, source_state
from gan.testing.points import Points

READER = """
import os
import signal
import time

from gan.errors import BadData
from gan.testing.points import Points


class Fragile(Points):
    def inventory(self, file):
        return {file.folder: 1}

    def read(self, file):
        text = file.data()
        if text.startswith(b"crash"):
            os.kill(os.getpid(), signal.SIGKILL)
        if text.startswith(b"refuse"):
            print("a reader may print")
            raise BadData("is refused")
        if text.startswith(b"wrong"):
            yield {}
            return
        yield from super().read(file)
"""


@pytest.fixture
def fragile(tmp_path, monkeypatch):
    (tmp_path / "fragile_reader.py").write_text(READER)
    monkeypatch.syspath_prepend(str(tmp_path))
    import fragile_reader

    yield fragile_reader.Fragile
    del sys.modules["fragile_reader"]


def source(folder, count=40, **odd):
    for number in range(count):
        path = folder / f"{number % 3}" / f"{number:03}.csv"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(odd.get(f"f{number}", f"{number},1\n0.5,-{number}\n"))
    return folder


def rows(modality, folder, check=False):
    files = list_source(folder, modality.suffixes).files
    return [(file.name, found) for file, found in read_files(modality, files, check=check)]


def test_rows_reasons_and_inventory(fragile, tmp_path):
    """Forty files of two points, of which one is refused and one is no table."""
    folder = source(tmp_path / "data", f7="refuse", f8="nonsense")
    modality = fragile(fragile.Config(extent=100))
    found = rows(modality, folder, check=True)
    reasons = {name: file.reason for name, file in found if file.reason}
    assert reasons["1/007.csv"] == "is refused"
    assert len(reasons) == 2
    assert found[0][1].inventory == {"0": 1}
    assert not found[0][1].data
    packed = rows(modality, folder)
    assert [file.reason for _, file in packed] == [file.reason for _, file in found]
    assert sum(part.nbytes for part in packed[0][1].data["points"]) == 2 * 2 * 4


def test_a_reader_that_dies_costs_one_file(fragile, tmp_path):
    folder = source(tmp_path / "data", f7="crash")
    found = dict(rows(fragile(fragile.Config(extent=100)), folder))
    assert found["1/007.csv"].reason
    assert sum(file.reason is None for file in found.values()) == 39


def test_samples_that_do_not_fit_the_fields_are_the_plugin_s_fault(fragile, tmp_path):
    folder = source(tmp_path / "data", f7="wrong")
    with pytest.raises(GanError, match=r"no field 'points' for 1/007.csv"):
        rows(fragile(fragile.Config(extent=100)), folder)


def test_a_pack_is_opened_again_without_a_look_into_its_files(tmp_path, monkeypatch):
    folder = source(tmp_path / "data")

    def packed():
        return open_pack(folder, Points, Points.Config(extent=100), "points", cache=tmp_path / "cache")

    first = packed()
    with monkeypatch.context() as patch:
        patch.setattr("gan.data.packing.list_source", None)
        assert packed().fingerprint == first.fingerprint
    path = folder / "0" / "000.csv"
    status = path.stat()
    path.write_text("9,1\n0.5,-0\n"[: status.st_size].ljust(status.st_size))
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))  # what a restored backup looks like
    assert packed().fingerprint != first.fingerprint


def test_the_state_of_a_source_changes_with_its_files(tmp_path):
    folder = source(tmp_path / "data", 6)
    states = [source_state(folder, (".csv",))]
    (folder / "0" / "note.md").write_text("no sample")
    assert source_state(folder, (".csv",)) == states[0]
    for change in (
        lambda: (folder / "0" / "new.csv").write_text("1,1\n"),
        lambda: (folder / "0" / "new.csv").rename(folder / "1" / "new.csv"),
        lambda: (folder / "1" / "new.csv").unlink(),
        lambda: (folder / "a.zip").write_bytes(b""),
        lambda: (folder / "link").symlink_to(folder),  # a circle ends
        lambda: (folder / "gone.csv").symlink_to(folder / "nowhere.csv"),
    ):
        change()
        states.append(source_state(folder, (".csv",)))
    assert states[3] == states[0]  # the new file is gone
    assert states[5] == states[4]  # the circle holds nothing new
    assert len(set(states)) == len(states) - 2


def test_the_check_counts_what_workers_read(fragile, tmp_path):
    folder = source(tmp_path / "data", f30="crash")
    found = check_source(folder, fragile, fragile.Config(extent=100))
    assert found.samples == 39 * 2
    assert list(found.skipped) == ["0/030.csv"]
    assert found.inventory["1"] == (13, 13)
