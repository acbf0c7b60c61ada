"""A trained toy model under control: latents, paths, directions, projection, optimized latents, and their commands."""

from __future__ import annotations

import json
from types import SimpleNamespace

import gan.api
import numpy as np
import pytest
import torch
from gan.cli import main
from gan.contracts import FieldSpec, Request
from gan.control.directions import find
from gan.control.latent_files import read_latents, write_latents
from gan.control.model import Latents
from gan.control.paths import Path as LatentPath
from gan.control.paths import distance_of, plane, variation
from gan.control.toward import toward
from gan.errors import BadData, UnknownName, UsageError
from gan.generation.model import Model


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A run of the toy, and the plugins that it was trained with."""
    from gan.plugins.manager import Plugins
    from gan.testing import toy

    plugins = Plugins()
    plugins.register("toy", toy)
    values = gan.api.recipe("toy", settings=["model.latent=4", "evaluation.metrics=[]"], plugins=plugins)
    result = gan.api.train(values, out=tmp_path_factory.mktemp("control") / "run", samples=12800, plugins=plugins)
    return result.run, plugins


@pytest.fixture
def model(trained):
    return gan.api.load(trained[0], plugins=trained[1], device="cpu")


def test_samples_of_latents_are_those_of_their_seed(model):
    samples = model.generate(5, 3, first=2)
    latents = model.latents(5, 3, first=2)
    assert latents.shape == (5, 4)
    assert np.array_equal(model.decode(latents)["points"], samples["points"])
    assert isinstance(model, Model)


def test_the_kind_of_space_decides_what_is_refused(model):
    with pytest.raises(UsageError, match=r"latents of shape \[3\]: those of toy/mlp are z of shape \[4\]"):
        model.decode(torch.zeros(1, 3))
    with pytest.raises(UsageError, match="one vector without parts; leave 'coarse' out"):
        model.mask("coarse")
    with pytest.raises(UsageError, match="the run has no directions yet"):
        _ = gan.api.load(model.folder.path, plugins=model.plugins).directions["smile"]


def test_a_loop_closes_and_its_even_pace_is_evener_than_equal_steps(model):
    path = LatentPath.of(model, [1, 2, 3], loop=True)
    distances = distance_of(model)
    found = path.at(path.even(25, distances))
    samples = path.decode(found)["points"]
    assert np.array_equal(samples[0], samples[-1])
    assert np.allclose(samples[0], model.generate(1, 1)["points"][0], atol=1e-5)
    plain = variation(distances(path.at(path.equal(25))))
    assert variation(distances(found)) < 0.5 * plain
    with pytest.raises(UsageError, match="at least two seeds"):
        LatentPath.of(model, [1])


def test_a_plane_has_its_corners(model):
    corners = LatentPath.of(model, [1, 2, 3]).keys
    found = model.decode(plane(model, corners, 5))["points"].reshape(5, 5, 2)
    seeds = [model.generate(1, seed)["points"][0] for seed in (1, 2, 3)]
    for place, expected in (((0, 0), seeds[0]), ((0, 4), seeds[1]), ((4, 0), seeds[2])):
        assert np.allclose(found[place], expected, atol=1e-4)


def test_latents_are_kept_in_files(model, tmp_path):
    latents = model.draw(3, 7)
    path = write_latents(tmp_path / "l.safetensors", latents, model)
    again = write_latents(tmp_path / "m.safetensors", latents, model)
    assert path.read_bytes() == again.read_bytes()
    assert torch.equal(read_latents(path, model).values, latents.values)
    (tmp_path / "x.safetensors").write_bytes(b"no latents")
    with pytest.raises(BadData, match="no file of latents"):
        read_latents(tmp_path / "x.safetensors", model)
    write_latents(tmp_path / "bad.safetensors", Latents(torch.full((1, 4), torch.nan)), model)
    with pytest.raises(BadData, match="not finite"):
        read_latents(tmp_path / "bad.safetensors", model)


def test_directions_are_found_kept_and_applied(model, tmp_path):
    """Along `right` the points move to the right, from strength to strength; the same search gives the same file."""
    (found,) = find(model, "score", "right", samples=400)
    content = model.directions.path("right").read_bytes()
    find(model, "score", "right", samples=400)
    assert model.directions.path("right").read_bytes() == content
    w = model.latents(40, 5)
    means = [
        model.decode(w + strength * model.directions["right"])["points"][:, 0].mean() for strength in (-2, -1, 0, 1, 2)
    ]
    assert (np.diff(means) > 0).all()
    assert found.effect > 0
    names = [each.name for each in find(model, "sefa", count=2)] + [
        each.name for each in find(model, "ganspace", count=2)
    ]
    assert names == ["sefa-1", "sefa-2", "ganspace-1", "ganspace-2"]
    assert model.directions.names() == ["ganspace-1", "ganspace-2", "right", "sefa-1", "sefa-2"]
    assert model.directions.direction("3").name == "right"
    with pytest.raises(UnknownName, match="no direction named 'rigth' .*; did you mean 'right'"):
        model.directions.direction("rigth")
    with pytest.raises(UnknownName, match="no score of points"):
        find(model, "score", "left")


def test_labelled_examples_give_a_direction(model, tmp_path):
    for label, side in (("west", -2.0), ("east", 2.0)):
        (tmp_path / label).mkdir()
        rng = np.random.default_rng(0)
        points = rng.normal([side, 0], 0.3, (40, 2))
        (tmp_path / label / "p.csv").write_text("\n".join(f"{x},{y}" for x, y in points))
    (found,) = find(model, "labels", str(tmp_path), samples=400, name="from-labels")
    w = model.latents(40, 5)
    moved = [model.decode(w + s * model.directions["from-labels"])["points"][:, 0].mean() for s in (-2, 0, 2)]
    assert found.score == "west"  # the second of the names in order
    assert moved[0] > moved[1] > moved[2]
    with pytest.raises(BadData, match="two subfolders"):
        find(model, "labels", str(tmp_path / "west"))


def test_a_sample_of_its_own_is_found_again(model):
    target = {name: values[0] for name, values in model.generate(1, 11).items()}
    found = model.project(target, steps=60)
    again = model.project(target, steps=60)
    assert torch.equal(found.latents.values, again.latents.values)
    assert np.abs(found.sample["points"] - target["points"]).max() < 0.1
    assert found.likeness["z"]["psnr"] > 40
    with pytest.raises(UsageError, match="--space w: toy/mlp is projected into z, its own latents, only"):
        model.project(target, space="w")


def test_the_likeness_of_several_fields_of_marks_is_that_of_all_their_marks():
    """Two of three are found in one field and none of one in the other."""
    from gan.control.projection import likeness

    class Compared:
        fields = {name: FieldSpec((4,), "bool", 0, 1, "mark") for name in ("sounds", "begins")}

        def __call__(self, samples):
            return torch.zeros(1)

    target = {"sounds": np.array([[1, 1, 1, 0]], bool), "begins": np.array([[1, 0, 0, 0]], bool)}
    sample = {"sounds": np.array([[1, 1, 0, 0]], bool), "begins": np.array([[0, 1, 1, 0]], bool)}
    found = likeness(SimpleNamespace(device="cpu"), sample, target, Compared())
    assert found == {"found": 2 / 4, "right": 2 / 4, "distance": 0}
    del sample["begins"], Compared.fields["begins"]
    assert likeness(SimpleNamespace(device="cpu"), sample, target, Compared())["right"] == 1


def test_a_tuned_generator_is_a_light_run(model, tmp_path, trained):
    from gan.control.projection import save_projection

    point = {"points": np.array([2.4, 2.4], np.float32)}  # where no sample lies
    found = model.project(point, steps=30, tune=60)
    assert found.likeness["tuned"]["psnr"] > found.likeness["z"]["psnr"]
    paths = save_projection(model, found, tmp_path / "p")
    light = gan.api.load(tmp_path / "p" / "tuned", plugins=trained[1], device="cpu")
    latents = read_latents(paths[0], light)
    assert np.array_equal(light.decode(latents)["points"], found.sample["points"])
    manifest = json.loads((tmp_path / "p" / "tuned" / "manifest.json").read_text())
    assert manifest["tuned_from"]["samples"] == model.trained
    with pytest.raises(UsageError, match="without a training to continue"):
        gan.api.resume_run(tmp_path / "p" / "tuned", plugins=trained[1])


def test_optimized_latents_raise_their_score_each_by_itself(model):
    start = model.draw(2, 21)
    found = toward(model, start, "right", steps=40)
    scores = np.array(found.scores)
    assert (scores[-1] > scores[0] + 0.05).all()
    alone = toward(model, start.rows(slice(0, 1)), "right", steps=40)
    assert torch.allclose(alone.latents.values, found.latents.values[:1], atol=1e-5)
    lower = toward(model, start, "right", steps=40, downward=True)
    assert (np.array(lower.scores)[-1] < scores[0]).all()


def test_commands(trained, tmp_path, monkeypatch, capsys):
    folder, plugins = trained
    for module in ("gan.cli", "gan.cli.options"):
        monkeypatch.setattr(f"{module}.installed", lambda ctx: plugins)

    def command(*arguments: str) -> tuple[int, str]:
        with pytest.raises(SystemExit) as stop:
            main([arguments[0], str(folder), *arguments[1:]])
        return stop.value.code, "".join(capsys.readouterr())

    out, film = str(tmp_path / "out"), str(tmp_path / "f.gif")
    assert command("generate", "--path", "1,2", "--loop", "--count", "5", "--film", film, "--out", out)[0] == 0
    first, last = (tmp_path / "out" / f"sample-000{number}.csv" for number in (0, 4))
    assert first.read_bytes() == last.read_bytes()
    from PIL import Image

    assert Image.open(film).n_frames == 4
    content = (tmp_path / "f.gif").read_bytes()
    assert command("generate", "--path", "1,2", "--loop", "--count", "5", "--film", film)[0] == 0
    assert (tmp_path / "f.gif").read_bytes() == content
    assert command("generate", "--plane", "1", "2", "3", "--count", "4", "--out", out)[0] == 0
    latents = str(tmp_path / "l.safetensors")
    assert command("generate", "--seed", "4", "--count", "2", "--save-latents", latents, "--out", out)[0] == 0
    assert command("generate", "--latents", latents, "--out", str(tmp_path / "again"))[0] == 0
    made = (tmp_path / "again" / "sample-0001.csv").read_bytes()
    assert made == (tmp_path / "out" / "sample-0001.csv").read_bytes()
    assert command("edit", "--find", "score", "right", "--samples", "200")[0] == 0
    assert "right" in command("edit")[1]
    assert command("edit", "--latents", latents, "--direction", "right", "--strength", "-2:2", "--steps", "3",
                   "--out", out)[0] == 0  # fmt: skip
    assert len(list((tmp_path / "out").glob("edit-*.csv"))) == 6
    code, text = command("project", str(tmp_path / "again" / "sample-0000.csv"), "--steps", "20", "--json",
                         "--out", str(tmp_path / "p"))  # fmt: skip
    assert code == 0
    assert json.loads(text)["likeness"]["z"]["psnr"] > 20
    for arguments, reason in (
        (("generate", "--film", "f.gif"), "--film needs a path"),
        (("generate", "--path", "1,2", "--film", "f.avi"), "a film ends in .gif, .webp or .mp4"),
        (("generate", "--path", "1"), "write two seeds or more"),
        (("generate", "--path", "1,2", "--plane", "1", "2", "3"), "both say which samples are made"),
        (("generate", "--plane", "1", "2", "3", "--count", "7"), "no square"),
        (("generate", "--path", "1,2", "--pace", "fast"), "write line, even or even[EXTRACTOR]"),
        (("generate", "--styles", "coarse=1"), "without parts"),
        (("edit", "--direction", "right", "--strength", "much"), "write one number, or a range"),
        (("edit", "--find", "labels"), "needs a folder behind it"),
        (("edit", "--find", "magic"), "no way to find directions named 'magic'"),
        (("project", "nothing.csv"), "there is no such file"),
    ):
        code, text = command(*arguments)
        assert (code, reason in text) == (2 if "such file" not in reason else 3, True), (arguments, code, text)


def test_classes_are_given_in_shares():
    from gan.contracts import FieldSpec
    from gan.generation.conditions import between, read_shares

    spec = FieldSpec((), "int64", 0, 2, "class", names=("rose", "tulip", "a+b"), condition=True)
    assert read_shares("0.7*rose+0.3*tulip", spec).tolist() == pytest.approx([0.7, 0.3, 0])
    assert read_shares("rose+tulip", spec).tolist() == [0.5, 0.5, 0]
    assert read_shares("a+b", spec) is None
    assert read_shares("rose", spec) is None
    for wrong, reason in (
        ("rose+tulp", "did you mean 'tulip'"),
        ("x*rose+tulip", "no number"),
        ("0*rose+0*tulip", "larger"),
    ):
        with pytest.raises(ValueError, match=reason):
            read_shares(wrong, spec)
    ends = np.array([0]), np.array([1])
    at = np.array([0.0, 0.25, 1.0])
    assert between(*ends, at, spec, mixes=True).tolist() == [[1, 0, 0], [0.75, 0.25, 0], [0, 1, 0]]
    assert between(*ends, at, spec, mixes=False).tolist() == [0, 0, 1]


def test_decode_smooth_is_what_projection_differentiates(model):
    latents = model.latents(2, 1).requires_grad_()
    made = model.smooth(latents, None, None)["points"]
    (gradient,) = torch.autograd.grad(made.sum(), latents)
    assert gradient.abs().sum() > 0
    assert torch.equal(made.detach(), model.architecture.decode_smooth(latents, Request())["points"].detach())
