"""The page of the reliability rules agrees with the markers of the tests."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

ROOT = Path(__file__).parents[1]


def load():
    spec = importlib.util.spec_from_file_location("make_reliability", ROOT / "docs" / "make_reliability.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_page_is_that_of_the_markers():
    maker = load()
    expected = maker.page(json.loads((ROOT / "docs" / "reliability.json").read_text(encoding="utf-8")))
    found = (ROOT / "docs" / "reliability.md").read_text(encoding="utf-8")
    assert found == expected, "a marker changed: run `python docs/make_reliability.py`"


def test_markers_and_outcomes_are_read(tmp_path):
    maker = load()
    tests = maker.marked()
    assert ("tests/faults/test_crashes.py", "test_killed_at_every_call", True) in tests["R2"]
    assert ("tests/storage/test_download.py", "test_a_redirect_is_followed", False) in tests["S7"]
    (tmp_path / "r.xml").write_text(
        '<testsuites><testsuite><testcase classname="tests.faults.test_x" name="test_a[1]"/>'
        '<testcase classname="tests.faults.test_x" name="test_a[2]"><failure/></testcase>'
        '<testcase classname="tests.test_y" name="test_b"><skipped/></testcase></testsuite></testsuites>'
    )
    assert maker.outcomes(tmp_path / "r.xml") == {
        "tests/faults/test_x.py::test_a": {"passed": 1, "failed": 1},
        "tests/test_y.py::test_b": {"skipped": 1},
    }


def test_every_rule_has_a_test_or_no_subject():
    maker = load()
    tests = maker.marked()
    rules = {rule for chapter in maker.RULES.values() for rule in chapter}
    assert maker.NOTHING_YET.keys() == rules - tests.keys(), rules - tests.keys()


def test_what_is_not_applicable_does_not_exist():
    """No command serves a page."""
    from gan.cli import VERBS

    assert "ui" not in VERBS
