"""The index of plugins: what it refuses, and why."""

from __future__ import annotations

import datetime
from importlib import resources
from pathlib import Path

import pytest
from gan.errors import BadData
from gan.plugins import registry

pytestmark = pytest.mark.rule("S5")
GOOD = """\
format: 1
version: 3
expires: 2099-01-01
plugins:
  - name: sketch
    distribution: gan-sketch
    summary: Pen strokes
    modalities: [sketch]
    repository: https://example.org/gan-sketch
    licence: MIT
    weights: none
    versions:
      - version: 1.0.0
        core: ">=0.1,<0.2"
        wheels:
          - file: gan_sketch-1.0.0-py3-none-any.whl
            sha256: 0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef
      - version: 1.10.0
        core: ">=0.1,<9"
        wheels:
          - file: gan_sketch-1.10.0-py3-none-any.whl
            sha256: 0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef
      - version: 1.9.0
        core: ">=98,<99"
        wheels:
          - file: gan_sketch-1.9.0-py3-none-any.whl
            sha256: 0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef
"""
SHA = "0123456789abcdef" * 4


def parse(text: str, **more):
    return registry.parse(text.encode(), "index", **more)


def second(name: str, distribution: str = "") -> str:
    return GOOD + (
        f"  - {{name: {name}, distribution: {distribution or 'gan-' + name}, summary: x, modalities: [], "
        "licence: MIT, weights: none, versions: []}\n"
    )


def test_a_good_index_is_read_newest_first():
    (plugin,) = parse(GOOD).plugins
    assert [release.version for release in plugin.versions] == ["1.10.0", "1.9.0", "1.0.0"]
    assert plugin.newest().version == "1.10.0"
    assert plugin.versions[0].wheels[0].sha256 == SHA


def test_search_wants_every_word():
    index = parse(second("audio"))
    assert [p.name for p in index.search(["PEN", "sket"])] == ["sketch"]
    assert index.search(["pen", "audio"]) == []
    assert index.get("gan_sketch").name == "sketch"


def test_the_public_index_is_good_and_travels_with_the_package():
    root = Path(__file__).parents[2] / "registry.yaml"
    text = resources.files("gan").joinpath("registry.yaml").read_text(encoding="utf-8")
    assert text == root.read_text(encoding="utf-8")
    index = registry.read(root)
    assert registry.owners() == {plugin.name: plugin.distribution for plugin in index.plugins}


LINE = "    summary: Pen strokes\n"


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        pytest.param(GOOD.replace("Pen strokes", "!!python/object/apply:os.system [ls]"), "tags", id="tag"),
        pytest.param(GOOD.replace("Pen strokes", "!!str x"), "tags", id="harmless tag"),
        pytest.param(GOOD.replace("Pen strokes", "&a x"), "anchors", id="anchor"),
        pytest.param("a: &a [x]\nb: [*a, *a]\n", "anchors", id="alias bomb"),
        pytest.param(GOOD.replace(LINE, LINE + LINE), "'summary' is repeated", id="key twice"),
        pytest.param(second("sketch"), "'sketch' occurs twice", id="name twice"),
        pytest.param(second("drawing", "gan-sketch"), "'gan-sketch' occurs twice", id="distribution twice"),
        pytest.param(second("sketchs"), "looks like 'sketch'", id="letter more"),
        pytest.param(second("sketh"), "looks like 'sketch'", id="letter less"),
        pytest.param(second("skecth"), "looks like 'sketch'", id="letters swapped"),
        pytest.param(second("sk-etch"), "looks like 'sketch'", id="hyphen"),
        pytest.param(second("sk3tch"), "looks like 'sketch'", id="digit for letter"),
        pytest.param(second("skеtch"), "ASCII", id="homoglyph"),
        pytest.param(second("builtin"), "belongs to the core", id="name of the core"),
        pytest.param(second("other", "gan-core"), "belongs to the core", id="distribution of the core"),
        pytest.param(GOOD.replace("name: sketch", "name: ../sketch"), "a name has", id="traversal"),
        pytest.param(GOOD.replace("gan-sketch\n", "--index-url=x\n", 1), "not a distribution's name", id="option"),
        pytest.param(GOOD.replace("gan-sketch\n", "https://x.org/a.whl\n", 1), "not a distribution's name", id="URL"),
        pytest.param(GOOD.replace("gan-sketch\n", "gan-sketch @ x\n", 1), "not a distribution's name", id="direct"),
        pytest.param(GOOD.replace("1.0.0\n", "1.0.0 --pre\n", 1), "not a version", id="option in version"),
        pytest.param(GOOD.replace("gan_sketch-1.0.0", "../gan_sketch-1.0.0"), "not a wheel", id="path in file"),
        pytest.param(GOOD.replace("gan_sketch-1.0.0", "gan_sketch-1.0.1"), "not a wheel of", id="other version"),
        pytest.param(GOOD.replace("gan_sketch-1.0.0", "evil-1.0.0"), "not a wheel of", id="other distribution"),
        pytest.param(GOOD.replace("-py3-none-any.whl", ".tar.gz"), "not a wheel's file name", id="source"),
        pytest.param(GOOD.replace(SHA, SHA[:40]), "64 lower-case", id="short hash"),
        pytest.param(GOOD.replace(SHA, SHA.upper()), "64 lower-case", id="upper-case hash"),
        pytest.param(GOOD.replace("https://example.org", "https://127.0.0.1"), "public host", id="private address"),
        pytest.param(GOOD.replace("https://example.org", "https://u:p@example.org"), "no password", id="password"),
        pytest.param(GOOD.replace("https://example.org", "http://example.org"), "https", id="no https"),
        pytest.param(GOOD.replace("https://example.org", "file:///etc"), "https", id="file"),
        pytest.param(GOOD.replace("Pen strokes", "Pen \x1b[2Jstrokes"), "control character", id="escape"),
        pytest.param(GOOD.replace("Pen strokes", '"Pen \\e[2Jstrokes"'), "printable", id="escape in escapes"),
        pytest.param(GOOD.replace("Pen strokes", "Pen \u202estrokes"), "control character", id="bidi"),
        pytest.param(GOOD.replace("Pen strokes", "x" * 300), "200", id="long line"),
        pytest.param(GOOD.replace(LINE, LINE + "    run: ls\n"), "Extra inputs", id="unknown key"),
        pytest.param(GOOD.replace(LINE, ""), "Field required", id="missing key"),
        pytest.param(GOOD.replace("2099", "2001"), "expired", id="expired"),
        pytest.param(GOOD.replace("format: 1", "format: 2"), "format", id="other format"),
        pytest.param(GOOD.replace('">=0.1,<0.2"', '">=0.1"'), "upper bound", id="open range"),
        pytest.param(GOOD.replace('">=0.1,<0.2"', "newest"), "not a range", id="no range"),
        pytest.param("[" * 100 + "]" * 100, "nested", id="deep"),
        pytest.param("- a\n", "the document", id="no mapping"),
        pytest.param("", "the document", id="empty"),
        pytest.param("a: [1\n", "line 2", id="no YAML"),
        pytest.param("#" * (registry.MAX_BYTES + 1), "more than", id="too large"),
    ],
)
def test_an_index_that_is_not_right_is_refused_with_its_reason(text, reason):
    with pytest.raises(BadData, match=reason) as caught:
        parse(text)
    assert str(caught.value).startswith("index: ")
    assert "\x1b" not in str(caught.value)


def test_an_older_index_than_was_seen_is_refused():
    assert parse(GOOD, seen=3).version == 3
    with pytest.raises(BadData, match="version 3 is older than 4"):
        parse(GOOD, seen=4)


def test_an_index_expires_on_its_day():
    day = datetime.date(2099, 1, 1)
    assert parse(GOOD, today=day)
    with pytest.raises(BadData, match="expired"):
        parse(GOOD, today=day + datetime.timedelta(days=1))


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [("audio", "radio", False), ("image", "images", True), ("music", "musik", True), ("clip", "clips", False)],
)
def test_only_near_names_are_confusable(one, other, same):
    """A letter changed or added; audio and radio differ in two, and short names in too little to tell."""
    assert registry._confusable(one, other) is same
