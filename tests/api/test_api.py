"""The Python interface as a researcher uses it: partial recipes, paths as text, samples that show themselves."""

from __future__ import annotations

import base64
import inspect
import json
import os
import re
import subprocess
import sys

import gan
import pytest
from doc_names import ROOT
from gan import api
from gan.build import open_data, resolve
from gan.errors import UsageError
from gan.recipe import merged
from gan.reporting.reporter import Reporter, Tick
from gan.testing import install

SHORT = {"training": {"samples": 256, "batch": 64, "preview_ticks": 0}, "evaluation": {"samples": 64, "artefacts": 3}}


@pytest.fixture(scope="module")
def trained(tmp_path_factory, plugins):
    """A short training of a partial recipe, and its ticks."""
    folder = tmp_path_factory.mktemp("api")
    ticks: list[Tick] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GAN_CACHE", str(folder / "cache"))
        recipe = {"plugin": "toy", **SHORT}
        result = api.train(recipe, seed=3, out=str(folder / "run"), on_tick=ticks.append, plugins=plugins)
    return result, ticks


def test_a_partial_recipe_holds_only_what_differs(trained):
    result, ticks = trained
    recipe = (result.run / "recipe.yaml").read_text()
    for line in ("plugin: toy", "architecture: mlp", "seed: 3", "samples: 256", "artefacts: 3"):
        assert line in recipe
    assert ticks[-1].samples == 256
    assert ticks[-1].final
    assert "samples" in result._repr_html_() or "numbers" in result._repr_html_()
    assert "<td>modes</td>" in result._repr_html_()


def test_samples_show_themselves(trained, plugins, tmp_path):
    result, _ = trained
    samples = api.generate(
        str(result.run), 3, seed=7, first=2, truncation=0.5, out=str(tmp_path / "out"), plugins=plugins
    )
    assert len(samples) == 3
    assert samples.fields["points"].shape == (3, 2)
    assert (samples[1]["points"] == samples.fields["points"][1]).all()
    assert list(samples)[2] is samples[2]
    for shown in (samples, samples[0]):
        assert shown._repr_png_().startswith(b"\x89PNG")
        assert shown.image.size[0] > 0
    saved = samples[1].save(tmp_path / "one")
    written = tmp_path / "out" / "sample-0003.csv"
    assert saved.name == written.name
    assert saved.read_bytes() == written.read_bytes()
    assert saved.read_text() in samples[1]._repr_html_()
    assert "seed 7, sample 3" in repr(samples[1])
    with pytest.raises(UsageError, match="did you mean --truncation"):
        api.generate(result, 1, truncatoin=0.5, plugins=plugins)


def test_a_sound_on_a_page_of_a_notebook_carries_its_content(trained, plugins, monkeypatch):
    """What `show` links beside the page becomes a data URL; a foreign link stays."""
    from gan.testing.points import Points

    def show(self, file, link, folder):
        (folder / "tone.wav").write_bytes(b"RIFF")
        return '<audio src="tone.wav"></audio><a href="https://example.org/x">x</a>'

    monkeypatch.setattr(Points, "show", show)
    html = api.generate(trained[0], 1, plugins=plugins)[0]._repr_html_()
    assert base64.b64encode(b"RIFF").decode() in html
    assert 'href="https://example.org/x"' in html


def test_resume_and_evaluate_take_results(trained, plugins):
    result, _ = trained
    assert api.resume(result, plugins=plugins).samples == 256
    (receipt,) = api.evaluate(result, metrics="ring-modes", count=32, plugins=plugins)
    assert {value.name for value in receipt.values} == {"modes", "near"}


@pytest.mark.parametrize(
    ("changes", "found"),
    [
        ({"training": {"batch": 8}}, {"training": {"samples": 5, "batch": 8}, "loss": {"name": "hinge"}, "seed": 0}),
        ({"training.batch": 8}, {"training": {"samples": 5, "batch": 8}, "loss": {"name": "hinge"}, "seed": 0}),
        ({"loss": "wasserstein"}, {"training": {"samples": 5}, "loss": "wasserstein", "seed": 0}),
        ({"loss": {"name": "other"}}, {"training": {"samples": 5}, "loss": {"name": "other"}, "seed": 0}),
        ({"loss": {"weight": 2}}, {"training": {"samples": 5}, "loss": {"name": "hinge", "weight": 2}, "seed": 0}),
        ({"seed": 4}, {"training": {"samples": 5}, "loss": {"name": "hinge"}, "seed": 4}),
    ],
)
def test_changes_of_a_recipe(changes, found):
    values = {"training": {"samples": 5}, "loss": {"name": "hinge"}, "seed": 0}
    assert merged(values, changes) == found
    assert values == {"training": {"samples": 5}, "loss": {"name": "hinge"}, "seed": 0}


@pytest.mark.parametrize(
    ("what", "message"), [({"training": {}}, "names its plugin"), ("tyo", "did you mean 'toy'"), ("x.yaml", "x.yaml")]
)
def test_mistakes_are_the_command_lines(what, message, plugins):
    with pytest.raises(UsageError, match=message):
        api.train(what, plugins=plugins)


@pytest.mark.parametrize("name", ["train", "resume", "generate", "load", "evaluate"])
def test_the_documented_signatures_are_those_of_the_functions(name):
    text = (ROOT / "docs" / "python.md").read_text(encoding="utf-8")
    (documented,) = re.findall(rf"^{name}\((.*?)\) -> (\w[\w\[\]]*)$", text, re.DOTALL | re.MULTILINE)
    signature = inspect.signature(getattr(gan, name))
    bare = signature.replace(
        parameters=[found.replace(annotation=inspect.Parameter.empty) for found in signature.parameters.values()],
        return_annotation=inspect.Signature.empty,
    )
    expected = str(bare)[1:-1]
    for parameter in signature.parameters.values():  # annotations are texts, which `str` would quote
        begin = rf"(?<=[ *]){parameter.name}(?==|,|$)|^{parameter.name}(?==|,|$)"
        expected = re.sub(begin, f"{parameter.name}: {parameter.annotation}", expected, count=1)
    squeezed = [re.sub(r"\s+", "", found).rstrip(",") for found in (documented[0], expected)]
    assert squeezed[0] == squeezed[1]
    assert documented[1] == str(signature.return_annotation)


def test_a_folder_with_the_name_of_a_dataset_is_said(tmp_path, plugins, monkeypatch):
    """`samples.save("ring")` makes one: the next training of the dataset `ring` would read it in silence."""

    class Warnings(Reporter):
        def __init__(self):
            self.texts = []

        def warn(self, text):
            self.texts.append(text)

    monkeypatch.setenv("GAN_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    warnings = Warnings()
    resolved = resolve(api.recipe("toy", plugins=plugins), plugins)
    open_data(resolved, plugins, warnings)
    assert warnings.texts == []
    (tmp_path / "ring").mkdir()
    (tmp_path / "ring" / "a.csv").write_text("1,2\n3,4\n")
    assert len(open_data(resolved, plugins, warnings)) == 2
    (text,) = warnings.texts
    assert "./ring here, not the dataset 'ring'" in text


def test_a_script_needs_no_main_guard(tmp_path):
    """Its lines run once; the processes that read the data do not run them again."""
    install(tmp_path / "site", "toy", {"gan_toy.py": "from gan.testing.toy import *\n"})
    script = tmp_path / "script.py"
    script.write_text(
        "import json, gan\n"
        f"result = gan.train({{'plugin': 'toy', **{SHORT!r}}}, out='run')\n"
        "print(json.dumps([str(result.run), result.verdict['kind']]))\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(tmp_path / "site"), "GAN_CACHE": str(tmp_path / "cache")}
    done = subprocess.run(
        [sys.executable, str(script)], cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)[0] == "run"
    assert done.stderr == "", "not a terminal: no progress"
