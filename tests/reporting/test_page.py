"""The page that a run ends with: it shows what was made, and every link leads to a file."""

from __future__ import annotations

import base64
import hashlib
import html
import re
import shutil
from urllib.parse import unquote

import gan.cli.page as verb
import pytest
from gan import api
from gan.cli import main
from gan.contracts.media import shown_by_type
from gan.reporting.live_page import LivePage
from gan.reporting.page import MAX_ARTEFACTS, artefacts_in, content_policy, write_page
from gan.reporting.reporter import Reporter
from gan.source import SourceFile
from gan.testing.points import Points


@pytest.fixture(scope="module")
def run(tmp_path_factory, plugins):
    """A short training with three artefacts."""
    folder = tmp_path_factory.mktemp("page")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GAN_CACHE", str(folder / "cache"))
        train(plugins, folder / "first run")
    return folder / "first run"


def train(plugins, out, reporter=None):
    settings = ["training.samples=256", "training.batch=64", "training.preview_ticks=0", "evaluation.samples=64"]
    values = api.recipe("toy", settings=[*settings, "evaluation.artefacts=3"], plugins=plugins)
    return api.train(values, out=out, plugins=plugins, reporter=reporter)


@pytest.fixture
def gan(capsys, monkeypatch, plugins):
    """Standard output of a command, or its error stream where it fails with `code`."""
    monkeypatch.setattr(verb, "installed", lambda ctx: plugins)

    def call(*arguments, code=0):
        with pytest.raises(SystemExit) as stop:
            main([str(argument) for argument in arguments])
        captured = capsys.readouterr()
        assert stop.value.code == code, captured.err
        return captured.err if code else captured.out

    return call


def references(page):
    """The files that a page refers to, resolved against its folder."""
    text = page.read_text(encoding="utf-8")
    return [page.parent / unquote(found) for found in re.findall(r'(?:src|href)="([^"]*)"', text)]


def test_a_run_ends_with_a_page(run):
    page = run / "page" / "index.html"
    text = page.read_text(encoding="utf-8")
    for number in range(3):
        written = run / "samples" / f"sample-{number:04d}.csv"
        assert f"<pre>{written.read_text()}</pre>" in text
        assert f">{written.name}</a>" in text
    assert "<th>modes</th>" not in text
    assert "<td>modes</td>" in text
    found = references(page)
    assert len(found) == 3 + 3
    assert all(path.is_file() for path in found)


def test_the_page_of_a_run_that_was_moved(run, tmp_path, gan):
    moved = tmp_path / "elsewhere"
    shutil.copytree(run, moved)
    (moved / "page" / "index.html").unlink()
    page = moved / "page" / "index.html"
    assert gan("page", moved) == f"{page}\n"
    assert all(path.resolve().is_relative_to(moved) for path in references(page))
    assert all(path.is_file() for path in references(page))


def test_the_page_of_a_folder(run, tmp_path, gan):
    more = tmp_path / "more"
    shutil.copytree(run / "samples", more)
    (more / "notes.md").write_text("none of the run's")
    (more / "deeper").mkdir()
    shutil.copyfile(more / "sample-0000.csv", more / "deeper" / "other.csv")
    assert gan("page", run, more) == f"{more / 'page' / 'index.html'}\n"
    assert [path.name for path in references(more / "page" / "index.html")] == [f"sample-000{n}.csv" for n in range(3)]
    (tmp_path / "empty").mkdir()
    assert "no files of a known kind (.csv)" in gan("page", run, tmp_path / "empty", code=3)


def test_the_page_of_a_run_that_has_not_ended(run, tmp_path, gan):
    """It shows how far it is and how to go on; with a training going on it loads itself again."""
    copy = tmp_path / "copy"
    shutil.copytree(run, copy)
    (copy / "evaluation" / "result.json").unlink()
    page = copy / "page" / "index.html"
    assert gan("page", copy) == f"{page}\n"
    text = page.read_text(encoding="utf-8")
    assert "stopped" in text
    assert f"gan resume {copy}" in text
    assert "256 of 256 real samples shown" in text
    assert "<polyline" in text
    assert 'http-equiv="refresh"' not in text
    pictures = [path for path in references(page) if ".png" in path.name]
    assert [path.name.partition("?")[0] for path in pictures] == ["real.png", "samples-000000000.png"]
    assert all(path.with_name(path.name.partition("?")[0]).is_file() for path in pictures)
    assert "leave out FOLDER" in gan("page", copy, copy / "samples", "--live", code=2)


def test_the_live_page_of_a_training(tmp_path, plugins, monkeypatch):
    """Renewed at ticks, with policy and viewport; the last page is that of the ended run."""
    monkeypatch.setenv("GAN_CACHE", str(tmp_path / "cache"))
    pages = []

    class Kept(LivePage):
        def _write(self):
            super()._write()
            pages.append((tmp_path / "run" / "page" / "index.html").read_text(encoding="utf-8"))

    train(plugins, tmp_path / "run", Kept(pause=-1))
    during = html.unescape(pages[-1])
    assert '<meta http-equiv="refresh" content="5">' in during
    assert "training: " in during
    assert "real.png" in during
    assert "default-src 'none'" in during
    assert 'name="viewport"' in during
    assert "prefers-color-scheme:dark" in during
    assert "script-src 'none'" in during
    final = (tmp_path / "run" / "page" / "index.html").read_text(encoding="utf-8")
    assert 'http-equiv="refresh"' not in final
    assert 'class="verdict"' in final


def test_a_kind_of_data_that_cannot_show_itself_loses_nothing(tmp_path, plugins, monkeypatch):
    def broken(self, file, link, folder):
        raise ZeroDivisionError("no page")

    class Warnings(Reporter):
        texts: list[str] = []

        def warn(self, text):
            self.texts.append(text)

    monkeypatch.setenv("GAN_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(Points, "show", broken)
    result = train(plugins, tmp_path / "run", Warnings())
    assert all(path.is_file() for path in result.artefacts)
    assert (tmp_path / "run" / "evaluation" / "result.json").is_file()
    assert any("no page was written" in text and "ZeroDivisionError" in text for text in Warnings.texts)


def test_names_and_texts_are_no_markup(tmp_path):
    odd = tmp_path / "a <b> & #1.csv"
    odd.write_text("<script>1,2</script>")
    page = write_page(tmp_path, Points(Points.Config()), [odd])
    text = page.read_text()
    assert "<script" not in text
    assert "<b>" not in text
    assert html.escape("<script>1,2</script>") in text
    assert references(page) == [page.parent / ".." / odd.name]


def test_the_picture_beside_artefacts_is_none_of_them(tmp_path):
    class Pictures(Points):
        suffixes = (".png",)

    for name in ("preview.png", "sample-0000.png"):
        (tmp_path / name).write_bytes(b"\x89PNG")
    assert artefacts_in(tmp_path, Pictures(Points.Config())) == [tmp_path / "sample-0000.png"]


def test_a_page_does_not_grow_without_end(tmp_path):
    paths = [tmp_path / f"{n}.csv" for n in range(MAX_ARTEFACTS + 2)]
    for path in paths:
        path.write_text("1,2\n")
    text = write_page(tmp_path, Points(Points.Config()), paths).read_text()
    assert text.count("<figure>") == MAX_ARTEFACTS
    assert "and 2 more beside them" in text


@pytest.mark.parametrize(
    ("name", "content", "shown"),
    [
        ("a.png", b"\x89PNG", '<img src="LINK" alt="">'),
        ("a.wav", b"RIFF", '<audio controls preload="none" src="LINK"></audio>'),
        ("a.mp4", b"\0", '<video controls preload="none" src="LINK"></video>'),
        ("a.jsonl", b'{"text": 1}', "<pre>{&quot;text&quot;: 1}</pre>"),
        ("a.xyz", b"1 2\0", ""),
        ("a.txt", "é".encode() * 15_000, f"<pre>{'é' * 10_000}…</pre>"),
    ],
)
def test_files_are_shown_by_their_kind(tmp_path, name, content, shown):
    (tmp_path / name).write_bytes(content)
    assert shown_by_type(SourceFile(name, tmp_path / name, None, len(content)), "LINK") == shown


@pytest.mark.rule("L4")
def test_a_page_states_what_it_may_load(tmp_path):
    """Nothing but files and the scripts of the modality: an unescaped name could run and send nothing."""
    (tmp_path / "a.csv").write_text("1,2")
    text = write_page(tmp_path, Points(Points.Config()), [tmp_path / "a.csv"]).read_text()
    assert text.index("Content-Security-Policy") < text.index("<style>")
    assert "default-src &#39;none&#39;" in text
    assert "script-src &#39;none&#39;" in text
    policy = content_policy(["<p>x</p><script>draw()</script>"])
    digest = base64.b64encode(hashlib.sha256(b"draw()").digest()).decode()
    assert f"script-src 'sha256-{digest}';" in policy
    assert "script-src 'self' file:;" in content_policy(['<script src="a-viewer.js"></script>'])
