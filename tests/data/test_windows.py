"""Recordings that are packed as they are, and the windows of them that training is shown."""

from __future__ import annotations

import numpy as np
import pytest
from gan.contracts import Continued, FieldSpec, Modality
from gan.data import bounded
from gan.data.check import check_source
from gan.data.order import Order
from gan.data.packing import open_pack
from gan.data.windows import DRAWS, Recordings, pieces, steps_of_window
from gan.errors import BadData, GanError
from gan.testing.points import Points

STEPS, WINDOW = 4, 2
"""Steps of a window, and places of the field ``wave`` in a step."""


class Waves(Modality):
    """Files that hold a number n: recordings of n steps that count upwards, in parts of three steps."""

    Config = Points.Config
    suffixes = (".txt",)
    fields = {
        "wave": FieldSpec((2, STEPS * WINDOW), "int16", -32768, 32767, "level", longer_axis=1, window=WINDOW),
        "step": FieldSpec((STEPS,), "int32", 0, 1 << 30, "step", window=1),
        "label": FieldSpec((), "int64", 0, 99, "class index", condition=True),
    }

    def read(self, file):
        length = int(file.data())
        if length < 0:
            raise BadData("is refused", file.name)
        for start in range(0, length, 3):
            steps = np.arange(start, min(start + 3, length), dtype=np.int32)
            places = np.repeat(steps, WINDOW) * 10 + np.tile([0, 1], len(steps))
            sample = {"wave": np.stack([places, -places]).astype(np.int16), "step": steps}
            yield Continued(sample) if start else {**sample, "label": np.asarray(length, np.int64)}
        if file.name.startswith("late"):
            raise BadData("is damaged at its end", file.name)

    def write(self, sample, stem, options=None):
        raise NotImplementedError

    def preview(self, samples):
        raise NotImplementedError


@pytest.fixture
def packed(tmp_path, monkeypatch):
    monkeypatch.setattr(bounded, "CHUNK", 40)  # so that files come in parts

    def pack(**lengths):
        for name, length in lengths.items():
            (tmp_path / f"{name}.txt").write_text(str(length))
        return open_pack(tmp_path, Waves, Points.Config(), "waves", cache=tmp_path / "cache")

    return pack


def test_a_recording_costs_its_own_size_on_the_disk(packed):
    pack = packed(a=13, b=4, c=9, late_d=50, refused=-1)
    assert pack.skipped == {"late_d.txt": "is damaged at its end", "refused.txt": "is refused"}
    assert len(pack) == 3 + 1 + 2
    assert (pack.folder / "wave.bin").stat().st_size == (13 + 4 + 9) * 2 * WINDOW * 2
    assert (pack.folder / "label.bin").stat().st_size == 3 * 8
    again = packed()
    assert np.array_equal(again.take(np.arange(6))["wave"], pack.take(np.arange(6))["wave"])


def test_rows_follow_each_other(packed):
    pack = packed(a=13, b=4, c=9)
    taken = pack.take(np.arange(len(pack)))
    assert taken["step"].tolist() == [[s, s + 1, s + 2, s + 3] for s in (0, 4, 8, 0, 0, 4)]
    assert taken["label"].tolist() == [13, 13, 13, 4, 9, 9]
    assert pack.column("label").tolist() == [13, 13, 13, 4, 9, 9]
    assert taken["wave"].shape == (6, 2, STEPS * WINDOW)
    assert pack.file_of_row().tolist() == [0, 0, 0, 1, 2, 2]


def test_random_windows_are_cut_alike_and_depend_on_seed_and_position(packed):
    """The field ``wave`` counts 10 · step and 10 · step + 1, and its second channel is negative."""
    pack = packed(a=13, b=4, c=9)
    order = Order(pack.sizes, 5, pack.windowed)
    taken = pack.take(order.indices(0, 600))
    first = taken["step"][:, :1] + np.arange(STEPS)
    assert np.array_equal(taken["step"], first)
    assert np.array_equal(taken["wave"][:, 0, ::2], 10 * first)
    assert np.array_equal(taken["wave"][:, 0, 1::2], 10 * first + 1)
    assert np.array_equal(taken["wave"][:, 1], -taken["wave"][:, 0])
    again = Order(pack.sizes, 5, pack.windowed)
    assert np.array_equal(again.indices(250, 9), order.indices(0, 600)[250:259])
    assert not np.array_equal(Order(pack.sizes, 6, pack.windowed).indices(0, 600), order.indices(0, 600))
    starts = taken["step"][taken["label"] == 13, 0]  # 300 windows with ten starts: 30 of each, ± 4 standard deviations
    assert set(starts) == set(range(10))
    assert np.bincount(starts).min() > 10
    assert np.bincount(starts).max() < 52


def test_all_starts_are_equally_many_and_a_draw_stays_within_its_part():
    recordings = Recordings(np.array([1000, 8]), 8)
    draws = np.linspace(1, DRAWS, 5000).astype(np.int64)
    starts = np.concatenate([recordings.steps(np.full(5000, row), draws) for row in range(125)])
    counts = np.bincount(starts, minlength=993)
    assert (len(counts), counts.min() > 0) == (993, True)
    assert counts.max() / counts.min() < 1.3  # parts have 7 or 8 starts
    assert recordings.steps(np.array([125]), np.array([DRAWS])).tolist() == [1000]


def test_the_order_of_samples_without_windows_is_as_before():
    assert np.array_equal(Order(7, 3).indices(0, 20), Order([7], 3, [False]).indices(0, 20))
    drawn = Order(7, 3, [True]).indices(0, 20)
    assert np.array_equal(drawn % 7, Order(7, 3).indices(0, 20))
    assert ((drawn // 7 >= 1) & (drawn // 7 <= DRAWS)).all()


def test_windows_of_a_single_recording_do_not_reach_into_what_is_held_out(packed):
    kept, held = packed(a=40).split(0.3)
    assert held.take(np.arange(len(held)))["step"][:, 0].tolist() == [28, 32, 36]
    shown = kept.take(Order(kept.sizes, 0, kept.windowed).indices(0, 500))["step"]
    assert shown.max() < 28
    kept, held = packed(a=40, b=40, c=40).split(0.3)
    assert len(kept) + len(held) == 30  # whole files


def test_recordings_that_do_not_fit_their_fields_are_named(packed, monkeypatch, tmp_path):
    with pytest.raises(GanError, match="fewer than the 4 of a window"):
        packed(a=2)
    monkeypatch.setitem(Waves.fields, "step", FieldSpec((STEPS + 1,), "int32", 0, 99, "step", window=1))
    with pytest.raises(GanError, match="equally many whole steps"):
        packed(a=9)
    with pytest.raises(ValueError, match="bool"):
        steps_of_window({"a": FieldSpec((4,), "bool", 0, 1, "on", window=1)})
    assert "no whole steps" in FieldSpec((4,), "int16", 0, 1, "a", window=2).mismatch(np.zeros(3, np.int16))


def test_pieces_and_counts_are_the_rows_of_the_pack(packed, tmp_path):
    pack = packed(a=13, b=4, c=9)
    rows = [row for name in "abc" for row in pieces(Waves.fields, Waves(Points.Config()).read(_file(tmp_path, name)))]
    assert np.array_equal(np.stack([row["wave"] for row in rows]), pack.take(np.arange(6))["wave"])
    assert check_source(tmp_path, Waves, Points.Config()).used == {"a.txt": 3, "b.txt": 1, "c.txt": 2}


def test_a_file_that_is_read_again_is_packed_once(packed, monkeypatch):
    """A worker that has given a part of a file and ends: another one reads the file from its beginning."""
    results = bounded._Crew.results

    def interrupted(self, *, in_parts):
        for file, samples, reason, part in results(self, in_parts=in_parts):
            if not part.is_last and part.begins:
                yield file, samples, reason, part
                yield file, samples, reason, part  # again from its beginning
            else:
                yield file, samples, reason, part

    monkeypatch.setattr(bounded._Crew, "results", interrupted)
    assert len(packed(a=13, b=9)) == 5
    assert (packed().folder / "wave.bin").stat().st_size == 22 * 2 * WINDOW * 2


def _file(folder, name):
    from gan.source import SourceFile

    path = folder / f"{name}.txt"
    return SourceFile(path.name, path, None, path.stat().st_size)
