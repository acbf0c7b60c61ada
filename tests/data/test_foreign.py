"""Surveys, inventories, inputs and pages meet files that hang, take all memory or crash: one file is lost (rule L6)."""

from __future__ import annotations

import faulthandler
import os
import sys

import numpy as np
import pytest
from gan.contracts import FieldSpec, Given, Modality
from gan.data import bounded, foreign
from gan.data.check import check_source
from gan.data.foreign import LimitExceeded, read_given, survey
from gan.data.packing import open_pack
from gan.errors import BadData, UsageError
from gan.evaluation.sample_sets import read_samples
from gan.reporting.page import write_page
from gan.reporting.reporter import Reporter
from gan.source import SourceFile, list_source
from pydantic import BaseModel

pytestmark = [
    pytest.mark.rule("L6"),
    pytest.mark.skipif(sys.platform != "linux", reason="workers are forked on Linux only"),
]


@pytest.fixture(autouse=True)
def _short(monkeypatch):
    monkeypatch.setattr(bounded, "SECONDS", 1.0)
    monkeypatch.setattr(bounded, "WAITING", 300.0)  # on a busy machine, a second of computing take long
    monkeypatch.setattr(bounded, "MEMORY", 256 << 20)
    monkeypatch.setattr(foreign, "SURVEY_SECONDS", 1.0)
    monkeypatch.setattr(foreign, "SURVEY_MEMORY", 256 << 20)
    monkeypatch.setattr(foreign, "SHOW_SECONDS", 1.0)


def spin():
    while True:
        pass


def fill():
    kept = []
    while True:
        kept.append(np.empty(1 << 26, np.uint8))  # not written: page faults alone can take the time of a file


def crash():
    faulthandler.disable()  # of pytest, which would print the stack of the worker
    os.abort()


BOMBS = {
    b"spin": (spin, "seconds of computing time"),
    b"fill": (fill, "needs more memory"),
    b"crash": (crash, "crashed"),
}


class Config(BaseModel):
    pass


class Parsing(Modality):
    """Reads a number from a file; every method parses it, and some files are bombs."""

    Config = Config
    suffixes = (".num",)

    @property
    def fields(self):
        return {"value": FieldSpec((), "int32", 0, 1000, "")}

    def _parsed(self, file):
        content = file.data()
        if content in BOMBS:
            BOMBS[content][0]()
        if content == b"option":
            raise UsageError("choose another track")
        if content == b"bad":
            raise BadData("is no number", file.name)
        return int(content)

    def survey(self, files):
        found = []
        for file in files:
            try:
                found.append(self._parsed(file))
            except BadData:
                continue
        return {"numbers": found, "process": os.getpid()}

    def inventory(self, file):
        return {"sum": self._parsed(file), f"process {os.getpid()}": 1}

    def read(self, file):
        yield {"value": np.array(self._parsed(file), np.int32)}

    def write(self, sample, stem, options=None):
        path = stem.with_suffix(".num")
        path.write_text(str(int(sample["value"])))
        return path

    def preview(self, samples):
        raise NotImplementedError

    def show(self, file, link, folder):
        return f"<b>{self._parsed(file)}</b>"


@pytest.fixture(params=BOMBS, ids=bytes.decode)
def source(tmp_path, request):
    folder = tmp_path / "source"
    folder.mkdir()
    for name, content in {"a": b"1", "b": request.param, "c": b"3", "d": b"bad", "e": b"5"}.items():
        (folder / f"{name}.num").write_bytes(content)
    return folder, BOMBS[request.param][1]


def only(folder, name):
    return next(file for file in list_source(folder, (".num",)).files if file.name == f"{name}.num")


def test_a_survey_leaves_out_the_file_that_exceeds_a_limit(source):
    folder, reason = source
    facts, skipped = survey(Parsing(Config()), list_source(folder, (".num",)).files)
    assert facts["numbers"] == [1, 3, 5]
    assert facts["process"] != os.getpid()
    assert list(skipped) == ["b.num"]
    assert reason in skipped["b.num"]


def test_packing_and_checking_skip_it(source, tmp_path):
    folder, reason = source
    pack = open_pack(folder, Parsing, Config(), "parsing", cache=tmp_path / "cache")
    assert pack.take(np.arange(3))["value"].tolist() == [1, 3, 5]
    assert list(pack.skipped) == ["b.num", "d.num"]
    assert reason in pack.skipped["b.num"]
    found = check_source(folder, Parsing, Config())
    assert found.skipped == pack.skipped
    assert found.inventory["sum"] == (3, 9)
    assert f"process {os.getpid()}" not in found.inventory


def test_a_source_of_bombs_alone_has_no_usable_file(tmp_path):
    (tmp_path / "a.num").write_bytes(b"spin")
    with pytest.raises(BadData, match="none of 1 files can be used .a.num: needs more than 1 seconds"):
        open_pack(tmp_path, Parsing, Config(), "parsing", cache=tmp_path / "cache")


def test_computations_after_the_last_file_may_take_as_long_as_all_files_allow(tmp_path, monkeypatch):
    """0.6 seconds of computing over files whose own limit is 0.3 seconds, and 0.3 more for each of four bytes."""
    monkeypatch.setattr(bounded, "BYTES_PER_SECOND", 1 / 0.3)

    class Learning(Parsing):
        def survey(self, files):
            found = super().survey(files)
            start = os.times().user
            while os.times().user < start + 0.6:
                pass
            return found

    for name in "abcd":
        (tmp_path / f"{name}.num").write_bytes(b"1")
    facts, skipped = survey(Learning(Config()), list_source(tmp_path, (".num",)).files)
    assert (facts["numbers"], skipped) == ([1, 1, 1, 1], {})


def test_an_input_is_refused_with_its_reason(source):
    folder, reason = source
    given = Given(("value",))
    assert [int(sample["value"]) for sample in read_given(Parsing(Config()), only(folder, "a"), given)] == [1]
    with pytest.raises(LimitExceeded, match=reason):
        read_given(Parsing(Config()), only(folder, "b"), given)
    with pytest.raises(BadData, match="is no number"):
        read_given(Parsing(Config()), only(folder, "d"), given)


def test_what_a_method_raises_arrives(tmp_path):
    (tmp_path / "a.num").write_bytes(b"option")
    with pytest.raises(UsageError, match="^choose another track$"):
        read_given(Parsing(Config()), only(tmp_path, "a"), Given(("value",)))
    (tmp_path / "a.num").write_bytes(b"1.5")  # `int` raises ValueError
    with pytest.raises(BadData, match="ValueError: invalid literal"):
        read_given(Parsing(Config()), only(tmp_path, "a"), Given(("value",)))
    files = list_source(tmp_path, (".num",)).files
    with pytest.raises(RuntimeError, match="ValueError: invalid literal") as caught:
        survey(Parsing(Config()), files)
    assert "_parsed" in caught.value.__notes__[0]
    (tmp_path / "a.num").write_bytes(b"option")
    with pytest.raises(UsageError, match="^choose another track$"):
        survey(Parsing(Config()), list_source(tmp_path, (".num",)).files)
    missing = SourceFile("gone", tmp_path / "gone", None, 3)
    errors = [error for _, error in foreign.values_of(lambda file: file.path.read_text(), [missing])]
    assert isinstance(errors[0], FileNotFoundError)
    assert errors[0].filename == str(tmp_path / "gone")


def test_an_input_that_is_no_file_is_passed_on():
    class Direct(Parsing):
        def read_given(self, file, given):
            yield {"value": np.array(file)}

    assert read_given(Direct(Config()), 7, Given(("value",)))[0]["value"] == 7


def test_samples_that_are_evaluated(source):
    folder, _ = source
    found = read_samples(folder, Parsing(Config()), None, Reporter())
    assert found.samples["value"].tolist() == [1, 3, 5]
    assert found.record["skipped"] == 2


def test_a_page_says_why_a_file_is_not_shown(source):
    folder, reason = source
    paths = [folder / f"{name}.num" for name in "abcd"]
    text = write_page(folder, Parsing(Config()), paths, show=foreign.show).read_text()
    assert "<b>1</b>" in text
    assert "<b>3</b>" in text
    assert reason in text
    assert "is no number" in text
